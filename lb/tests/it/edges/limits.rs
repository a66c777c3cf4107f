//! Limits: what is too much, too long, too slow or too often.

use std::time::Duration;

use super::support::{Wire, pair, soon};
use crate::support::until;

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_still_sends_can_read_why_its_body_is_refused() {
    let (lb, backend) = pair("[limits]\nbody_bytes = 1000\n").await;
    let body = "x".repeat(20_000_000);
    for head in ["Content-Length: 20000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n1312d00\r\n"] {
        let mut client = Wire::connect(lb.traffic).await;
        // A client that looks for an answer only when it has sent all. In one piece, so that what is too much is
        // there with the head, and nothing goes on.
        client.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{head}{body}")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.value("connection")), (413, Some("close")));
        assert!(answer.text().contains("1000 bytes"), "{}", answer.text());
        client.ends().await;
    }
    while backend.is_asked_and_silent().await {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_exactly_the_limit_passes() {
    let (lb, backend) = pair("[limits]\nbody_bytes = 4\n").await;
    let mut client = Wire::connect(lb.traffic).await;
    client
        .send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
        .await;
    let mut server = backend.accept().await;
    assert_eq!(server.request().await.text(), "body");
    server.send(OK).await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_drips_is_cut_by_its_total_time() {
    let (lb, backend) = pair("[limits]\nheader_timeout_ms = 300\n[client]\nread_timeout_ms = 60000\n").await;
    let mut first = Wire::connect(lb.traffic).await;
    let mut second = Wire::connect(lb.traffic).await;
    second.send(GET).await;
    let mut server = backend.accept().await;
    server.request().await;
    server.send(OK).await;
    second.answer().await;
    for client in [&mut first, &mut second] {
        client.send("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await;
        // A byte now and then is no progress that counts.
        let answer = loop {
            match tokio::time::timeout(Duration::from_millis(30), client.until("\r\n\r\n")).await {
                Ok(head) => break head.unwrap(),
                Err(_) => client.send("x").await,
            }
        };
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    assert!(!backend.is_asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_request_is_closed_silently() {
    let (lb, _backend) = pair("[limits]\nheader_timeout_ms = 100\n").await;
    Wire::connect(lb.traffic).await.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_silently() {
    let (lb, backend) = pair("[client]\nidle_timeout_ms = 100\n").await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send(GET).await;
    let mut server = backend.accept().await;
    server.request().await;
    server.send(OK).await;
    client.answer().await;
    client.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_is_told_so() {
    let (lb, backend) = pair("[client]\nread_timeout_ms = 100\n").await;
    for head in ["Content-Length: 9\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let mut client = Wire::connect(lb.traffic).await;
        client.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{head}")).await;
        let mut server = backend.accept().await;
        server.head().await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.value("connection")), (408, Some("close")));
        client.ends().await;
        // The upstream must not take what it has for all.
        assert!(server.until("0\r\n\r\n").await.is_err());
    }
    assert_eq!(lb.metric("lb_attempts_total{outcome=\"abandoned\",upstream=\"a\"}").await, Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_let_go() {
    let (lb, backend) = pair("[client]\nwrite_timeout_ms = 200\n").await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send(GET).await;
    let mut server = backend.accept().await;
    server.request().await;
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
    let piece = vec![0; 1_000_000];
    while server.try_send(&piece).await.is_ok() {}
    client.breaks().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_limited_in_size() {
    let (lb, backend) = pair("[limits]\nheader_bytes = 1000\n").await;
    let long = "y".repeat(1000);
    let many = "A: b\r\n".repeat(101);
    for (request, status, code) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), 414, "target_too_long"),
        (format!("GET /{long}"), 414, "target_too_long"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"), 431, "header_too_large"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"), 431, "header_too_large"),
    ] {
        let mut client = Wire::connect(lb.traffic).await;
        client.send(&request).await;
        let answer = client.answer().await;
        assert!(answer.status() == status && answer.text().contains(code), "{answer:?} to {request}");
        client.ends().await;
    }
    assert!(!backend.is_asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let (lb, backend) = pair("[limits]\nconnections = 1\n").await;
    let mut first = Wire::connect(lb.traffic).await;
    first.send(GET).await;
    let mut server = backend.accept().await;
    server.request().await;
    server.send(OK).await;
    first.answer().await;
    let mut second = Wire::connect(lb.traffic).await;
    second.send(GET).await;
    assert_eq!(lb.metric("lb_connections").await, Some(1.0));
    // The first is served although the second waits.
    first.send("GET /first HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(server.request().await.head.starts_with("GET /first "));
    server.send(OK).await;
    first.answer().await;
    drop(first);
    let mut server = tokio::select! {
        new = backend.accept() => new,
        head = server.head() => { assert!(head.starts_with("GET / ")); server }
    };
    if backend.is_asked() {
        panic!("two connections for one request");
    }
    let answer = async {
        server.try_send(OK).await.unwrap();
        second.answer().await
    };
    assert_eq!(soon("an answer", answer).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_so_many_requests_per_second() {
    let (lb, backend) = pair("[limits]\nrequests_per_second_per_client = 3\n").await;
    let served = tokio::spawn(async move {
        let mut server = backend.accept().await;
        loop {
            server.request().await;
            server.send(OK).await;
        }
    });
    let mut client = Wire::connect(lb.traffic).await;
    let mut statuses = Vec::new();
    // More than fit into two seconds, sent within far less.
    client.send(GET.repeat(20)).await;
    for _ in 0..20 {
        let answer = client.answer().await;
        statuses.push(answer.status());
        if answer.status() == 429 {
            assert_eq!(answer.value("retry-after"), Some("1"));
            assert_eq!(answer.value("connection"), None);
        }
    }
    assert_eq!(statuses[..3], [200; 3]);
    assert!(statuses.contains(&429), "{statuses:?}");
    // And again, when the second is over.
    until("served again", async || {
        client.send(GET).await;
        client.answer().await.status() == 200
    })
    .await;
    served.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_go_on_is_cut() {
    let mut files = super::support::Files::new();
    files.make("a", &["a.example"]);
    let tables = format!("{}[limits]\nheader_timeout_ms = 200\n", files.table("a"));
    let (lb, _backend) = pair(&tables).await;
    let mut client = Wire::connect(lb.tls.unwrap()).await;
    // The beginning of a handshake that never goes on.
    client.send([0x16, 3, 1, 2, 0, 1]).await;
    client.is_over().await;
    until("counted", async || lb.metric("lb_bad_connections_total").await == Some(1.0)).await;
}
