//! Upstreams that speak HTTP/2 and fail: what is tried again, and what is not.

use h2::Reason;
use http::Response;
use serde_json::json;

use super::support::{Backend, Frames, H2Server, Wire, balancer, body_of, kind, pair, refuse_stream};
use crate::support::{Balancer, until};

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

/// A load balancer whose second upstream is asked only when the first has failed.
async fn two() -> (Balancer, Backend, Backend) {
    let (one, two) = (Backend::new("one"), Backend::new("two"));
    let lb = balancer(H2).await;
    let mut backup = two.json();
    backup["backup"] = json!(true);
    lb.set_json(1, vec![one.json(), backup]).await;
    (lb, one, two)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_stream_is_tried_again_whatever_the_method() {
    let (lb, one, two) = two().await;
    let mut client = asks(&lb, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody").await;
    let mut refuses = H2Server::accept(&one).await;
    let (request, respond) = refuses.next().await;
    assert_eq!(body_of(request.into_body()).await.unwrap().0, "body");
    refuse_stream(respond, Reason::REFUSED_STREAM);
    let mut serves = H2Server::accept(&two).await;
    let (request, mut respond) = serves.next().await;
    assert_eq!(body_of(request.into_body()).await.unwrap().0, "body");
    respond.send_response(ok(), true).unwrap();
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_reset_is_tried_again_only_if_that_is_safe() {
    let (lb, one, two) = two().await;
    let mut client = Wire::connect(lb.traffic).await;
    let mut resets = None;
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::PROTOCOL_ERROR] {
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
        let server = match &mut resets {
            Some(server) => server,
            None => resets.insert(H2Server::accept(&one).await),
        };
        refuse_stream(server.next().await.1, reason);
        let answer = client.answer().await;
        assert!(answer.status() == 502 && answer.text().contains("not_idempotent"), "{answer:?}");
    }
    assert!(!two.is_asked());
    client.send(GET).await;
    refuse_stream(resets.as_mut().unwrap().next().await.1, Reason::INTERNAL_ERROR);
    let mut serves = H2Server::accept(&two).await;
    serves.next().await.1.send_response(ok(), true).unwrap();
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_takes_no_more_streams_is_replaced() {
    let (lb, backend) = pair(H2).await;
    let mut first = asks(&lb, "POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    let mut old = H2Server::accept(&backend).await;
    let (_, mut respond) = old.next().await;
    old.leave().await;
    // The load balancer has heard it when a new request comes on another connection.
    let mut new = None;
    let mut second = Wire::connect(lb.traffic).await;
    until("a new connection", async || {
        second.send("POST /second HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
        let respond = tokio::select! {
            (_, respond) = old.next() => respond,
            mut server = H2Server::accept(&backend) => {
                let (_, respond) = server.next().await;
                new = Some(server);
                respond
            }
        };
        let mut respond = respond;
        respond.send_response(ok(), true).unwrap();
        assert_eq!(second.answer().await.status(), 200);
        new.is_some()
    })
    .await;
    // What was on the old one is answered there, and then it is closed.
    respond.send_response(ok(), true).unwrap();
    assert_eq!(first.answer().await.status(), 200);
    old.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_was_taken_is_not_sent_again_when_the_connection_breaks() {
    let (lb, one, two) = two().await;
    for leaves_first in [false, true] {
        let mut client = asks(&lb, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
        let mut server = H2Server::accept(&one).await;
        let asked = server.next().await;
        if leaves_first {
            // It says that it takes no more, but it has taken this one.
            server.leave_at_once().await;
            server.ends().await;
        } else {
            server.kill().await;
        }
        drop(asked);
        assert_eq!(client.answer().await.status(), 502, "leaves first: {leaves_first}");
        assert!(!two.is_asked());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_was_not_taken_is_sent_again() {
    let (lb, one, two) = two().await;
    let mut client = asks(&lb, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    let mut server = Frames::accept(&one).await;
    let asked = server.next().await;
    assert_eq!((asked.kind, asked.stream), (kind::HEADERS, 1));
    // The last stream it took is none, and there is no error: RFC 9113, section 6.8.
    server.send(kind::GOAWAY, 0, 0, &[0; 8]).await;
    let mut serves = H2Server::accept(&two).await;
    serves.next().await.1.send_response(ok(), true).unwrap();
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_without_a_body_are_sent_again_too() {
    let (lb, one, two) = two().await;
    let mut client =
        asks(&lb, "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 3\r\n\r\n")
            .await;
    let mut first = H2Server::accept(&one).await;
    let (request, respond) = first.next().await;
    assert_eq!(body_of(request.into_body()).await.unwrap().1.unwrap()["x-sum"], "3");
    refuse_stream(respond, Reason::REFUSED_STREAM);
    let mut second = H2Server::accept(&two).await;
    let (request, mut respond) = second.next().await;
    assert_eq!(body_of(request.into_body()).await.unwrap().1.unwrap()["x-sum"], "3");
    respond.send_response(ok(), true).unwrap();
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_speaks_no_http_2_gives_502() {
    let (lb, backend) = pair(H2).await;
    for answer in ["HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", ""] {
        let mut client = asks(&lb, GET).await;
        let mut server = backend.accept().await;
        server.until("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        server.send(answer).await;
        drop(server);
        // A connection that breaks before its first answer may be tried once more, on a new one.
        let got = tokio::select! {
            got = client.answer() => got,
            mut server = backend.accept() => {
                server.send(answer).await;
                drop(server);
                client.answer().await
            }
        };
        assert_eq!(got.status(), 502);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_is_cut_when_the_upstream_leaves_the_set() {
    let (one, two) = (Backend::new("one"), Backend::new("two"));
    let lb = balancer(H2).await;
    lb.set_json(1, vec![one.json()]).await;
    let mut client = asks(&lb, GET).await;
    let mut old = H2Server::accept(&one).await;
    let _asked = old.next().await;
    lb.set_json(2, vec![two.json()]).await;
    let mut new = H2Server::accept(&two).await;
    new.next().await.1.send_response(ok(), true).unwrap();
    assert_eq!(client.answer().await.status(), 200);
    assert_eq!(lb.metric("lb_cuts_total").await, Some(1.0));
    old.ends().await;
}
