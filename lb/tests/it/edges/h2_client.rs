//! HTTP/2 towards clients, with an upstream that speaks HTTP/1.1.

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue};

use super::support::{Backend, H2Client, Wire, body_of, head_of, pair, send_all, soon};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn pattern(length: usize) -> Bytes {
    (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_body() {
    let (lb, backend) = pair("").await;
    let mut client = H2Client::connect(lb.traffic).await;
    let request =
        head_of("GET", "/a?b=c", &[("x-end", "1"), ("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]);
    let (response, _) = client.start(request, true).await;
    let mut server = backend.accept().await;
    let asked = server.request().await;
    assert!(asked.head.starts_with("GET /a?b=c HTTP/1.1\r\nHost: test.example\r\n"), "{}", asked.head);
    assert_eq!(asked.value("cookie"), Some("a=1; b=2; c=3"));
    assert_eq!((asked.value("x-end"), asked.value("x-forwarded-for")), (Some("1"), Some("127.0.0.1")));
    for name in ["transfer-encoding", "content-length", "connection", "te"] {
        assert_eq!(asked.value(name), None, "{}", asked.head);
    }
    server
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Up: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: x\r\n\r\nok")
        .await;
    let (head, body) = soon("an answer", response).await.unwrap().into_parts();
    assert_eq!(
        (head.status.as_u16(), &head.headers["x-up"], &head.headers["content-length"]),
        (200, &HeaderValue::from(2), &HeaderValue::from(2))
    );
    assert!(["connection", "x-hop", "keep-alive"].iter().all(|name| !head.headers.contains_key(*name)));
    assert_eq!(body_of(body).await.unwrap(), (Bytes::from("ok"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_body_end_with_their_head() {
    let (lb, backend) = pair("").await;
    let mut client = H2Client::connect(lb.traffic).await;
    let mut server = None;
    for (method, answer, length) in [
        ("HEAD", "200 OK\r\nContent-Length: 99\r\n", Some("99")),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked\r\n", None),
        ("GET", "204 No Content\r\n", None),
        ("GET", "304 Not Modified\r\nContent-Length: 99\r\n", Some("99")),
        ("GET", "200 OK\r\nContent-Length: 0\r\n", Some("0")),
    ] {
        let (response, _) = client.start(head_of(method, "/", &[]), true).await;
        let server = match &mut server {
            Some(server) => server,
            None => server.insert(backend.accept().await),
        };
        assert!(server.request().await.head.starts_with(method));
        server.send(format!("HTTP/1.1 {answer}\r\n")).await;
        let (head, body) = soon("an answer", response).await.unwrap().into_parts();
        assert!(body.is_end_stream(), "{method} {answer:?}");
        assert_eq!(
            head.headers.get("content-length").map(|value| value.to_str().unwrap()),
            length,
            "{method} {answer:?}"
        );
    }
    assert!(!backend.is_asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_with_and_without_a_length() {
    let (lb, backend) = pair("").await;
    let mut client = H2Client::connect(lb.traffic).await;
    let mut server = None;
    for (fields, framing) in
        [(&[("content-length", "4")][..], "content-length"), (&[][..], "transfer-encoding")]
    {
        let (response, mut send) = client.start(head_of("POST", "/", fields), false).await;
        send.send_data(Bytes::from("bo"), false).unwrap();
        send.send_data(Bytes::new(), false).unwrap();
        send.send_data(Bytes::from("dy"), false).unwrap();
        // The end comes in a frame of its own, without a byte.
        send.send_data(Bytes::new(), true).unwrap();
        let server = match &mut server {
            Some(server) => server,
            None => server.insert(backend.accept().await),
        };
        let asked = server.request().await;
        assert_eq!(asked.text(), "body");
        assert!(asked.value(framing).is_some(), "{}", asked.head);
        server
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n")
            .await;
        let (_, body) = soon("an answer", response).await.unwrap().into_parts();
        assert_eq!(body_of(body).await.unwrap().0, "ok");
    }
    assert!(!backend.is_asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_under_flow_control() {
    let (lb, backend) = pair("[limits]\nbody_bytes = 20000000\n").await;
    let mut client = H2Client::connect(lb.traffic).await;
    let (up, down) = (pattern(10_000_000), pattern(50_000_000));
    let (response, mut send) = client.start(head_of("PUT", "/", &[]), false).await;
    let copy = up.clone();
    let sent = tokio::spawn(async move {
        send_all(&mut send, copy).await;
        send.send_data(Bytes::new(), true).unwrap();
    });
    let mut server = backend.accept().await;
    assert!(server.request().await.body == up);
    sent.await.unwrap();
    let copy = down.clone();
    let answered = tokio::spawn(async move {
        server.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", copy.len())).await;
        server.send(copy).await;
        server
    });
    let (_, body) = soon("an answer", response).await.unwrap().into_parts();
    assert!(body_of(body).await.unwrap().0 == down);
    let _ = answered.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_pass_both_ways() {
    let (lb, backend) = pair("").await;
    let mut client = H2Client::connect(lb.traffic).await;
    let (response, mut send) = client.start(head_of("POST", "/", &[("te", "trailers")]), false).await;
    send.send_data(Bytes::from("body"), false).unwrap();
    let mut trailers = HeaderMap::new();
    for (name, value) in [
        ("x-sum", "1"),
        ("content-length", "9"),
        ("host", "evil.example"),
        ("authorization", "evil"),
        ("x-forwarded-for", "9.9.9.9"),
    ] {
        trailers.insert(name, HeaderValue::from_static(value));
    }
    send.send_trailers(trailers).unwrap();
    let mut server = backend.accept().await;
    let asked = server.request().await;
    // What only a head may have could become a part of the head at the other end.
    assert_eq!((asked.text(), asked.trailers.as_str()), ("body", "x-sum: 1\r\n"));
    assert_eq!(asked.value("te"), Some("trailers"));
    server
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Total: 2\r\n\r\n")
        .await;
    let (_, body) = soon("an answer", response).await.unwrap().into_parts();
    let (body, trailers) = body_of(body).await.unwrap();
    assert_eq!((body, &trailers.unwrap()["x-total"]), (Bytes::from("ok"), &HeaderValue::from(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_does_not_wait_for_the_body() {
    let (lb, backend) = pair("[limits]\nbody_bytes = 1000\n").await;
    let mut client = H2Client::connect(lb.traffic).await;
    let (response, mut send) = client.start(head_of("POST", "/", &[]), false).await;
    send.send_data(Bytes::from(vec![0; 2000]), false).unwrap();
    let (head, body) = soon("an answer", response).await.unwrap().into_parts();
    assert_eq!(head.status, 413);
    assert!(String::from_utf8_lossy(&body_of(body).await.unwrap().0).contains("body_too_large"));
    let (response, mut send) = client.start(head_of("POST", "/", &[]), false).await;
    send.send_data(Bytes::from("half"), false).unwrap();
    let mut server: Wire = backend_with_request(&backend).await;
    server.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    let (head, body) = soon("an answer", response).await.unwrap().into_parts();
    assert_eq!((head.status.as_u16(), body_of(body).await.unwrap().0), (403, Bytes::from("no")));
    // What is still sent is not wanted, and that is no error: RFC 9113, section 8.1.
    let reason = soon("the reset", std::future::poll_fn(|cx| send.poll_reset(cx))).await.unwrap();
    assert_eq!(reason, Reason::NO_ERROR);
}

/// The next connection on which a request is. Those on which nothing ever comes are passed over.
async fn backend_with_request(backend: &Backend) -> Wire {
    loop {
        let mut server = backend.accept().await;
        if server.until("\r\n\r\n").await.is_ok() {
            return server;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn informational_heads_pass() {
    let (lb, backend) = pair("").await;
    let mut client = H2Client::connect(lb.traffic).await;
    let (mut response, mut send) =
        client.start(head_of("POST", "/", &[("expect", "100-continue")]), false).await;
    let mut server = backend.accept().await;
    assert!(server.head().await.to_lowercase().contains("\r\nexpect: 100-continue\r\n"));
    server.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    let interim =
        soon("a head", std::future::poll_fn(|cx| response.poll_informational(cx))).await.unwrap().unwrap();
    assert_eq!(interim.status(), 100);
    send.send_data(Bytes::from("body"), true).unwrap();
    server.until("0\r\n\r\n").await.unwrap();
    server.send(format!("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n{OK}")).await;
    let interim =
        soon("a head", std::future::poll_fn(|cx| response.poll_informational(cx))).await.unwrap().unwrap();
    assert_eq!(
        (interim.status().as_u16(), &interim.headers()["link"]),
        (103, &HeaderValue::from_static("</a.css>"))
    );
    assert_eq!(soon("an answer", response).await.unwrap().status(), 200);
}
