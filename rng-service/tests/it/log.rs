//! The process's log is in nobody's way.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::soon;

struct Program {
    child: Child,
    /// Kept open, and not read any more.
    stderr: BufReader<ChildStderr>,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already, unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    /// Says everything it can, into a pipe that holds as little as a pipe can.
    fn start() -> (Self, SocketAddr) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("service.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:0\"\ninstance = \"a\"\n").expect("written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_rng-service"))
            .args(["--log-format", "json", "--config"])
            .arg(&path)
            .env("RUST_LOG", "trace")
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let stderr = child.stderr.take().expect("piped");
        let mut program = Self { child, stderr: BufReader::new(stderr) };
        rustix::pipe::fcntl_setpipe_size(program.stderr.get_ref(), 4096).expect("a small pipe");
        loop {
            let mut line = String::new();
            assert_ne!(program.stderr.read_line(&mut line).expect("a line"), 0, "it ended");
            let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            if let Some(addr) = event["listen"].as_str() {
                return (program, addr.parse().expect("an address"));
            }
        }
    }
}

async fn value(addr: SocketAddr) -> String {
    let mut stream = TcpStream::connect(addr).await.expect("connected");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

#[tokio::test]
async fn one_that_nobody_reads_stops_nothing() {
    let (mut program, addr) = Program::start();
    for _ in 0..200 {
        let answer = soon("an answer", value(addr)).await;
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    }
    kill_process(Pid::from_child(&program.child), Signal::TERM).expect("signalled");
    let status = soon("exit", async {
        loop {
            if let Some(status) = program.child.try_wait().expect("waited") {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(status.success());
}
