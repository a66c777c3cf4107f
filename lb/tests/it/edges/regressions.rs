//! What a response under way does to the client, to the upstream, and to what is counted about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use h2::Reason;
use http::Response;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

use super::support::{
    Backend, Files, H2Client, H2Server, Wire, balancer, connect_tls_on, head_of, pair, soon,
};
use crate::support::{Balancer, until};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const CHUNKED_POST: &str = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
const CHUNKED_OK: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n";
/// No time-out ends what a test waits for.
const PATIENT: &str = "[attempt]\nread_timeout_ms = 600000\n[client]\nread_timeout_ms = 600000\n";

/// The first upstream of the set.
async fn status(lb: &Balancer) -> Value {
    lb.get("/v1/upstreams").await.json()["upstreams"][0].take()
}

/// So many attempts at the upstream were abandoned, and nothing is held against it.
async fn is_abandoned_without_failure(lb: &Balancer, times: u32) {
    until("the attempt counted", async || {
        lb.metric("lb_attempts_total{outcome=\"abandoned\",upstream=\"a\"}").await == Some(f64::from(times))
    })
    .await;
    let status = status(lb).await;
    assert_eq!((&status["failures_total"], &status["in_flight"]), (&json!(0), &json!(0)), "{status}");
}

/// Sends a response of this length, as it is taken, and counts what is.
async fn send_counted(mut server: Wire, length: usize, sent: &AtomicUsize) {
    server.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")).await;
    let piece = vec![b'x'; 16_384];
    let mut left = length;
    while left > 0 {
        let now = left.min(piece.len());
        if server.try_send(&piece[..now]).await.is_err() {
            return;
        }
        left -= now;
        sent.fetch_add(now, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_client_that_reads_late_gets_all() {
    let mut files = Files::new();
    files.make("a", &["a.example"]);
    let (lb, backend) = pair(&files.table("a")).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    // From what the kernel takes at once to what it does not, in steps that are smaller than what lies between
    // the program and the kernel.
    for length in (200_000..4_700_000).step_by(30_000) {
        // A fixed size keeps the kernel from taking more on one connection than on another.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(65_536).unwrap();
        let stream = socket.connect(lb.tls.unwrap()).await.unwrap();
        let stream = connect_tls_on(stream, &files, "a.example", &[]).await.unwrap();
        let mut client = Wire::new(stream);
        client.send(GET).await;
        let mut server = backend.accept().await;
        server.request().await;
        let sent = Arc::clone(&sent);
        tokio::spawn(async move { send_counted(server, length, &sent).await });
        clients.push((length, client));
    }
    // All buffers are as full as they get when nothing was taken for many looks.
    let (mut before, mut looks) = (0, 0);
    until("full buffers", async || {
        let now = sent.load(Ordering::Relaxed);
        looks = if now == before { looks + 1 } else { 0 };
        before = now;
        looks == 40
    })
    .await;
    let mut broken = Vec::new();
    for (length, mut client) in clients {
        let read = async {
            client.head().await;
            client.exactly(length).await
        };
        // All of it is on its way or never comes.
        let read = tokio::time::timeout(Duration::from_secs(5), read).await;
        if !matches!(&read, Ok(Ok(_))) {
            broken.push(length);
        }
    }
    assert!(broken.is_empty(), "not all came of {broken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_breaks_off_under_its_answer_ends_at_the_upstream() {
    let (lb, backend) = pair(PATIENT).await;
    for (turn, way) in (1..).zip(["reset", "end", "no chunk"]) {
        let mut client = Wire::connect(lb.traffic).await;
        client.send(CHUNKED_POST).await;
        let mut server = backend.accept().await;
        server.head().await;
        server.send(CHUNKED_OK).await;
        client.until("\r\nb\r\n").await.unwrap();
        match way {
            "reset" => client.reset(),
            "end" => {
                client.end().await;
                client.is_over().await;
            }
            _ => {
                client.send("zz\r\n").await;
                client.is_over().await;
            }
        }
        server.is_over().await;
        is_abandoned_without_failure(&lb, turn).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_under_its_answer_ends_at_the_upstream() {
    let (lb, backend) = pair(&format!("{PATIENT}[upstream]\nprotocol = \"h2\"\n")).await;
    let mut client = H2Client::connect(lb.traffic).await;
    let (response, mut body) = client.start(head_of("POST", "/", &[]), false).await;
    let mut server = H2Server::accept(&backend).await;
    let (request, mut respond) = server.next().await;
    let mut answer = respond.send_response(Response::new(()), false).unwrap();
    let response = soon("an answer", response).await.unwrap();
    body.send_reset(Reason::CANCEL);
    soon("a reset", std::future::poll_fn(|cx| answer.poll_reset(cx))).await.unwrap();
    drop((request, response));
    is_abandoned_without_failure(&lb, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_no_more_is_no_failure_of_the_upstream() {
    let backend = Backend::new("a");
    let tables =
        "[attempt]\nread_timeout_ms = 200\n[client]\nread_timeout_ms = 200\n[upstream]\nmax_fails = 1\n";
    let lb = Balancer::start("", tables).await;
    lb.set_json(1, vec![backend.json()]).await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send(CHUNKED_POST).await;
    let mut server = backend.accept().await;
    server.head().await;
    // It has answered and waits for the rest of the request.
    server.send(CHUNKED_OK).await;
    client.is_over().await;
    server.is_over().await;
    is_abandoned_without_failure(&lb, 1).await;
    let status = status(&lb).await;
    assert_eq!(status["available"], json!(true), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_slowly_but_steadily_is_not_cut() {
    let patience = Duration::from_millis(300);
    let (lb, backend) = pair(&format!("[client]\nwrite_timeout_ms = {}\n", patience.as_millis())).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = Wire::new(socket.connect(lb.traffic).await.unwrap());
    client.send(GET).await;
    let mut server = backend.accept().await;
    server.request().await;
    let length = 5_000_000;
    let writer = tokio::spawn(async move { send_counted(server, length, &AtomicUsize::new(0)).await });
    let (began, mut read, mut buffer) = (Instant::now(), 0, vec![0; 4096]);
    while read < length {
        let n = client.io.read(&mut buffer).await.unwrap_or_else(|e| panic!("{e} after {read}"));
        assert!(n > 0, "the end after {read}");
        read += n;
        // Long enough to be cut by a proxy that does not see what the kernel hands on.
        if began.elapsed() < 5 * patience {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
    writer.await.unwrap();
}

/// Answers all requests on a connection, with this name.
async fn answer_all(server: &mut H2Server, name: &str) {
    while let Some((_, mut respond)) = server.try_next().await {
        respond.send_response(Response::builder().header("by", name).body(()).unwrap(), true).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_leaves_is_asked_on_a_new_connection() {
    let (a, b) = (Backend::new("a"), Backend::new("b"));
    let lb = balancer("threads = 1\n[upstream]\nprotocol = \"h2\"\n").await;
    lb.set_json(1, vec![a.json()]).await;
    let mut first = Wire::connect(lb.traffic).await;
    first.send("POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    let mut old = H2Server::accept(&a).await;
    let (_, mut long) = old.next().await;
    // What it has goes on for long.
    old.leave().await;
    tokio::spawn(async move { answer_all(&mut old, "old").await });
    let addrs = vec![a.json(), b.json()];
    for (name, backend) in [("a", a), ("b", b)] {
        tokio::spawn(async move {
            loop {
                let mut server = H2Server::accept(&backend).await;
                tokio::spawn(async move { answer_all(&mut server, name).await });
            }
        });
    }
    lb.set_json(2, addrs).await;
    let mut client = Wire::connect(lb.traffic).await;
    until("a new connection to the upstream that leaves", async || {
        client.send(GET).await;
        let answer = client.answer().await;
        assert_eq!(answer.status(), 200);
        answer.value("by") == Some("a")
    })
    .await;
    // Nobody is asked any more on the old one.
    let refused = lb.retries("reset").await;
    for _ in 0..10 {
        client.send(GET).await;
        assert_ne!(client.answer().await.value("by"), Some("old"));
    }
    assert_eq!(lb.retries("reset").await, refused);
    long.send_response(Response::new(()), true).unwrap();
    assert_eq!(first.answer().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_status_is_in_flight_until_its_body_is_sent() {
    let (lb, backend) = pair("").await;
    let mut upstream = backend.json();
    upstream["max_conns"] = json!(1);
    lb.set_json(2, vec![upstream]).await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send(GET).await;
    let mut server = backend.accept().await;
    server.request().await;
    server.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 8\r\n\r\nhalf").await;
    client.until("half").await.unwrap();
    assert_eq!(status(&lb).await["in_flight"], json!(1));
    // Its only place is taken.
    let mut second = Wire::connect(lb.traffic).await;
    second.send(GET).await;
    let answer = second.answer().await;
    assert!(answer.status() == 503 && answer.text().contains("no_upstream"), "{answer:?}");
    assert!(!backend.is_asked());
    server.send("half").await;
    client.until("half").await.unwrap();
    until("nothing in flight", async || status(&lb).await["in_flight"] == json!(0)).await;
    assert_eq!(status(&lb).await["failures_total"], json!(1));
}
