use std::net::SocketAddr;

use serde_json::json;
use tokio::net::TcpListener;

use super::support::{Balancer, Does, Upstream, send, until};

const TEAPOT: &str = "HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n";

fn table(more: &str) -> String {
    format!(
        "[check]\npath = \"/health?x=1\"\ninterval_ms = 20\ntimeout_ms = 10000\nrise = 2\nfall = 3\n{more}"
    )
}

async fn is_available(lb: &Balancer, upstream: &Upstream) -> bool {
    lb.status_of(upstream).await["available"].as_bool().unwrap()
}

async fn checks(lb: &Balancer, result: &str) -> f64 {
    lb.metric(&format!("lb_checks_total{{result=\"{result}\"}}")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_is_taken_out_and_brought_back() {
    let good = Upstream::new("good", Does::Serves).await;
    let bad = Upstream::new("bad", Does::Serves).await;
    let lb = Balancer::start("", &table("")).await;
    lb.set(1, &[&good, &bad]).await;
    until("checked", async || good.asked() >= 2 && bad.asked() >= 2).await;
    let head = bad.requests()[0].head.clone();
    let expected = format!(
        "GET /health?x=1 HTTP/1.1\r\nHost: {}\r\nUser-Agent: phalanx-lb-check\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        bad.addr
    );
    assert_eq!(head, expected);
    assert!(is_available(&lb, &bad).await);

    bad.now(Does::Says(TEAPOT));
    until("out", async || !is_available(&lb, &bad).await).await;
    let down = format!("lb_upstream_state{{state=\"down\",upstream=\"{}\"}}", bad.id);
    assert_eq!(lb.metric(&down).await, Some(1.0));
    assert!(checks(&lb, "status").await >= 3.0);
    for _ in 0..6 {
        assert!(send(lb.traffic, "GET", Vec::new()).await.text().starts_with("host1/good "));
    }
    bad.now(Does::Serves);
    until("back", async || is_available(&lb, &bad).await).await;
    until("used", async || send(lb.traffic, "GET", Vec::new()).await.text().starts_with("host1/bad ")).await;
    assert!(is_available(&lb, &good).await);

    // When all are out, all are better than none.
    good.now(Does::Says(TEAPOT));
    bad.now(Does::Says(TEAPOT));
    until("both out", async || !is_available(&lb, &good).await && !is_available(&lb, &bad).await).await;
    assert_eq!(send(lb.traffic, "GET", Vec::new()).await.status, 418);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_failure_counts_and_is_named() {
    let lb = Balancer::start("", &table("").replace("timeout_ms = 10000", "timeout_ms = 100")).await;
    let cases = [
        ("refuses", Does::Refuses, "connect_error"),
        ("ignores", Does::Ignores, "timeout"),
        ("hangs", Does::Hangs, "timeout"),
        ("closes", Does::ClosesAfterRequest, "broken"),
        ("drips", Does::Drips, "timeout"),
        ("short", Does::Says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), "timeout"),
        ("cut", Does::SaysAndResets("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"), "broken"),
        ("no-http", Does::Says("SSH-2.0-OpenSSH_9.2\r\n\r\n"), "bad_response"),
        (
            "two-lengths",
            Does::Says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n"),
            "bad_response",
        ),
    ];
    for (generation, (name, does, result)) in (1..).zip(cases) {
        let upstream = Upstream::new(name, does).await;
        let before = checks(&lb, result).await;
        lb.set(generation, &[&upstream]).await;
        until(name, async || !is_available(&lb, &upstream).await).await;
        assert!(checks(&lb, result).await >= before + 3.0, "{name}");
    }
    assert_eq!(checks(&lb, "good").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn informational_heads_and_long_bodies_are_good() {
    let lb = Balancer::start("", &table("")).await;
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    let upstream = Upstream::new("interim", Does::Says(interim)).await;
    // More than is waited for, of a body that never ends.
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n{}", "x".repeat(100_000));
    let long = Upstream::new("long", Does::Says(Box::leak(long.into_boxed_str()))).await;
    lb.set(1, &[&upstream, &long]).await;
    until("checked", async || upstream.asked() >= 4 && long.asked() >= 4).await;
    assert!(is_available(&lb, &upstream).await && is_available(&lb, &long).await);
    assert!(checks(&lb, "good").await >= 4.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_incarnation_begins_as_good() {
    let upstream = Upstream::new("a", Does::Says(TEAPOT)).await;
    let lb = Balancer::start("", &table("").replace("fall = 3", "fall = 1")).await;
    lb.set(1, &[&upstream]).await;
    until("out", async || !is_available(&lb, &upstream).await).await;
    upstream.now(Does::Serves);
    lb.set_json(2, vec![upstream.with(&json!({"incarnation": 2}))]).await;
    assert!(is_available(&lb, &upstream).await);
    let asked = upstream.asked();
    until("checked", async || upstream.asked() > asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_the_checks_and_ends_them() {
    let upstream = Upstream::new("a", Does::Says(TEAPOT)).await;
    let lb = Balancer::start("", "").await;
    lb.set(1, &[&upstream]).await;
    lb.reload("", &table("")).await;
    until("out", async || !is_available(&lb, &upstream).await).await;
    lb.reload("", &table("expect_status = 418\n")).await;
    until("good", async || is_available(&lb, &upstream).await && checks(&lb, "good").await > 0.0).await;
    lb.reload("", &table("")).await;
    until("out again", async || !is_available(&lb, &upstream).await).await;
    lb.reload("", "").await;
    until("no checks", async || is_available(&lb, &upstream).await).await;
    let total = checks(&lb, "status").await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(checks(&lb, "status").await, total);
}

/// Answers every HTTP/2 request with this status.
async fn serve_h2(listener: TcpListener, status: u16) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                assert_eq!((request.uri().path(), request.method().as_str()), ("/health", "GET"));
                let head = http::Response::builder().status(status).body(()).unwrap();
                let mut body = respond.send_response(head, false).unwrap();
                body.send_data(bytes::Bytes::from_static(b"fine"), true).unwrap();
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_speak_the_protocol_of_the_upstreams() {
    let lb =
        Balancer::start("", &format!("[upstream]\nprotocol = \"h2\"\n{}", table("").replace("?x=1", "")))
            .await;
    let mut addrs: Vec<SocketAddr> = Vec::new();
    for status in [200, 503] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addrs.push(listener.local_addr().unwrap());
        tokio::spawn(serve_h2(listener, status));
    }
    let h1 = Upstream::new("h1", Does::Says(TEAPOT)).await;
    addrs.push(h1.addr);
    let one = |(i, addr): (usize, &SocketAddr)| json!({"id": format!("u{i}"), "addr": addr});
    lb.set_json(1, addrs.iter().enumerate().map(one).collect()).await;
    until("two are out", async || {
        let view = lb.get("/v1/upstreams").await.json();
        let available: Vec<bool> =
            (0..3).map(|i| view["upstreams"][i]["available"].as_bool().unwrap()).collect();
        available == [true, false, false]
    })
    .await;
    assert!(checks(&lb, "good").await > 0.0 && checks(&lb, "status").await >= 3.0);
    assert!(checks(&lb, "bad_response").await >= 3.0);
}
