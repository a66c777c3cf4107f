//! A new program takes over from the old one, under load.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::Signal;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::heartbeat::Reader;
use super::program::Program;
use super::signals::{Certificate, presented};
use super::support::{Does, Raw, Upstream, http, send, until};

const DRAIN: &str = "[drain]\nlinger_ms = 500\n";

/// Requests from several clients at once, until told to stop.
struct Load {
    stop: CancellationToken,
    answered: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    /// About 200 requests in a second: half of them on connections that are kept, half on new ones.
    fn start(addr: SocketAddr) -> Self {
        let mut load = Self { stop: CancellationToken::new(), answered: Arc::default(), clients: Vec::new() };
        for client in 0..8 {
            let (stop, answered) = (load.stop.clone(), Arc::clone(&load.answered));
            load.clients.push(tokio::spawn(client_of(addr, client % 2 == 0, stop, answered)));
        }
        load
    }

    /// Waits for so many more answers.
    async fn more(&self, n: usize) {
        let before = self.answered.load(Ordering::SeqCst);
        until("answered", async || self.answered.load(Ordering::SeqCst) >= before + n).await;
    }

    /// What failed.
    async fn stop(self) -> Vec<String> {
        self.stop.cancel();
        let mut failures = Vec::new();
        for client in self.clients {
            failures.extend(client.await.unwrap());
        }
        failures
    }
}

async fn client_of(
    addr: SocketAddr,
    keeps: bool,
    stop: CancellationToken,
    answered: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(40));
    let mut kept = None;
    while !stop.is_cancelled() {
        ticks.tick().await;
        let result = async {
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => Raw(TcpStream::connect(addr).await?),
            };
            // A POST: nothing hides its loss.
            connection.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab").await;
            let (head, body) = connection.answer().await?;
            Ok::<_, std::io::Error>((connection, head, body))
        };
        match result.await {
            Ok((connection, head, body))
                if head.starts_with("HTTP/1.1 200 ") && body.starts_with("host1/") =>
            {
                answered.fetch_add(1, Ordering::SeqCst);
                let closes = head.to_ascii_lowercase().contains("connection: close");
                kept = (keeps && !closes).then_some(connection);
            }
            Ok((_, head, _)) => failures.push(head),
            Err(e) => failures.push(e.to_string()),
        }
    }
    failures
}

#[tokio::test(flavor = "multi_thread")]
async fn three_upgrades_under_load_fail_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let certificate = Certificate::new(dir.path(), "tls");
    let tables = format!("{DRAIN}[[tls]]\nlisten = \"127.0.0.1:0\"\n{}", certificate.keys());
    let upstream = Upstream::new("a", Does::Serves).await;
    let mut program = Program::start_in(dir, "threads = 2", &tables).await;
    let tls = program.tls.unwrap();
    assert_eq!(program.put(7, vec![upstream.json()]).await.status, 200);
    let load = Load::start(program.traffic);
    load.more(40).await;
    let mut pid = program.pid();
    for round in 1..=3 {
        let mut heartbeat = Reader::connect(program.admin).await;
        assert_eq!(heartbeat.next().await.unwrap()["generation"], 6 + round);
        super::program::send_signal(pid, Signal::USR2).unwrap();
        program.logged_times("draining", usize::try_from(round).unwrap()).await;
        // Two processes write the log, so which line is there first says nothing.
        program.logged_times("listening", usize::try_from(round).unwrap() + 1).await;
        pid = *program.successors().last().unwrap();
        load.more(40).await;
        // Who watches the service is not told that it ends.
        while let Some(event) = heartbeat.next().await {
            assert_eq!(event["status"], "OK");
        }
        let view = program.view().await;
        assert_eq!(
            (&view["generation"], &view["upstreams"][0]["id"]),
            (&json!(6 + round), &json!("host1/a"))
        );
        assert_eq!(program.put(7 + round, vec![upstream.json()]).await.status, 200);
        assert_eq!(presented(tls, &[&certificate]).await, certificate.der);
    }
    assert_eq!(program.exit().await, Some(0));
    program.logged_times("stopped", 3).await;
    load.more(40).await;
    assert_eq!(load.stop().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_with_a_broken_configuration_does_not_take_over() {
    let top = "state_file = \"{dir}/state.json\"";
    let upstream = Upstream::new("a", Does::Serves).await;
    let mut program = Program::start(top, DRAIN).await;
    assert_eq!(program.put(1, vec![upstream.json()]).await.status, 200);
    let load = Load::start(program.traffic);
    program.configure(top, "[retry]\ntries = \"many\"\n");
    program.signal(Signal::USR2);
    let line = program.logged("there is no successor").await;
    assert!(line["message"].as_str().unwrap().contains("ended before it was ready"), "{line}");
    program.logged("tries").await;
    load.more(40).await;
    assert_eq!(load.stop().await, [""; 0]);

    // It goes on as before: sets are taken and kept, and the next attempt to upgrade can succeed.
    assert_eq!(program.put(2, vec![upstream.json()]).await.status, 200);
    let state = program.dir().join("state.json");
    until("written", async || std::fs::read_to_string(&state).unwrap().contains("\"generation\":2")).await;
    program.configure(top, DRAIN);
    program.signal(Signal::USR2);
    program.logged("draining").await;
    assert_eq!(program.exit().await, Some(0));
    assert_eq!(program.view().await["generation"], 2);
    assert_eq!(program.put(3, vec![upstream.json()]).await.status, 200);
    until("written", async || std::fs::read_to_string(&state).unwrap().contains("\"generation\":3")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_is_written_to_again_when_it_goes_on() {
    let top = "state_file = \"{dir}/state.json\"";
    let mut program = Program::start(top, DRAIN).await;
    let state = program.dir().join("state.json");
    let has = async |generation: u64| {
        let text = format!("\"generation\":{generation}");
        until("written", async || std::fs::read_to_string(&state).is_ok_and(|all| all.contains(&text))).await;
    };
    assert_eq!(program.put(1, vec![]).await.status, 200);
    has(1).await;
    // Whoever opens it to write waits for a reader.
    let fifo = program.dir().join("state.json.tmp");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert_eq!(program.put(2, vec![]).await.status, 200);
    program.signal(Signal::USR2);
    program.logged("there is no successor").await;
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let reader = OpenOptions::new().read(true).custom_flags(nonblocking).open(&fifo).unwrap();
    has(2).await;
    drop(reader);
    assert_eq!(program.put(3, vec![]).await.status, 200);
    has(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_requests_end_where_they_began() {
    let (gate, open) = watch::channel(false);
    let upstream = Upstream::new("a", Does::ServesWhen(open)).await;
    let mut program = Program::start("", &format!("{DRAIN}timeout_ms = 60000\n")).await;
    let traffic = program.traffic;
    assert_eq!(program.put(1, vec![upstream.json()]).await.status, 200);
    let request = tokio::spawn(async move { send(traffic, "POST", b"body".to_vec()).await });
    until("in flight", async || upstream.asked() == 1).await;
    // A connection to the admin API that stays: a write on it comes too late, and says so.
    let mut admin = Raw::connect(program.admin).await;
    admin.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    admin.answer().await.unwrap();
    program.signal(Signal::USR2);
    program.logged("draining").await;
    let authorization = format!("Authorization: Bearer {}", super::support::TOKEN);
    let body = "{\"generation\":2,\"upstreams\":[]}";
    let head = format!(
        "PUT /v1/upstreams HTTP/1.1\r\nHost: x\r\n{authorization}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    admin.send(&(head + body)).await;
    let (head, body) = admin.answer().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 503 ") && body.contains("\"upgrading\""), "{head}{body}");
    until("the successor is asked", async || {
        http(program.admin, "GET", "/metrics", &[], Vec::new())
            .await
            .unwrap()
            .text()
            .contains("lb_in_flight 0")
    })
    .await;
    gate.send_replace(true);
    assert_eq!(request.await.unwrap().text(), "host1/a 1 4");
    assert_eq!(program.exit().await, Some(0));
    assert_eq!(send(traffic, "GET", Vec::new()).await.status, 200);
}

/// A program that gives what is open no time at its end, was asked something, and then got a successor: it waits.
async fn waiting(upstream: &Upstream) -> (Program, tokio::task::JoinHandle<Option<String>>) {
    let mut program = Program::start("", "[drain]\nlinger_ms = 0\ntimeout_ms = 0\n").await;
    let traffic = program.traffic;
    assert_eq!(program.put(1, vec![upstream.json()]).await.status, 200);
    let request = tokio::spawn(async move {
        let answer = http(traffic, "GET", "/", &[], Vec::new()).await;
        answer.ok().map(|answer| answer.text())
    });
    until("in flight", async || upstream.asked() == 1).await;
    program.signal(Signal::USR2);
    program.logged("draining").await;
    (program, request)
}

#[tokio::test(flavor = "multi_thread")]
async fn open_requests_have_longer_than_at_an_end() {
    let (gate, open) = watch::channel(false);
    let upstream = Upstream::new("a", Does::ServesWhen(open)).await;
    let (mut program, request) = waiting(&upstream).await;
    // Far longer than a process that does not wait would take.
    for _ in 0..100 {
        assert_eq!(http(program.admin, "GET", "/healthz", &[], Vec::new()).await.unwrap().status, 200);
        assert!(program.is_running() && !request.is_finished());
    }
    gate.send_replace(true);
    assert_eq!(request.await.unwrap().as_deref(), Some("host1/a 1 0"));
    assert_eq!(program.exit().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_predecessor_can_be_told_to_stop() {
    let upstream = Upstream::new("a", Does::Hangs).await;
    let (mut program, request) = waiting(&upstream).await;
    program.signal(Signal::TERM);
    assert_eq!(program.exit().await, Some(0));
    assert_eq!(request.await.unwrap(), None);
    assert_eq!(program.view().await["generation"], 1, "the successor stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_with_other_upstreams_in_its_file_uses_them() {
    let (a, b) = (Upstream::new("a", Does::Serves).await, Upstream::new("b", Does::Serves).await);
    let table =
        |upstream: &Upstream| format!("{DRAIN}[[upstreams]]\nid = \"one\"\naddr = \"{}\"\n", upstream.addr);
    let mut program = Program::start("", &table(&a)).await;
    assert!(program.get("/").await.text().starts_with("host1/a "));
    program.configure("", &table(&b));
    program.signal(Signal::USR2);
    assert_eq!(program.exit().await, Some(0));
    assert!(program.get("/").await.text().starts_with("host1/b "));
    assert_eq!(program.view().await["generation"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_during_an_upgrade_is_one_for_both() {
    let mut program = Program::start("", "[drain]\nlinger_ms = 0\n").await;
    // The successor waits for its configuration.
    let path = program.dir().join("lb.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    program.signal(Signal::USR2);
    // Without a reader it cannot be opened so.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let mut fifo = None;
    until("the successor has begun", async || {
        fifo = OpenOptions::new().write(true).custom_flags(nonblocking).open(&path).ok();
        fifo.is_some()
    })
    .await;
    program.signal(Signal::TERM);
    fifo.unwrap().write_all(text.as_bytes()).unwrap();
    assert_eq!(program.exit().await, Some(0));
    assert_eq!(program.successors().len(), 1);
    until("gone", async || TcpStream::connect(program.traffic).await.is_err()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_told_whom_to_watch() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = tokio::net::UnixDatagram::bind(&path).unwrap();
    let mut program = Program::start_notifying(dir, "[drain]\nlinger_ms = 0\n", &path).await;
    let mut buffer = [0; 256];
    let mut next = async || {
        let n = socket.recv(&mut buffer).await.unwrap();
        String::from_utf8(buffer[..n].to_vec()).unwrap()
    };
    assert_eq!(next().await, "READY=1\n");
    program.signal(Signal::USR2);
    assert_eq!(next().await, "READY=1\n");
    let main = next().await;
    assert_eq!(program.exit().await, Some(0));
    let successor = program.successors()[0];
    assert_eq!(main, format!("MAINPID={successor}\n"));
    super::program::send_signal(successor, Signal::TERM).unwrap();
    assert_eq!(next().await, "STOPPING=1\n");
}
