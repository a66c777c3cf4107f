//! Informational heads (RFC 9110, section 15.2).

use super::support::{Wire, pair};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test(flavor = "multi_thread")]
async fn the_word_to_go_on_comes_from_the_upstream() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    let mut server = backend.accept().await;
    let head = server.head().await;
    assert!(head.contains("\r\nExpect: 100-continue\r\n"), "{head}");
    server.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body").await;
    assert_eq!(server.exactly(4).await.unwrap(), b"body");
    server.send(OK).await;
    assert_eq!(client.answer().await.text(), "ok");
    // The connection is good for another request.
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.head().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_does_not_want_the_body_says_so() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    let mut server = backend.accept().await;
    server.head().await;
    server.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n").await;
    let answer = client.answer().await;
    // Nobody could tell a body from the next request.
    assert_eq!((answer.status(), answer.value("connection")), (417, Some("close")));
    client.ends().await;
    server.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn early_hints_are_passed_on_at_once() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut server = backend.accept().await;
    server.request().await;
    server.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n").await;
    assert_eq!(client.head().await, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
    server.send("HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n").await;
    assert!(client.head().await.contains("/b.css"));
    assert!(client.head().await.starts_with("HTTP/1.1 102 "));
    server.send(OK).await;
    assert_eq!(client.answer().await.text(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_client_gets_none() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let mut server = backend.accept().await;
    server.request().await;
    server.send(format!("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n{OK}")).await;
    assert_eq!(client.answer().await.status(), 200);
    client.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_limited_in_number() {
    let (lb, backend) = pair("").await;
    for (number, status) in [(32, 200), (33, 502)] {
        let mut client = Wire::connect(lb.traffic).await;
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut server = backend.accept().await;
        server.request().await;
        let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(number);
        server
            .send(format!("{hints}HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"))
            .await;
        let answer = loop {
            let head = client.bare().await;
            if head.status() != 103 {
                break head;
            }
        };
        assert_eq!(answer.status(), status, "after {number}");
    }
}
