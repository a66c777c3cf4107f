//! Connections of HTTP/1.1 and 1.0: how long they last, what waits on them, and how they end.

use tokio::net::TcpSocket;

use super::support::{Wire, pair};
use crate::support::until;

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_kept() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send(GET).await;
    let mut server = backend.accept().await;
    for turn in 0..3 {
        server.request().await;
        server.send(OK).await;
        let answer = client.answer().await;
        assert_eq!((answer.text(), answer.value("connection")), ("ok", None));
        if turn < 2 {
            client.send(GET).await;
        }
    }
    assert!(!backend.is_asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    client.send([request("/1"), request("/2"), request("/3")].concat()).await;
    let mut server = backend.accept().await;
    for path in ["/1", "/2", "/3"] {
        let asked = server.request().await;
        assert!(asked.head.starts_with(&format!("GET {path} ")), "{}", asked.head);
        server.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{path}")).await;
    }
    for path in ["/1", "/2", "/3"] {
        assert_eq!(client.answer().await.text(), path);
    }
    assert!(!backend.is_asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_behind_a_body_is_another_request() {
    let (lb, backend) = pair("").await;
    for (framing, body) in
        [("Content-Length: 4", "body"), ("Transfer-Encoding: chunked", "4\r\nbody\r\n0\r\n\r\n")]
    {
        let mut client = Wire::connect(lb.traffic).await;
        client
            .send(format!(
                "POST /1 HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n{body}GET /2 HTTP/1.1\r\nHost: x\r\n\r\n"
            ))
            .await;
        let mut server = backend.accept().await;
        let first = server.request().await;
        assert_eq!((first.text(), first.head.starts_with("POST /1 ")), ("body", true));
        server.send(OK).await;
        let second = server.request().await;
        assert_eq!((second.text(), second.head.starts_with("GET /2 ")), ("", true));
        server.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        assert_eq!(client.answer().await.status(), 200);
        assert_eq!(client.answer().await.status(), 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_closes_unless_asked_not_to() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    let mut server = backend.accept().await;
    for is_kept in [true, false] {
        let asked = server.request().await;
        assert!(asked.head.starts_with("GET / HTTP/1.1\r\n"), "{}", asked.head);
        server.send(OK).await;
        let answer = client.answer().await;
        assert_eq!(answer.text(), "ok");
        assert_eq!(answer.value("connection") == Some("keep-alive"), is_kept, "{}", answer.head);
        if is_kept {
            client.send("GET / HTTP/1.0\r\n\r\n").await;
        }
    }
    client.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn close_is_honoured() {
    let (lb, backend) = pair("").await;
    for connection in ["close", "Close", "keep-alive, close", "x , close"] {
        let mut client = Wire::connect(lb.traffic).await;
        client.send(format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n")).await;
        let mut server = backend.accept().await;
        let asked = server.request().await;
        assert_eq!(asked.value("connection"), None, "{}", asked.head);
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
        let answer = client.answer().await;
        assert_eq!((answer.text(), answer.value("connection")), ("ok", Some("close")));
        client.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_closes_is_not_reused_and_the_client_stays() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n\r\nok",
        // What nobody asked for must not be the next answer.
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    ] {
        client.send(GET).await;
        let mut server = backend.accept().await;
        server.request().await;
        server.send(answer).await;
        if !answer.contains("Content-Length") {
            server.end().await;
        }
        let got = client.answer().await;
        assert_eq!((got.text(), got.value("connection")), ("ok", None), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_ended_its_direction_gets_its_answer() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send(GET).await;
    client.end().await;
    let mut server = backend.accept().await;
    server.request().await;
    server.send(OK).await;
    assert_eq!(client.answer().await.text(), "ok");
    client.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_frees_its_upstream() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send(GET).await;
    let mut server = backend.accept().await;
    server.request().await;
    client.reset();
    server.is_over().await;
    // So it is while the answer is under way, and silent for now.
    let mut client = Wire::connect(lb.traffic).await;
    client.send(GET).await;
    let mut server = backend.accept().await;
    server.request().await;
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
    client.until("half").await.unwrap();
    client.reset();
    server.is_over().await;
    until("counted", async || {
        lb.metric("lb_attempts_total{outcome=\"abandoned\",upstream=\"a\"}").await == Some(2.0)
    })
    .await;
    until("none in flight", async || lb.metric("lb_in_flight").await == Some(0.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_lines_before_a_request_are_skipped() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send(format!("\r\n\r\n{GET}\r\n{GET}")).await;
    let mut server = backend.accept().await;
    for _ in 0..2 {
        assert!(server.request().await.head.starts_with("GET / HTTP/1.1\r\nHost: x\r\n"));
        server.send(OK).await;
        assert_eq!(client.answer().await.text(), "ok");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_request_of_a_connection_is_told() {
    let (lb, backend) = pair("[client]\nrequests = 2\n").await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send([GET, GET, GET].concat()).await;
    let mut server = backend.accept().await;
    for connection in [None, Some("close")] {
        server.request().await;
        server.send(OK).await;
        assert_eq!(client.answer().await.value("connection"), connection);
    }
    client.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_at_a_time_is_as_good() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    let request = "POST /a?b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: u\r\n\r\n";
    for byte in request.as_bytes() {
        client.send([*byte]).await;
    }
    let mut server = backend.accept().await;
    let asked = server.request().await;
    assert_eq!((asked.text(), asked.trailers.as_str()), ("abc", "T: u\r\n"));
    for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\nV: w\r\n\r\n" {
        server.send([*byte]).await;
    }
    let answer = client.answer().await;
    assert_eq!((answer.text(), answer.trailers.as_str()), ("ok", "V: w\r\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_behind_the_last_request_does_not_destroy_its_answer() {
    let (lb, backend) = pair("").await;
    // The kernel of the client takes little of the answer before the client reads it.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = Wire::new(socket.connect(lb.traffic).await.unwrap());
    client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let mut server = backend.accept().await;
    server.request().await;
    // More than is read ahead, so that some of it is still the kernel's when the connection is closed.
    client.send(GET.repeat(10_000)).await;
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n").await;
    server.send(vec![b'x'; 40_000]).await;
    until("closed by the load balancer", async || lb.metric("lb_connections").await == Some(0.0)).await;
    assert_eq!(client.answer().await.body.len(), 40_000);
    client.ends().await;
}
