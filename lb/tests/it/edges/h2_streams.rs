//! Many streams of one client's connection: beside each other, cancelled, and at the end.

use bytes::Bytes;
use h2::Reason;

use super::support::{H2Client, body_of, head_of, pair, soon};
use crate::support::until;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_read_holds_up_no_other() {
    let (lb, backend) = pair("").await;
    let stream = tokio::net::TcpStream::connect(lb.traffic).await.unwrap();
    // Room for one stream is not all there is.
    let mut options = h2::client::Builder::new();
    options.initial_window_size(65_535).initial_connection_window_size(1_000_000);
    let mut client = H2Client::with(stream, &options).await;
    let (stuck, _) = client.start(head_of("GET", "/stuck", &[]), true).await;
    let mut server = backend.accept().await;
    server.request().await;
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n").await;
    let filled = tokio::spawn(async move {
        for _ in 0..10 {
            server.send(vec![7; 1_000_000]).await;
        }
        server
    });
    let stuck = soon("a head", stuck).await.unwrap();
    let mut other = None;
    for _ in 0..20 {
        let get = client.get("/other");
        let serve = async {
            let server = match &mut other {
                Some(server) => server,
                None => other.insert(backend.accept().await),
            };
            server.request().await;
            server.send(OK).await;
        };
        assert_eq!(tokio::join!(get, serve).0.body(), "ok");
    }
    assert!(!filled.is_finished(), "a stream is read ahead without bound");
    assert_eq!(body_of(stuck.into_body()).await.unwrap().0.len(), 10_000_000);
    filled.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_streams_at_a_time() {
    let (lb, backend) = pair("").await;
    let mut client = H2Client::connect(lb.traffic).await;
    let mut responses = Vec::new();
    for i in 0..100 {
        responses.push(client.start(head_of("GET", &format!("/{i}"), &[]), true).await.0);
    }
    // All are at the upstream before the first is answered, the last one first.
    let mut servers = Vec::new();
    for _ in 0..100 {
        let mut server = backend.accept().await;
        let asked = server.request().await;
        servers.push((server, asked.head.split(' ').nth(1).unwrap().to_owned()));
    }
    for (server, path) in servers.iter_mut().rev() {
        server.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len())).await;
    }
    for (i, response) in responses.into_iter().enumerate() {
        let (_, body) = soon("an answer", response).await.unwrap().into_parts();
        assert_eq!(body_of(body).await.unwrap().0, format!("/{i}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_its_stream_frees_its_upstream() {
    let (lb, backend) = pair("").await;
    let mut client = H2Client::connect(lb.traffic).await;
    let (response, mut send) = client.start(head_of("GET", "/", &[]), true).await;
    let mut server = backend.accept().await;
    server.request().await;
    send.send_reset(Reason::CANCEL);
    server.is_over().await;
    drop(response);
    // While the answer is under way, and silent for now.
    let (response, mut send) = client.start(head_of("GET", "/", &[]), true).await;
    let mut server = backend.accept().await;
    server.request().await;
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
    let response = soon("a head", response).await.unwrap();
    send.send_reset(Reason::CANCEL);
    server.is_over().await;
    drop(response);
    // Within its body.
    let (_response, mut send) = client.start(head_of("POST", "/", &[]), false).await;
    send.send_data(Bytes::from("half"), false).unwrap();
    let mut server = backend.accept().await;
    server.until("half").await.unwrap();
    send.send_reset(Reason::CANCEL);
    assert!(server.until("0\r\n\r\n").await.is_err());
    // The connection itself is well.
    let serve = async {
        let mut server = backend.accept().await;
        server.request().await;
        server.send(OK).await;
    };
    assert_eq!(tokio::join!(client.get("/"), serve).0.body(), "ok");
    until("none in flight", async || lb.metric("lb_in_flight").await == Some(0.0)).await;
    assert_eq!(lb.metric("lb_attempts_total{outcome=\"abandoned\",upstream=\"a\"}").await, Some(3.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_gone_frees_its_upstreams() {
    let (lb, backend) = pair("").await;
    let mut client = H2Client::connect(lb.traffic).await;
    let _first = client.start(head_of("GET", "/", &[]), true).await;
    let _second = client.start(head_of("GET", "/", &[]), true).await;
    let (mut a, mut b) = (backend.accept().await, backend.accept().await);
    a.request().await;
    b.request().await;
    client.driver.abort();
    a.is_over().await;
    b.is_over().await;
    until("no connection", async || lb.metric("lb_connections").await == Some(0.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_answer_resets_its_stream_only() {
    let (lb, backend) = pair("").await;
    let mut client = H2Client::connect(lb.traffic).await;
    for framing in ["Content-Length: 9\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let (response, _) = client.start(head_of("GET", "/", &[]), true).await;
        let mut server = backend.accept().await;
        server.request().await;
        server.send(format!("HTTP/1.1 200 OK\r\n{framing}")).await;
        let response = soon("a head", response).await.unwrap();
        drop(server);
        let error = body_of(response.into_body()).await.unwrap_err();
        assert!(error.is_reset() && error.is_remote(), "{error}");
    }
    let serve = async {
        let mut server = backend.accept().await;
        server.request().await;
        server.send(OK).await;
    };
    assert_eq!(tokio::join!(client.get("/"), serve).0.body(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_open_streams_finish_and_no_new_ones_begin() {
    let (lb, backend) = pair("[drain]\nlinger_ms = 0\ntimeout_ms = 15000\n").await;
    let mut client = H2Client::connect(lb.traffic).await;
    let (response, _) = client.start(head_of("GET", "/", &[]), true).await;
    let mut server = backend.accept().await;
    server.request().await;
    let stopped = tokio::spawn(lb.stop());
    until("told to leave", async || client.try_start(head_of("GET", "/late", &[]), true).await.is_err())
        .await;
    server.send(OK).await;
    let (_, body) = soon("an answer", response).await.unwrap().into_parts();
    assert_eq!(body_of(body).await.unwrap().0, "ok");
    soon("the end", client.driver).await.unwrap().unwrap();
    soon("the end of all", stopped).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_requests_of_a_connection_is_limited() {
    let (lb, backend) = pair("[client]\nrequests = 2\n").await;
    let mut client = H2Client::connect(lb.traffic).await;
    let mut responses = Vec::new();
    // Those that are under way when the client is told are served.
    for _ in 0..4 {
        if let Ok((response, _)) = client.try_start(head_of("GET", "/", &[]), true).await {
            responses.push(response);
        }
    }
    assert!(responses.len() >= 2);
    let served = tokio::spawn(async move {
        loop {
            let mut server = backend.accept().await;
            tokio::spawn(async move {
                while server.until("\r\n\r\n").await.is_ok() {
                    server.send(OK).await;
                }
            });
        }
    });
    for response in responses {
        assert_eq!(soon("an answer", response).await.unwrap().status(), 200);
    }
    soon("the end", client.driver).await.unwrap().unwrap();
    served.abort();
}
