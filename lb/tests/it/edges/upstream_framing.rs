//! What an upstream answers that cannot be understood in one way only reaches no client.

use serde_json::json;

use super::support::{Backend, Wire, balancer, pair};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

fn invalid() -> Vec<String> {
    let mut answers: Vec<String> = [
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "Content-Length: 2, 2\r\n\r\nok",
        "Content-Length: -2\r\n\r\nok",
        "Content-Length: x\r\n\r\nok",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "A: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
        "A : b\r\nContent-Length: 2\r\n\r\nok",
        "A b\r\nContent-Length: 2\r\n\r\nok",
        "A: b\nContent-Length: 2\r\n\r\nok",
        "A: b\rContent-Length: 2\r\n\r\nok",
        "A: b\0\r\nContent-Length: 2\r\n\r\nok",
        "Content-Length: 2\r\n\nok",
        // What comes with the head is looked at before anything is passed on.
        "Transfer-Encoding: chunked\r\n\r\nx\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n-1\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nbad\r\n\r\n",
    ]
    .iter()
    .map(|rest| format!("HTTP/1.1 200 OK\r\n{rest}"))
    .collect();
    answers.extend(
        [
            "garbage\r\n\r\n",
            "\0\0\0\0\0\0\0\0\r\n\r\n",
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ]
        .map(str::to_owned),
    );
    let long = "y".repeat(70_000);
    answers.push(format!("HTTP/1.1 200 OK\r\nX: {long}\r\nContent-Length: 0\r\n\r\n"));
    answers.push(format!("HTTP/1.1 200 {long}"));
    answers.push(format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "A: b\r\n".repeat(101)));
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn it_gives_502() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    for answer in invalid() {
        let shown: String = answer.chars().take(200).collect();
        client.send(GET).await;
        let mut server = backend.accept().await;
        server.request().await;
        // It may be understood to be none before all of it is sent.
        let _ = server.try_send(&answer).await;
        let got = client.answer().await;
        assert_eq!((got.status(), got.value("connection")), (502, None), "{shown:?}");
        assert!(got.text().contains("bad_response"), "{} after {shown:?}", got.text());
        server.is_over().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_upstream_is_asked_instead() {
    let (bad, good) = (Backend::new("bad"), Backend::new("good"));
    let lb = balancer("").await;
    let mut backup = good.json();
    backup["backup"] = json!(true);
    lb.set_json(1, vec![bad.json(), backup]).await;
    let mut client = Wire::connect(lb.traffic).await;
    let mut second = None;
    for answer in invalid() {
        let shown: String = answer.chars().take(200).collect();
        client.send(GET).await;
        let mut server = bad.accept().await;
        server.request().await;
        let _ = server.try_send(&answer).await;
        let other = match &mut second {
            Some(other) => other,
            None => second.insert(good.accept().await),
        };
        other.request().await;
        other.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood").await;
        assert_eq!(client.answer().await.text(), "good", "{shown:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_understood_breaks_visibly() {
    let (lb, backend) = pair("").await;
    for broken in
        ["x\r\n", "2\r\nabc\r\n", "2\nab\r\n", "-1\r\n", "0\r\nContent-Length: 4\r\n\r\n", "0\r\nbad\r\n\r\n"]
    {
        let mut client = Wire::connect(lb.traffic).await;
        client.send(GET).await;
        let mut server = backend.accept().await;
        server.request().await;
        server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
        client.until("first\r\n").await.unwrap();
        server.send(broken).await;
        client.breaks().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_short_breaks_visibly() {
    let (lb, backend) = pair("").await;
    for (fields, body) in [("Content-Length: 9", "first"), ("Transfer-Encoding: chunked", "5\r\nfirst\r\n")] {
        let mut client = Wire::connect(lb.traffic).await;
        client.send(GET).await;
        let mut server = backend.accept().await;
        server.request().await;
        server.send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}")).await;
        client.until("first").await.unwrap();
        server.end().await;
        client.breaks().await;
    }
}
