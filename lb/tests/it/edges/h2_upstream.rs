//! HTTP/2 towards upstreams.

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue, Response};

use super::support::{H2Client, H2Server, Wire, body_of, head_of, pair, soon};
use crate::support::Balancer;

const H2: &str = "[upstream]\nprotocol = \"h2\"\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

fn ok() -> Response<()> {
    Response::new(())
}

/// Sends a request, for the upstream to answer.
async fn asks(lb: &Balancer, request: &str) -> Wire {
    let mut client = Wire::connect(lb.traffic).await;
    client.send(request).await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_bodies_are_translated() {
    let (lb, backend) = pair(H2).await;
    let mut client = asks(
        &lb,
        "POST /a?b HTTP/1.1\r\nHost: x.example:81\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\nTE: trailers\r\n\
         Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 3\r\n\r\n",
    )
    .await;
    let mut server = H2Server::accept(&backend).await;
    let (request, mut respond) = server.next().await;
    let (head, body) = request.into_parts();
    assert_eq!((head.method.as_str(), head.uri.to_string().as_str()), ("POST", "http://x.example:81/a?b"));
    assert_eq!(
        (&head.headers["x-end"], &head.headers["te"]),
        (&HeaderValue::from(2), &HeaderValue::from_static("trailers"))
    );
    assert_eq!(head.headers["x-forwarded-host"], "x.example:81");
    assert!(
        ["connection", "x-hop", "host", "transfer-encoding"]
            .iter()
            .all(|name| !head.headers.contains_key(*name))
    );
    let (body, trailers) = body_of(body).await.unwrap();
    assert_eq!((body, &trailers.unwrap()["x-sum"]), (Bytes::from("body"), &HeaderValue::from(3)));
    let mut send = respond
        .send_response(Response::builder().status(201).header("x-up", "4").body(()).unwrap(), false)
        .unwrap();
    send.send_data(Bytes::from("ok"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-total", HeaderValue::from(5));
    send.send_trailers(trailers).unwrap();
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.value("x-up"), answer.text()), (201, Some("4"), "ok"));
    assert_eq!(
        (answer.value("transfer-encoding"), answer.trailers.as_str()),
        (Some("chunked"), "x-total: 5\r\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_share_a_connection() {
    let (lb, backend) = pair(H2).await;
    let mut client = H2Client::connect(lb.traffic).await;
    let (first, _) = client.start(head_of("GET", "/first", &[]), true).await;
    let mut server = H2Server::accept(&backend).await;
    let mut asked = vec![server.next().await];
    let mut responses = vec![first];
    for i in 0..50 {
        responses.push(client.start(head_of("GET", &format!("/{i}"), &[]), true).await.0);
        asked.push(server.next().await);
    }
    assert!(!backend.is_asked());
    for (request, mut respond) in asked.into_iter().rev() {
        let mut send = respond.send_response(ok(), false).unwrap();
        send.send_data(Bytes::from(request.uri().path().to_owned()), true).unwrap();
    }
    for (i, response) in responses.into_iter().enumerate() {
        let body = body_of(soon("an answer", response).await.unwrap().into_body()).await.unwrap().0;
        assert_eq!(body, if i == 0 { "/first".to_owned() } else { format!("/{}", i - 1) });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_may_answer_before_it_reads() {
    let (lb, backend) = pair(H2).await;
    // More than the window of 65535 bytes lets through before the upstream has read some of it.
    let body = vec![b'x'; 100_000];
    let mut client = asks(&lb, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n").await;
    client.send(&body).await;
    let mut server = H2Server::accept(&backend).await;
    let (request, mut respond) = server.next().await;
    let mut send = respond.send_response(ok(), false).unwrap();
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    let received = body_of(request.into_body()).await.unwrap().0;
    assert!(received == body, "{} bytes", received.len());
    send.send_data(Bytes::from("ok"), true).unwrap();
    client.until("\r\nok\r\n0\r\n\r\n").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_without_a_byte_are_no_end() {
    let (lb, backend) = pair(H2).await;
    let mut client = asks(&lb, GET).await;
    let mut server = H2Server::accept(&backend).await;
    for length in [None, Some("4")] {
        let (_, mut respond) = server.next().await;
        let mut head = ok();
        if let Some(length) = length {
            head.headers_mut().insert("content-length", HeaderValue::from_static(length));
        }
        let mut send = respond.send_response(head, false).unwrap();
        for piece in ["", "bo", "", "dy", ""] {
            send.send_data(Bytes::from(piece), false).unwrap();
        }
        send.send_data(Bytes::new(), true).unwrap();
        let answer = client.answer().await;
        assert_eq!((answer.text(), answer.value("content-length")), ("body", length));
        // The framing is whole: the connection goes on.
        client.send(GET).await;
    }
    server.next().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_body() {
    let (lb, backend) = pair(H2).await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut server = H2Server::accept(&backend).await;
    for (status, length) in [(200, Some("9")), (204, None), (304, Some("9"))] {
        let (_, mut respond) = server.next().await;
        let mut head = Response::builder().status(status);
        if let Some(length) = length {
            head = head.header("content-length", length);
        }
        respond.send_response(head.body(()).unwrap(), true).unwrap();
        let answer = client.bare().await;
        assert_eq!(
            (answer.status(), answer.value("content-length"), answer.value("transfer-encoding")),
            (status, length, None)
        );
        client.send(GET).await;
    }
    let (_, mut respond) = server.next().await;
    respond.send_response(ok(), true).unwrap();
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text()), (200, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn data_where_there_is_no_body_is_not_passed_on() {
    for (method, status) in [("GET", 204), ("GET", 304), ("HEAD", 200)] {
        let (lb, backend) = pair(H2).await;
        let mut client = asks(&lb, &format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let mut server = H2Server::accept(&backend).await;
        let (_, mut respond) = server.next().await;
        let mut send =
            respond.send_response(Response::builder().status(status).body(()).unwrap(), false).unwrap();
        let _ = send.send_data(Bytes::from("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"), true);
        // The client would take it for the answer to its next request.
        let all = client.everything().await;
        assert!(!String::from_utf8_lossy(&all).contains("poison"), "{method} {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn informational_heads_pass() {
    let (lb, backend) = pair(H2).await;
    let mut client = asks(&lb, GET).await;
    let mut server = H2Server::accept(&backend).await;
    let (_, mut respond) = server.next().await;
    respond
        .send_informational(Response::builder().status(103).header("link", "</a.css>").body(()).unwrap())
        .unwrap();
    let hints = client.bare().await;
    assert_eq!((hints.status(), hints.value("link")), (103, Some("</a.css>")));
    respond.send_response(ok(), true).unwrap();
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_the_whole_server() {
    let (lb, backend) = pair(H2).await;
    let mut client = asks(&lb, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut server = H2Server::accept(&backend).await;
    let (request, mut respond) = server.next().await;
    assert_eq!((request.method().as_str(), request.uri().path()), ("OPTIONS", "*"));
    respond.send_response(ok(), true).unwrap();
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_place_gets_a_sister() {
    let (lb, backend) = pair(H2).await;
    let mut client = H2Client::connect(lb.traffic).await;
    let (first, _) = client.start(head_of("GET", "/1", &[]), true).await;
    let mut server = H2Server::with(&backend, h2::server::Builder::new().max_concurrent_streams(1)).await;
    let (request, mut respond) = server.next().await;
    assert_eq!(request.uri().path(), "/1");
    let (second, _) = client.start(head_of("POST", "/2", &[]), true).await;
    let mut sister = H2Server::accept(&backend).await;
    let (request, mut respond_second) = sister.next().await;
    assert_eq!(request.uri().path(), "/2");
    respond_second.send_response(ok(), true).unwrap();
    assert_eq!(soon("an answer", second).await.unwrap().status(), 200);
    respond.send_response(ok(), true).unwrap();
    assert_eq!(soon("an answer", first).await.unwrap().status(), 200);
    let (third, _) = client.start(head_of("GET", "/3", &[]), true).await;
    let (_, mut respond) = sister.next().await;
    respond.send_response(ok(), true).unwrap();
    assert_eq!(soon("an answer", third).await.unwrap().status(), 200);
    assert!(!backend.is_asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_resets_its_stream_only() {
    let (lb, backend) = pair(H2).await;
    let client = asks(&lb, GET).await;
    let mut server = H2Server::accept(&backend).await;
    let (_, mut respond) = server.next().await;
    client.reset();
    let reason = soon("the reset", std::future::poll_fn(|cx| respond.poll_reset(cx))).await.unwrap();
    assert_eq!(reason, Reason::CANCEL);
    assert!(!backend.is_asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_answer_is_visibly_broken() {
    let (lb, backend) = pair(H2).await;
    let mut client = asks(&lb, GET).await;
    let mut server = H2Server::accept(&backend).await;
    let (_, mut respond) = server.next().await;
    let mut send = respond.send_response(ok(), false).unwrap();
    send.send_data(Bytes::from("half"), false).unwrap();
    client.until("half").await.unwrap();
    send.send_reset(Reason::INTERNAL_ERROR);
    client.breaks().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_need_not_read_a_body_that_it_does_not_want() {
    let (lb, backend) = pair(H2).await;
    let mut client = asks(&lb, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf").await;
    let mut server = H2Server::accept(&backend).await;
    let (request, mut respond) = server.next().await;
    let mut send = respond.send_response(Response::builder().status(403).body(()).unwrap(), false).unwrap();
    send.send_data(Bytes::from("no"), true).unwrap();
    // With both dropped, the stream is reset without an error.
    drop((request, send, respond));
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text(), answer.value("connection")), (403, "no", Some("close")));
}
