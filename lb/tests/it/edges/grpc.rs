//! What gRPC needs: HTTP/2 on both sides, trailers, trailers without a body, and both directions at a time.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};

use super::support::{H2Client, H2Server, body_of, head_of, pair, soon};

const H2: &str = "[upstream]\nprotocol = \"h2\"\n[attempt]\nread_timeout_ms = 20000\n";

fn call(path: &str) -> http::Request<()> {
    head_of("POST", path, &[("te", "trailers"), ("content-type", "application/grpc"), ("grpc-timeout", "1S")])
}

fn status(code: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    trailers.insert("grpc-message", HeaderValue::from_static("a%20word"));
    trailers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_an_answer() {
    let (lb, backend) = pair(H2).await;
    let mut client = H2Client::connect(lb.traffic).await;
    let (response, mut send) = client.start(call("/pkg.Service/Unary"), false).await;
    send.send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), true).unwrap();
    let mut server = H2Server::accept(&backend).await;
    let (request, mut respond) = server.next().await;
    assert_eq!(request.uri().path(), "/pkg.Service/Unary");
    assert_eq!(
        (&request.headers()["te"], &request.headers()["grpc-timeout"]),
        (&HeaderValue::from_static("trailers"), &HeaderValue::from_static("1S"))
    );
    assert_eq!(body_of(request.into_body()).await.unwrap().0, &b"\0\0\0\0\x02hi"[..]);
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut answer = respond.send_response(head, false).unwrap();
    answer.send_data(Bytes::from_static(b"\0\0\0\0\x02yo"), false).unwrap();
    answer.send_trailers(status("0")).unwrap();
    let response = soon("an answer", response).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/grpc");
    let (body, trailers) = body_of(response.into_body()).await.unwrap();
    assert_eq!((body, trailers), (Bytes::from_static(b"\0\0\0\0\x02yo"), Some(status("0"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_has_trailers_only() {
    let (lb, backend) = pair(H2).await;
    let mut client = H2Client::connect(lb.traffic).await;
    let (response, _send) = client.start(call("/pkg.Service/Fails"), true).await;
    let mut server = H2Server::accept(&backend).await;
    let (_, mut respond) = server.next().await;
    let mut head = Response::new(());
    *head.headers_mut() = status("5");
    respond.send_response(head, true).unwrap();
    let response = soon("an answer", response).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "5");
    assert!(response.body().is_end_stream());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_directions_flow_at_a_time() {
    let (lb, backend) = pair(H2).await;
    let mut client = H2Client::connect(lb.traffic).await;
    let (response, mut send) = client.start(call("/pkg.Service/Chat"), false).await;
    let mut server = H2Server::accept(&backend).await;
    let (request, mut respond) = server.next().await;
    let mut asked = request.into_body();
    let mut answer = respond.send_response(Response::new(()), false).unwrap();
    let mut answered = soon("a head", response).await.unwrap().into_body();
    for turn in 0..50_u8 {
        send.send_data(Bytes::from(vec![turn; 1000]), false).unwrap();
        let got = soon("a message", asked.data()).await.unwrap().unwrap();
        asked.flow_control().release_capacity(got.len()).unwrap();
        assert_eq!(got, vec![turn; 1000]);
        answer.send_data(got, false).unwrap();
        let back = soon("a message back", answered.data()).await.unwrap().unwrap();
        answered.flow_control().release_capacity(back.len()).unwrap();
        assert_eq!(back, vec![turn; 1000]);
    }
    send.send_data(Bytes::new(), true).unwrap();
    assert_eq!(body_of(asked).await.unwrap(), (Bytes::new(), None));
    answer.send_trailers(status("0")).unwrap();
    assert_eq!(body_of(answered).await.unwrap(), (Bytes::new(), Some(status("0"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_before_the_end_of_the_call_ends_it() {
    let (lb, backend) = pair(H2).await;
    let mut client = H2Client::connect(lb.traffic).await;
    let (response, mut send) = client.start(call("/pkg.Service/Upload"), false).await;
    send.send_data(Bytes::from("first"), false).unwrap();
    let mut server = H2Server::accept(&backend).await;
    let (request, mut respond) = server.next().await;
    let mut answer = respond.send_response(Response::new(()), false).unwrap();
    answer.send_trailers(status("7")).unwrap();
    drop((request, respond, answer));
    let response = soon("an answer", response).await.unwrap();
    assert_eq!(body_of(response.into_body()).await.unwrap().1, Some(status("7")));
    // The call is over for the client, too.
    soon("the reset", std::future::poll_fn(|cx| send.poll_reset(cx))).await.unwrap();
}
