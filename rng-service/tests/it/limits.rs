//! What a client may not do, and that it harms nobody else.

use crate::support::{Connection, Raw, Service};

#[tokio::test]
async fn a_large_head_gets_431() {
    let service = Service::start("limits = { header_bytes = 8192, max_headers = 4 }").await;
    let mut raw = Raw::open(service.addr).await;
    raw.write(&format!("GET /int HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(20_000))).await;
    assert!(raw.rest().await.starts_with("HTTP/1.1 431 "));
    let mut raw = Raw::open(service.addr).await;
    raw.write("GET /int HTTP/1.1\r\nhost: a\r\nb: 1\r\nc: 1\r\nd: 1\r\ne: 1\r\n\r\n").await;
    assert!(raw.rest().await.starts_with("HTTP/1.1 431 "));
    assert_eq!(service.get("/int").await.status, 200);
}

#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let service = Service::start("limits.header_timeout_ms = 50").await;
    let mut raw = Raw::open(service.addr).await;
    raw.write("GET /int HT").await;
    assert_eq!(raw.rest().await, "");
    assert_eq!(service.metric("rng_connections_cut_total", "reason=slow_head"), 1.0);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let service = Service::start("limits.idle_timeout_ms = 50").await;
    let mut never_used = Raw::open(service.addr).await;
    let mut used = Connection::open(service.addr).await;
    assert_eq!(used.ask("GET", "/int", &[]).await.status, 200);
    used.closed().await;
    assert_eq!(never_used.rest().await, "");
    assert_eq!(service.metric("rng_connections_cut_total", "reason=idle"), 2.0);
}

#[tokio::test]
async fn a_small_body_is_ignored_and_the_connection_kept() {
    let service = Service::start("limits.body_bytes = 8").await;
    let mut raw = Raw::open(service.addr).await;
    raw.write("GET /int?min=1&max=1 HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\n12345678").await;
    raw.write("GET /int HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n")
        .await;
    raw.write("POST /int HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx").await;
    let all = raw.rest().await;
    assert_eq!(all.matches("HTTP/1.1 200 ").count(), 2, "{all}");
    assert_eq!(all.matches("HTTP/1.1 405 ").count(), 1, "{all}");
}

#[tokio::test]
async fn a_large_body_gets_413_and_the_connection_is_closed() {
    let service = Service::start("limits.body_bytes = 8").await;
    for request in [
        "GET /int HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n",
        "GET /int HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999\r\n\r\n",
        "GET /int HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n9\r\n123456789\r\n",
    ] {
        let mut raw = Raw::open(service.addr).await;
        raw.write(request).await;
        let answer = raw.rest().await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{request}: {answer}");
        assert!(answer.contains("connection: close\r\n") && answer.contains("limits.body_bytes"), "{answer}");
    }
}

#[tokio::test]
async fn a_slow_body_gets_408_and_a_broken_one_400() {
    let service = Service::start("limits.body_timeout_ms = 50").await;
    let mut raw = Raw::open(service.addr).await;
    raw.write("GET /int HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n123").await;
    assert!(raw.rest().await.starts_with("HTTP/1.1 408 "));
    let mut raw = Raw::open(service.addr).await;
    raw.write("GET /int HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").await;
    assert!(raw.rest().await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn one_connection_too_many_gets_503() {
    let service = Service::start("limits.max_connections = 1").await;
    let mut first = Connection::open(service.addr).await;
    assert_eq!(first.ask("GET", "/int", &[]).await.status, 200);
    let mut second = Raw::open(service.addr).await;
    let answer = second.rest().await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    assert!(head.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
    assert!(body.contains("limits.max_connections"), "{answer}");
    assert_eq!(service.metric("rng_connections_refused_total", ""), 1.0);
    assert_eq!(first.ask("GET", "/int", &[]).await.status, 200);
    drop(first);
    service.until("rng_connections", "", 0.0).await;
    assert_eq!(service.get("/int").await.status, 200);
}
