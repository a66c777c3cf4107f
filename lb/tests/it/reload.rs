//! What another configuration changes while the load balancer runs.

use serde_json::json;

use super::support::{Balancer, Does, Upstream, burst, http, send, until};

const BUSY: &str = "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nbusy";

fn list(upstreams: &[&Upstream]) -> String {
    let one = |upstream: &&Upstream| {
        format!("[[upstreams]]\nid = \"{}\"\naddr = \"{}\"\n", upstream.id, upstream.addr)
    };
    upstreams.iter().map(one).collect()
}

async fn get(lb: &Balancer) -> u16 {
    send(lb.traffic, "GET", Vec::new()).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_rules() {
    let bad = Upstream::new("bad", Does::Says(BUSY)).await;
    let good = Upstream::new("good", Does::Serves).await;
    let lb = Balancer::start("", "").await;
    lb.set_json(1, vec![bad.json(), good.with(&json!({"backup": true}))]).await;
    assert_eq!(get(&lb).await, 500);
    lb.reload("", "[retry]\non = [\"http_500\"]\n").await;
    assert_eq!(get(&lb).await, 200);
    assert_eq!(send(lb.traffic, "POST", vec![]).await.status, 500);
    lb.reload("", "[retry]\non = [\"http_500\"]\nnon_idempotent = true\n").await;
    assert_eq!(send(lb.traffic, "POST", vec![]).await.status, 200);
    lb.reload("", "[retry]\non = [\"http_500\"]\ntries = 1\n").await;
    assert_eq!(get(&lb).await, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn patience() {
    let hangs = Upstream::new("hangs", Does::Hangs).await;
    let good = Upstream::new("good", Does::Serves).await;
    let lb = Balancer::start("", "[attempt]\nread_timeout_ms = 200\n[retry]\non = [\"error\"]\n").await;
    lb.set_json(1, vec![hangs.with(&json!({"weight": 1000})), good.json()]).await;
    assert_eq!(get(&lb).await, 504);
    let short = "[attempt]\nfirst_byte_min_ms = 20\nfirst_byte_max_ms = 20\nread_timeout_ms = 200\n";
    lb.reload("", short).await;
    assert_eq!(get(&lb).await, 200);
    assert_eq!(lb.retries("first_byte_timeout").await, 1.0);
    let deadline = async || lb.metric("lb_first_byte_deadline_microseconds").await;
    until("it is told", async || deadline().await == Some(20_000.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ejection() {
    let bad = Upstream::new("bad", Does::ClosesAfterRequest).await;
    let good = Upstream::new("good", Does::Serves).await;
    let lb = Balancer::start("", "").await;
    lb.set(1, &[&bad, &good]).await;
    for _ in 0..4 {
        assert_eq!(get(&lb).await, 200);
    }
    assert!(bad.asked() > 1);
    lb.reload("", "[upstream]\nmax_fails = 1\nfail_timeout_ms = 600000\n").await;
    until("it is ejected", async || {
        assert_eq!(get(&lb).await, 200);
        lb.status_of(&bad).await["available"] == false
    })
    .await;
    lb.reload("", "").await;
    assert_eq!(lb.status_of(&bad).await["available"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn balance() {
    let (a, b) = (Upstream::new("a", Does::Serves).await, Upstream::new("b", Does::Serves).await);
    let lb = Balancer::start("", "").await;
    lb.set(1, &[&a, &b]).await;
    for _ in 0..4 {
        assert_eq!(get(&lb).await, 200);
    }
    assert_eq!((a.asked(), b.asked()), (2, 2));
    lb.reload("balance = \"hash\"\nhash_key = \"header:X-Key\"", "").await;
    let of = async |key: &str| {
        let headers = [("X-Key", key.to_owned())];
        let text = http(lb.traffic, "GET", "/", &headers, vec![]).await.unwrap().text();
        text.split(' ').next().unwrap().to_owned()
    };
    let first = of("key").await;
    for _ in 0..20 {
        assert_eq!(of("key").await, first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_of_the_file() {
    let (a, b) = (Upstream::new("a", Does::Hangs).await, Upstream::new("b", Does::Serves).await);
    let lb = Balancer::start("", &list(&[&a])).await;
    let waiting = burst(10, lb.traffic, "GET", b"");
    until("all wait", async || a.asked() == 10).await;
    lb.reload("", &list(&[&b])).await;
    assert_eq!(waiting.statuses().await, [200; 10]);
    assert_eq!(lb.metric("lb_cuts_total").await, Some(10.0));
    // What was pushed since stays when the file's list does.
    lb.set(10, &[&a, &b]).await;
    lb.reload("queue_ms = 1", &list(&[&b])).await;
    assert_eq!(lb.get("/v1/upstreams").await.json()["generation"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue() {
    let lb = Balancer::start("queue_ms = 0", "").await;
    assert_eq!(get(&lb).await, 503);
    lb.reload("queue_ms = 60000\nqueue_requests = 3", "").await;
    let first = burst(1, lb.traffic, "GET", b"");
    until("it waits", async || lb.metric("lb_queued").await == Some(1.0)).await;
    let more = burst(2, lb.traffic, "GET", b"");
    until("three wait", async || lb.metric("lb_queued").await == Some(3.0)).await;
    assert_eq!(get(&lb).await, 503, "its length");
    lb.reload("queue_ms = 60000\nqueue_requests = 4", "").await;
    let last = burst(1, lb.traffic, "GET", b"");
    let upstream = Upstream::new("a", Does::Serves).await;
    until("four wait", async || lb.metric("lb_queued").await == Some(4.0)).await;
    lb.set(1, &[&upstream]).await;
    assert_eq!(first.statuses().await, [200]);
    assert_eq!(more.statuses().await, [200; 2]);
    assert_eq!(last.statuses().await, [200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_stay_as_they_are() {
    let upstream = Upstream::new("a", Does::Serves).await;
    let lb = Balancer::start("threads = 1", "").await;
    lb.set(1, &[&upstream]).await;
    assert_eq!(get(&lb).await, 200);
    lb.reload("threads = 1", "[upstream]\nslow_start_ms = 1\n").await;
    assert_eq!(get(&lb).await, 200);
    assert_eq!(upstream.connections(), 1);
}
