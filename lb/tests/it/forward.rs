use serde_json::json;
use tokio::sync::watch;

use super::support::{Balancer, Does, Raw, Upstream, http, send, until};

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_on_both_sides() {
    let upstream = Upstream::new("a", Does::Serves).await;
    let lb = Balancer::simple().await;
    lb.set(1, &[&upstream]).await;
    let mut raw = Raw::connect(lb.traffic).await;
    for _ in 0..10 {
        raw.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let (head, body) = raw.answer().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(body, "host1/a 1 0");
    }
    assert_eq!(upstream.connections(), 1);
    assert_eq!(lb.metric("lb_connections").await, Some(1.0));
    // A request is counted a moment after its answer is with the client.
    until("counted", async || lb.metric("lb_requests_total{code=\"2xx\"}").await == Some(10.0)).await;
    assert_eq!(lb.metric("lb_request_duration_seconds_count").await, Some(10.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_forwarded_as_they_should() {
    let upstream = Upstream::new(
        "a",
        Does::Says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Up\r\nX-Up: 1\r\nKeep-Alive: timeout=5\r\nX-End: 2\r\n\r\nok"),
    )
    .await;
    let lb = Balancer::start("", "[client]\ntrust_forwarded = true\n").await;
    lb.set(1, &[&upstream]).await;
    let headers = [
        ("X-Forwarded-For", "192.0.2.7".to_owned()),
        ("Connection", "X-Hop".to_owned()),
        ("X-Hop", "secret".to_owned()),
        ("X-End", "kept".to_owned()),
    ];
    let answer = http(lb.traffic, "GET", "/a/../b?c=%20d", &headers, Vec::new()).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["x-end"], "2");
    assert!(answer.headers.get("x-up").is_none() && answer.headers.get("keep-alive").is_none());
    let head = upstream.requests()[0].head.to_lowercase();
    assert!(head.starts_with("get /a/../b?c=%20d http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nhost: test.example\r\n"), "{head}");
    assert!(head.contains("\r\nx-forwarded-for: 192.0.2.7, 127.0.0.1\r\n"), "{head}");
    assert!(head.contains("\r\nx-end: kept\r\n") && !head.contains("x-hop"), "{head}");
    assert!(!head.contains("\r\nvia:"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_pass_in_both_directions() {
    let upstream = Upstream::new("a", Does::Serves).await;
    let chunked = Upstream::new(
        "b",
        Does::Says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
    )
    .await;
    let lb = Balancer::simple().await;
    lb.set(1, &[&upstream]).await;
    let answer = send(lb.traffic, "POST", vec![1; 1_000_000]).await;
    assert_eq!(answer.text(), "host1/a 1 1000000");
    assert_eq!(upstream.requests()[0].body, vec![1; 1_000_000]);
    let mut raw = Raw::connect(lb.traffic).await;
    raw.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").await;
    assert!(raw.answer().await.unwrap().1.ends_with(" 5"));
    lb.set(2, &[&chunked]).await;
    assert_eq!(send(lb.traffic, "GET", Vec::new()).await.text(), "abcde");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_lengths_are_refused() {
    let upstream = Upstream::new("a", Does::Serves).await;
    let lb = Balancer::simple().await;
    lb.set(1, &[&upstream]).await;
    for lengths in
        ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\ncontent-length: 5"]
    {
        let mut raw = Raw::connect(lb.traffic).await;
        raw.send(&format!("POST / HTTP/1.1\r\nHost: x\r\n{lengths}\r\n\r\n0\r\n\r\n")).await;
        let (head, body) = raw.answer().await.unwrap();
        assert!(
            head.starts_with("HTTP/1.1 400 ") && head.to_lowercase().contains("connection: close"),
            "{head}"
        );
        assert!(body.contains("Content-Length"), "{body}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused() {
    let upstream = Upstream::new("a", Does::Serves).await;
    let lb = Balancer::start("", "[limits]\nheader_bytes = 1000\nbody_bytes = 5000\n").await;
    lb.set(1, &[&upstream]).await;
    let mut raw = Raw::connect(lb.traffic).await;
    raw.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5001\r\n\r\n").await;
    let (head, body) = raw.answer().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 413 ") && body.contains("body_too_large"), "{head}{body}");
    assert_eq!(upstream.connections(), 0);

    let mut raw = Raw::connect(lb.traffic).await;
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
    raw.send(&format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}"))
        .await;
    let (head, _) = raw.answer().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    assert_eq!(upstream.requests().len(), 0);
    assert_eq!(lb.status_of(&upstream).await["failures_total"], 0);

    let long = [("X-Long", "y".repeat(1000))];
    let answer = http(lb.traffic, "GET", "/", &long, Vec::new()).await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (431, "header_too_large"));
    assert_eq!(send(lb.traffic, "POST", vec![0; 5000]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_does_not_keep_its_connection() {
    let lb =
        Balancer::start("", "[limits]\nheader_timeout_ms = 300\n[client]\nidle_timeout_ms = 300\n").await;
    let upstream = Upstream::new("a", Does::Serves).await;
    lb.set(1, &[&upstream]).await;
    let mut slow = Raw::connect(lb.traffic).await;
    slow.send("GET / HTTP/1.1\r\n").await;
    // A byte now and then does not help.
    let mut again = Raw::connect(lb.traffic).await;
    again.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    again.answer().await.unwrap();
    again.send("G").await;
    for raw in [&mut slow, &mut again] {
        let mut probe = [0; 1];
        until("closed", async || {
            use tokio::io::AsyncWriteExt;
            let _ = raw.0.write_all(b"x").await;
            !matches!(raw.0.try_read(&mut probe), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
        })
        .await;
    }
    until("no connection", async || lb.metric("lb_connections").await == Some(0.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_limited() {
    let upstream = Upstream::new("a", Does::Serves).await;
    let lb = Balancer::start("", "[limits]\nconnections = 1\n").await;
    lb.set(1, &[&upstream]).await;
    let mut first = Raw::connect(lb.traffic).await;
    first.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    first.answer().await.unwrap();
    let second = tokio::spawn(async move { send(lb.traffic, "GET", Vec::new()).await.status });
    first.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    first.answer().await.unwrap();
    assert_eq!(upstream.requests().len(), 2, "the second connection waits for its place");
    drop(first);
    assert_eq!(second.await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_is_nobodys_failure() {
    let (gate, open) = watch::channel(false);
    let upstream = Upstream::new("a", Does::ServesWhen(open)).await;
    let lb = Balancer::start("", "[attempt]\nread_timeout_ms = 60000\n").await;
    lb.set(1, &[&upstream]).await;
    let mut raw = Raw::connect(lb.traffic).await;
    raw.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    until("in flight", async || lb.status_of(&upstream).await["in_flight"] == 1).await;
    raw.reset();
    until("not in flight", async || lb.status_of(&upstream).await["in_flight"] == 0).await;
    let status = lb.status_of(&upstream).await;
    assert_eq!((&status["attempts_total"], &status["failures_total"]), (&json!(1), &json!(0)));
    until("counted", async || lb.metric("lb_requests_total{code=\"none\"}").await == Some(1.0)).await;
    drop(gate);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_slowly_is_nobodys_failure() {
    let upstream = Upstream::new("a", Does::Serves).await;
    let tables = "[attempt]\nread_timeout_ms = 50\n[client]\nread_timeout_ms = 100\n";
    let lb = Balancer::start("", tables).await;
    lb.set(1, &[&upstream]).await;
    let mut raw = Raw::connect(lb.traffic).await;
    raw.send("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").await;
    let (head, body) = raw.answer().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 408 ") && body.contains("client_too_slow"), "{head}{body}");
    assert_eq!(lb.status_of(&upstream).await["failures_total"], 0);
}
