//! What two readers could understand differently is refused, and no byte of it reaches an upstream.

use super::support::{Backend, Wire, pair};
use crate::support::Balancer;

/// The status for these bytes, after which the connection must end, and which no upstream may see.
async fn refused(lb: &Balancer, backend: &Backend, bytes: &[u8]) -> u16 {
    let shown = String::from_utf8_lossy(bytes).into_owned();
    let mut client = Wire::connect(lb.traffic).await;
    client.send(bytes).await;
    let answer = client.answer().await;
    assert_eq!(answer.value("connection"), Some("close"), "{shown:?}: {}", answer.head);
    client.ends().await;
    // A connection may have been made for it, but nothing of the request may be on it.
    while backend.is_asked_and_silent().await {}
    answer.status()
}

async fn all_refused(status: u16, requests: &[&str]) {
    let (lb, backend) = pair("").await;
    for request in requests {
        assert_eq!(refused(&lb, &backend, request.as_bytes()).await, status, "{request:?}");
    }
    let refused = u32::try_from(requests.len()).unwrap();
    assert_eq!(lb.metric("lb_requests_total{code=\"4xx\"}").await, Some(f64::from(refused)));
    assert_eq!(lb.metric("lb_requests_total{code=\"2xx\"}").await, Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_lengths() {
    let mut requests = Vec::new();
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: 5,6",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: five",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Content-Length: 5;q=1",
    ] {
        requests.push(format!(
            "POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"
        ));
    }
    all_refused(400, &requests.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disguised_codings() {
    let mut requests = Vec::new();
    for field in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding:\u{b}chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: chunked\r\n\t, x",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "Transfer_Encoding chunked",
        "Transfer-Encoding:",
    ] {
        requests.push(format!("POST / HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n0\r\n\r\n"));
    }
    requests.push("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned());
    all_refused(400, &requests.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_codings_are_not_implemented() {
    let (lb, backend) = pair("").await;
    let request = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(refused(&lb, &backend, request).await, 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_chunks() {
    let mut requests = Vec::new();
    for body in [
        "x\r\n",
        "-1\r\nx\r\n",
        "+1\r\nx\r\n",
        "0x1\r\nx\r\n",
        " 1\r\nx\r\n",
        "1 \r\nx\r\n",
        "\r\n",
        ";a=b\r\n",
        "10000000000000000\r\nx\r\n",
        "1\nx\r\n0\r\n\r\n",
        "1\rx",
        "1;a\nx\r\n0\r\n\r\n",
        "1;a\0\r\nx\r\n0\r\n\r\n",
        "1\r\nxx\r\n0\r\n\r\n",
        "1\r\nx0\r\n\r\n",
        "1\r\nx\n0\r\n\r\n",
        "1\r\nx\r0\r\n\r\n",
        "1\r\nx\r\n0\r\nContent-Length: 1\r\n\r\n",
        "1\r\nx\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "1\r\nx\r\n0\r\nHost: y\r\n\r\n",
        "1\r\nx\r\n0\r\nno colon\r\n\r\n",
        "1\r\nx\r\n0\r\nA: b\n\r\n",
        "1\r\nx\r\n0\r\n folded\r\n\r\n",
    ] {
        requests.push(format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
    }
    all_refused(400, &requests.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines() {
    all_refused(
        400,
        &[
            "GET / HTTP/1.1\nHost: x\n\n",
            "GET / HTTP/1.1\r\nHost: x\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n\n",
            "GET / HTTP/1.1\rHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
            "GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\x7f\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n\r\n",
            "GET / HTTP/1.1\r\n A: b\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA\t: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA(b): c\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_hosts() {
    all_refused(
        400,
        &[
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nhost: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x@y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x, y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x:port\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x:99999\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [x]\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: x y\r\n\r\n",
            "GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET http:/// HTTP/1.1\r\nHost: x\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_request_lines() {
    all_refused(
        400,
        &[
            "GE(T / HTTP/1.1\r\nHost: x\r\n\r\n",
            " GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /  HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
            "GET / a HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /#f HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET x HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /\r\n\r\n",
            "GET\r\n\r\n",
            "GET / HTTP/1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.10\r\nHost: x\r\n\r\n",
            "GET / http/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTQ/1.1\r\nHost: x\r\n\r\n",
            "CONNECT /x HTTP/1.1\r\nHost: x\r\n\r\n",
            "\x16\x03\x01\x02\x00\x01\x00\x01\x00\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_versions() {
    let (lb, backend) = pair("").await;
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/3.0", "HTTP/9.9"] {
        let request = format!("GET / {version}\r\nHost: x\r\n\r\n");
        assert_eq!(refused(&lb, &backend, request.as_bytes()).await, 505, "{version}");
    }
    // The beginning of HTTP/2 and then something else.
    assert_eq!(refused(&lb, &backend, b"PRI * HTTP/2.0\r\n\r\nNO\r\n\r\n").await, 505);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_refused_request_is_not_read() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send("GET /one HTTP/1.1\r\nHost: x\r\n\r\nGET /two HTTP/1.1\r\n\r\nGET /three HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut server = backend.accept().await;
    assert!(server.request().await.head.starts_with("GET /one "));
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none").await;
    assert_eq!(client.answer().await.text(), "one");
    assert_eq!(client.answer().await.status(), 400);
    client.ends().await;
    drop(lb);
    // With the load balancer gone, all that it ever sent is here.
    server.ends().await;
    assert!(!backend.is_asked());
}
