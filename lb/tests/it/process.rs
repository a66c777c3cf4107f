use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::heartbeat::Reader;
use super::support::{Does, Raw, TOKEN, Upstream, http, send, until};

fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
    command.arg("--config").arg(config).env("PHALANX_INSTANCE", "host1/lb-2").env_remove("RUST_LOG");
    command
}

fn write_config(dir: &Path, text: &str) -> std::path::PathBuf {
    let path = dir.join("lb.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn config(drain: &str) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n\
         [attempt]\nread_timeout_ms = 60000\n{drain}"
    )
}

/// The program, killed when dropped.
struct Program {
    child: Child,
    traffic: SocketAddr,
    admin: SocketAddr,
}

impl Program {
    fn start(config: &Path) -> Self {
        let mut child =
            command(config).args(["--log-format", "json"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let (traffic, admin) = loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended");
            let event: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(event["instance"], "host1/lb-2");
            if event["message"] == "listening" {
                let addr = |name: &str| event[name].as_str().unwrap().parse().unwrap();
                break (addr("traffic"), addr("admin"));
            }
        };
        // Read on, so that it never waits for its log.
        std::thread::spawn(move || lines.read_to_string(&mut String::new()));
        Self { child, traffic, admin }
    }

    fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    async fn put(&self, upstream: &Upstream) {
        let headers = [("Authorization", format!("Bearer {TOKEN}"))];
        let body = json!({"generation": 1, "upstreams": [upstream.json()]}).to_string().into_bytes();
        assert_eq!(http(self.admin, "PUT", "/v1/upstreams", &headers, body).await.unwrap().status, 200);
    }

    async fn exit(&mut self) -> Option<i32> {
        let mut status = None;
        until("exited", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_finishes_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_config(dir.path(), &config("[drain]\nlinger_ms = 1500\ntimeout_ms = 60000\n"));
    let (gate, open) = watch::channel(false);
    let upstream = Upstream::new("a", Does::ServesWhen(open)).await;
    let mut program = Program::start(&path);
    let (traffic, admin) = (program.traffic, program.admin);
    program.put(&upstream).await;
    let mut heartbeat = Reader::connect(admin).await;
    assert_eq!(heartbeat.next().await.unwrap()["status"], "OK");
    let open_request = tokio::spawn(async move { send(traffic, "GET", Vec::new()).await });
    until("in flight", async || upstream.requests().len() == 1).await;
    let mut idle = Raw::connect(traffic).await;

    program.terminate();
    while heartbeat.next().await.unwrap()["status"] != "DRAINING" {}
    assert_eq!(http(admin, "GET", "/readyz", &[], vec![]).await.unwrap().status, 503);
    assert_eq!(http(admin, "GET", "/healthz", &[], vec![]).await.unwrap().status, 200);
    // Those who do not know yet are still served, and told to go.
    let late = tokio::spawn(async move { send(traffic, "GET", Vec::new()).await });
    until("late one in flight", async || upstream.requests().len() == 2).await;
    until("no longer listening", async || tokio::net::TcpStream::connect(traffic).await.is_err()).await;
    assert_eq!(idle.rest().await, (String::new(), true));
    assert_eq!(program.child.try_wait().unwrap(), None, "it waits for open requests");
    gate.send_replace(true);
    let answer = open_request.await.unwrap();
    assert_eq!(answer.text(), "host1/a 1 0");
    let answer = late.await.unwrap();
    assert_eq!((answer.status, answer.headers["connection"].to_str().unwrap()), (200, "close"));
    assert_eq!(program.exit().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_config(dir.path(), &config("[drain]\nlinger_ms = 0\ntimeout_ms = 100\n"));
    let upstream = Upstream::new("a", Does::Hangs).await;
    let mut program = Program::start(&path);
    program.put(&upstream).await;
    let traffic = program.traffic;
    let hanging = tokio::spawn(async move { http(traffic, "GET", "/", &[], vec![]).await.is_err() });
    until("in flight", async || upstream.requests().len() == 1).await;
    program.terminate();
    assert_eq!(program.exit().await, Some(0));
    assert!(hanging.await.unwrap());
}

fn run(text: &str, args: &[&str]) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = write_config(dir.path(), text);
    let Output { status, stderr, .. } = command(&path).args(args).output().unwrap();
    (status.success(), String::from_utf8(stderr).unwrap())
}

#[test]
fn configurations_are_checked() {
    assert_eq!(run(&config(""), &["--check-config"]), (true, String::new()));
    let (ok, error) = run(&config("[retry]\ntries = 1001\n"), &["--check-config"]);
    assert!(
        !ok && error.contains("lb.toml") && error.contains("line 8") && error.contains("tries"),
        "{error}"
    );
    let (ok, error) = run("listen = 5", &[]);
    assert!(!ok && error.contains("lb.toml") && error.contains("line 1"), "{error}");
}

#[test]
fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (ok, error) = run(&config("").replacen("127.0.0.1:0", &addr, 1), &[]);
    assert!(!ok && error.contains(&addr) && error.contains("(listen)"), "{error}");
}
