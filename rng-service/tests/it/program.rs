//! The real program: arguments, configuration, signals, exit status.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use wire::Status;

use crate::support::{Connection, Raw, Reader, soon};

const PROGRAM: &str = env!("CARGO_BIN_EXE_rng-service");

/// A running program. It is killed when the test is over, however that ends.
struct Running {
    child: Child,
    addr: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Running {
    /// Starts on a port of the kernel's choice and reads from the log which one.
    fn start(toml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("service.toml");
        std::fs::write(&path, format!("listen = \"127.0.0.1:0\"\ninstance = \"file\"\n{toml}"))
            .expect("written");
        let mut child = Command::new(PROGRAM)
            .args(["--log-format", "json", "--config"])
            .arg(&path)
            .env("PHALANX_INSTANCE", "host1/svc-11")
            .env("PHALANX_GATEWAY", "127.0.0.1")
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let mut next_event = || -> serde_json::Value {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).expect("a line"), 0, "no address in the log");
            serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
        };
        let addr = loop {
            if let Some(addr) = next_event()["listen"].as_str() {
                break addr.parse().expect("an address");
            }
        };
        std::thread::spawn(move || log.lines().for_each(drop));
        Self { child, addr, _folder: folder }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("signalled");
    }

    async fn exit_code(&mut self) -> Option<i32> {
        soon("exit", async {
            loop {
                if let Some(status) = self.child.try_wait().expect("waited") {
                    return status.code();
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already in a test that passed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn sigterm_drains_and_exits_with_0() {
    drains_on(Signal::TERM).await;
}

#[tokio::test]
async fn sigint_drains_and_exits_with_0() {
    drains_on(Signal::INT).await;
}

async fn drains_on(signal: Signal) {
    let mut program = Running::start("drain = { linger_ms = 200, timeout_ms = 60000 }");
    let mut reader = Reader::open(program.addr).await;
    let mut open = Raw::open(program.addr).await;
    open.write("GET /int HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n1").await;
    while reader.next().await.expect("an event").load.expect("figures").in_flight != 1 {}
    let mut idle = Connection::open(program.addr).await;
    assert_eq!(idle.ask("GET", "/int", &[]).await.json()["instance"], "host1/svc-11");

    program.signal(signal);
    while reader.next().await.expect("an event").status != Status::Draining {}
    idle.closed().await;
    soon("closed listener", async { while TcpStream::connect(program.addr).await.is_ok() {} }).await;
    assert_eq!(program.child.try_wait().expect("asked"), None, "a request is open");
    open.write("2").await;
    assert!(open.rest().await.starts_with("HTTP/1.1 200 "));
    while reader.next().await.is_some() {}
    assert_eq!(program.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_second_sigterm_exits_at_once_and_not_with_0() {
    let mut program = Running::start("drain.linger_ms = 600000");
    let mut reader = Reader::open(program.addr).await;
    program.signal(Signal::TERM);
    while reader.next().await.expect("an event").status != Status::Draining {}
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code().await, Some(3));
}

#[tokio::test]
async fn the_managers_address_can_be_given_beside_the_file() {
    // The one in the file is wrong, so a reader's place shows which one is in force.
    let mut program =
        Running::start("manager_addr = \"192.0.2.1\"\nheartbeat.max_readers = 1\ndrain.linger_ms = 0");
    let others = Reader::open_from_elsewhere(program.addr).await;
    let mut managers = Reader::open(program.addr).await;
    assert!(managers.next().await.is_some());
    drop((others, managers));
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code().await, Some(0));
}

fn check(toml: &str, instance: Option<&str>) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("service.toml");
    std::fs::write(&path, toml).expect("written");
    let mut command = Command::new(PROGRAM);
    command.arg("--check-config").arg("--config").arg(path).env_remove("PHALANX_INSTANCE");
    if let Some(instance) = instance {
        command.env("PHALANX_INSTANCE", instance);
    }
    command.output().expect("it runs")
}

#[test]
fn check_config_says_what_is_wrong_where() {
    let output = check("listen = \"127.0.0.1:1\"\n[heartbeat]\ninterval_ms = 100", Some("host1/svc-11"));
    assert!(output.status.success(), "{output:?}");
    for (toml, instance, words) in [
        (
            "[heartbeat]\ninterval_ms = 1",
            None,
            ["service.toml, line 2: heartbeat.interval_ms: must be", "not 1"],
        ),
        ("[drain]\nlinger = 1", None, ["line 2", "unknown field `linger`"]),
        ("", Some(""), ["PHALANX_INSTANCE", "instance: must be"]),
    ] {
        let output = check(toml, instance);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(words.iter().all(|word| said.contains(word)), "{toml}: {said}");
    }
}

#[test]
fn a_managers_address_that_is_none_is_refused() {
    let mut command = Command::new(PROGRAM);
    let output = command.arg("--check-config").env("PHALANX_GATEWAY", "host1").output().expect("it runs");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(
        !output.status.success() && said.contains("'host1'") && said.contains("--manager-addr"),
        "{said}"
    );
}

#[test]
fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("service.toml");
    std::fs::write(&path, format!("listen = \"{addr}\"")).expect("written");
    let output = Command::new(PROGRAM).arg("--config").arg(path).output().expect("it runs");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&addr) && said.contains("in use"), "{said}");
}
