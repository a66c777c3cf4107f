//! The process's log is in nobody's way: neither one that nobody reads, nor one that cannot be written.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::support::{Does, Upstream, http, send, until};

const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

struct Program {
    child: Child,
    /// Kept open, and not read.
    stderr: Option<BufReader<ChildStderr>>,
    traffic: SocketAddr,
    admin: SocketAddr,
}

impl Program {
    fn start(config: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
        command.arg("--config").arg(config).args(["--log-format", "json"]).env_remove("RUST_LOG");
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        // From here on it is ended whatever happens.
        let mut program = Self { child, stderr: None, traffic: NOWHERE, admin: NOWHERE };
        let stderr = program.child.stderr.take().unwrap();
        // As little as a pipe can hold.
        rustix::pipe::fcntl_setpipe_size(&stderr, 4096).unwrap();
        let mut lines = BufReader::new(stderr);
        loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended");
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["message"] == "listening" {
                let addr = |name: &str| event[name].as_str().unwrap().parse().unwrap();
                (program.traffic, program.admin) = (addr("traffic"), addr("admin"));
                program.stderr = Some(lines);
                return program;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already, unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_config(path: &Path, upstream: &Upstream, weight: u64) {
    let text = format!(
        "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[drain]\nlinger_ms = 0\n\
         [[upstreams]]\nid = \"a\"\naddr = \"{}\"\nweight = {weight}\n",
        upstream.addr
    );
    fs::write(path, text).unwrap();
}

/// Has it write far more lines than the pipe holds, and serve meanwhile and to its end.
async fn serves_whatever_becomes_of_its_log(spoil: impl FnOnce(&mut Program)) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lb.toml");
    let upstream = Upstream::new("a", Does::Serves).await;
    write_config(&path, &upstream, 1);
    let mut program = Program::start(&path);
    spoil(&mut program);
    for generation in 2..80 {
        write_config(&path, &upstream, generation);
        program.signal(Signal::HUP);
        let admin = program.admin;
        until("reloaded", async || {
            let view = http(admin, "GET", "/v1/upstreams", &[], vec![]).await.unwrap().json();
            view["generation"] == json!(generation)
        })
        .await;
        assert_eq!(send(program.traffic, "GET", vec![]).await.status, 200);
    }
    program.signal(Signal::TERM);
    let mut status = None;
    until("ended", async || {
        status = program.child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert_eq!(status.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_nobody_reads() {
    serves_whatever_becomes_of_its_log(|_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_written() {
    // With its reader gone, every write to the pipe fails.
    serves_whatever_becomes_of_its_log(|program| program.stderr = None).await;
}
