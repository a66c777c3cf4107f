//! WebSocket and other protocols after an upgrade (RFC 9110, section 7.8).

use std::time::{Duration, Instant};

use super::support::{Backend, Message, Wire, pair};
use crate::support::{Balancer, until};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

async fn asked(lb: &Balancer, backend: &Backend, ask: &str) -> (Wire, Wire, Message) {
    let mut client = Wire::connect(lb.traffic).await;
    client.send(ask).await;
    let mut server = backend.accept().await;
    let request = server.request().await;
    (client, server, request)
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_both_ways_at_once() {
    let (lb, backend) = pair("").await;
    // Both sides say something right behind their heads.
    let (mut client, mut server, request) = asked(&lb, &backend, &format!("{ASK}early client")).await;
    assert_eq!((request.value("connection"), request.value("upgrade")), (Some("upgrade"), Some("websocket")));
    assert_eq!(request.value("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    server.send(format!("{AGREE}early server")).await;
    let answer = client.bare().await;
    assert_eq!((answer.status(), answer.value("upgrade")), (101, Some("websocket")));
    assert_eq!(answer.value("connection"), Some("upgrade"));
    assert_eq!(answer.value("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(client.exactly(12).await.unwrap(), b"early server");
    assert_eq!(server.exactly(12).await.unwrap(), b"early client");
    for turn in 0..100_u8 {
        let bytes = vec![turn; 1 + usize::from(turn) * 997];
        client.send(&bytes).await;
        assert_eq!(server.exactly(bytes.len()).await.unwrap(), bytes);
        server.send(&bytes).await;
        assert_eq!(client.exactly(bytes.len()).await.unwrap(), bytes);
    }
    // HTTP within it is not looked at.
    client.send("GET /not HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n").await;
    server.until("Transfer-Encoding: x\r\n\r\n").await.unwrap();
    drop(client);
    server.is_over().await;
    drop(server);
    until("counted", async || lb.metric("lb_requests_total{code=\"1xx\"}").await == Some(1.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_direction_ends_by_itself() {
    let (lb, backend) = pair("").await;
    for client_first in [true, false] {
        let (mut client, mut server, _) = asked(&lb, &backend, ASK).await;
        server.send(AGREE).await;
        client.bare().await;
        let (first, second) =
            if client_first { (&mut client, &mut server) } else { (&mut server, &mut client) };
        first.send("last words").await;
        first.end().await;
        assert_eq!(second.rest().await, b"last words");
        second.send("answer").await;
        second.end().await;
        assert_eq!(first.rest().await, b"answer");
    }
    until("no connection", async || lb.metric("lb_connections").await == Some(0.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_without_a_byte_is_closed() {
    let (lb, backend) = pair("[attempt]\nread_timeout_ms = 1000\n").await;
    let (mut client, mut server, _) = asked(&lb, &backend, ASK).await;
    server.send(AGREE).await;
    client.bare().await;
    // It is open for as long as something passes, in either direction.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        client.send("x").await;
        server.exactly(1).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.is_over().await;
    server.is_over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_may_refuse() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send(ASK).await;
    let mut server = backend.accept().await;
    for status in ["200 OK", "400 Bad Request", "426 Upgrade Required"] {
        server.request().await;
        server.send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status().to_string().as_str(), answer.text()), (&status[..3], "no"));
        // Both connections go on.
        client.send(ASK).await;
    }
    server.request().await;
    server.send(AGREE).await;
    assert_eq!(client.bare().await.status(), 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn h2c_is_nobodys_to_choose() {
    let (lb, backend) = pair("").await;
    for upgrade in ["h2c", "H2C", "websocket, h2c", "h2c,websocket", "foo , h2c/x"] {
        let ask = format!(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
        );
        let (mut client, mut server, request) = asked(&lb, &backend, &ask).await;
        for name in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(request.value(name), None, "{}", request.head);
        }
        server.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n").await;
        assert_eq!(client.answer().await.status(), 502);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_the_connection_does_not_name_is_none() {
    let (lb, backend) = pair("").await;
    for ask in [
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let (mut client, mut server, request) = asked(&lb, &backend, ask).await;
        assert_eq!(request.value("upgrade"), None, "{}", request.head);
        server.send(AGREE).await;
        assert_eq!(client.answer().await.status(), 502);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agreement_may_come_before_the_end_of_the_request() {
    let (lb, backend) = pair("").await;
    let head = ASK.trim_end();
    for (framing, first, then, body) in [
        ("Transfer-Encoding: chunked", "", "0\r\n\r\n", ""),
        ("Transfer-Encoding: chunked", "5\r\nhe", "llo\r\n0\r\n\r\n", "hello"),
        ("Content-Length: 5", "he", "llo", "hello"),
    ] {
        let mut client = Wire::connect(lb.traffic).await;
        client.send(format!("{head}\r\n{framing}\r\n\r\n{first}")).await;
        let mut server = backend.accept().await;
        let request = server.bare().await;
        server.send(AGREE).await;
        assert_eq!(client.bare().await.status(), 101);
        client.send(format!("{then}now another protocol")).await;
        // The rest of the body is still one in its framing, and what follows is not.
        assert_eq!(server.body_of(request).await.text(), body);
        assert_eq!(server.exactly(20).await.unwrap(), b"now another protocol");
        server.send("as agreed").await;
        assert_eq!(client.exactly(9).await.unwrap(), b"as agreed");
    }
}
