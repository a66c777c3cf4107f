//! Who is asked next, and what the client gets when there is nobody.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::{Balancer, Does, Raw, Upstream, send, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_overtakes_an_upstream_that_is_silent() {
    let silent = Upstream::new("silent", Does::Hangs).await;
    let good = Upstream::new("good", Does::Serves).await;
    let tables = "[attempt]\nfirst_byte_min_ms = 25\nfirst_byte_max_ms = 25\nread_timeout_ms = 10000\n";
    let lb = Balancer::start("", tables).await;
    lb.set_json(1, vec![silent.json(), good.with(&json!({"backup": true}))]).await;
    let answer = send(lb.traffic, "GET", Vec::new()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().starts_with("host1/good "), "{}", answer.text());
    assert_eq!(silent.asked(), 1);
    assert_eq!(lb.retries("first_byte_timeout").await, 1.0);
}

/// Reads a head and says to go on; reads a body of four bytes and answers.
async fn goes_on(stream: &mut TcpStream) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
    stream.read_exact(&mut [0; 4]).await.ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood").await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_the_word_to_go_on_gets_it_from_another_upstream() {
    // The kernel takes connections to it, and that is all.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let json = |id: &str, listener: &TcpListener| json!({"id": id, "incarnation": 1, "addr": listener.local_addr().unwrap()});
    let list = vec![json("silent", &silent), json("good", &good)];
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = good.accept().await.unwrap();
            tokio::spawn(async move { while let Some(()) = goes_on(&mut stream).await {} });
        }
    });
    let tables = "[attempt]\nfirst_byte_min_ms = 25\nfirst_byte_max_ms = 25\nread_timeout_ms = 10000\n";
    let lb = Balancer::start("threads = 1\n", tables).await;
    lb.set_json(1, list).await;
    // Round robin, so that one of them asks the silent one first.
    for _ in 0..3 {
        let mut raw = Raw::connect(lb.traffic).await;
        raw.send("PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
        let (mut head, _) = raw.answer().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 100 "), "{head}");
        raw.send("body").await;
        let mut body = String::new();
        while head.starts_with("HTTP/1.1 100 ") {
            (head, body) = raw.answer().await.unwrap();
        }
        assert!(head.starts_with("HTTP/1.1 200 ") && body == "good", "{head}{body}");
    }
    assert!(lb.retries("first_byte_timeout").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_connection_is_not_one_of_the_tries() {
    let a = Upstream::new("a", Does::ServesOnce).await;
    let b = Upstream::new("b", Does::Refuses).await;
    let c = Upstream::new("c", Does::Serves).await;
    let lb = Balancer::start("threads = 1\n", "[retry]\ntries = 2\n").await;
    lb.set_json(1, vec![a.json()]).await;
    assert_eq!(send(lb.traffic, "GET", Vec::new()).await.status, 200);
    // The connection is kept, and the next request on it makes it break.
    lb.set_json(2, vec![a.with(&json!({"weight": 1000})), b.json(), c.with(&json!({"backup": true}))]).await;
    let answer = send(lb.traffic, "GET", Vec::new()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(a.requests().len(), 2, "the stale connection was not used");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_upstreams_all_leave_waits_and_is_told_to_come_back() {
    let hangs = Upstream::new("hangs", Does::Hangs).await;
    let lb = Balancer::start("queue_ms = 1000", "").await;
    lb.set(1, &[&hangs]).await;
    let traffic = lb.traffic;
    let request = tokio::spawn(async move { send(traffic, "GET", Vec::new()).await });
    until("asked", async || hangs.asked() == 1).await;
    lb.set_json(2, Vec::new()).await;
    until("it waits", async || request.is_finished() || lb.metric("lb_queued").await == Some(1.0)).await;
    assert!(!request.is_finished(), "it did not wait");
    let answer = request.await.unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.headers.contains_key("retry-after"), "{:?}", answer.headers);
    until("no longer queued", async || lb.metric("lb_queued").await == Some(0.0)).await;
}

/// Answers three requests, and then gives up waiting for the fourth: RFC 9110, section 15.5.9.
async fn times_out(mut stream: TcpStream) -> Option<()> {
    let mut head = vec![0; 4096];
    for _ in 0..3 {
        if stream.read(&mut head).await.ok()? == 0 {
            return None;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.ok()?;
    }
    tokio::task::yield_now().await;
    let gives_up = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(gives_up).await.ok()?;
    stream.shutdown().await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_no_request_is_nobodys() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(times_out(stream));
        }
    });
    let lb = Balancer::start("threads = 1\n", "").await;
    lb.set_json(1, vec![json!({"id": "a", "incarnation": 1, "addr": addr})]).await;
    let traffic = lb.traffic;
    let clients: Vec<_> = (0..16)
        .map(|_| {
            tokio::spawn(async move {
                let mut raw = Raw::connect(traffic).await;
                let mut others = Vec::new();
                for _ in 0..150 {
                    raw.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
                    let (head, _) = raw.answer().await.unwrap();
                    others.extend((!head.starts_with("HTTP/1.1 200 ")).then_some(head));
                }
                others
            })
        })
        .collect();
    for client in clients {
        assert_eq!(client.await.unwrap(), Vec::<String>::new());
    }
}
