use serde_json::json;

use super::support::{Balancer, Does, Upstream, send, until};

// A connection is back in the pool a moment after its response is with the client, so a request may come too
// early to get it. These tests go on until one did.

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_that_breaks_is_replaced_at_the_only_upstream() {
    let upstream = Upstream::new("a", Does::ServesOnce).await;
    let lb = Balancer::start("", "").await;
    lb.set(1, &[&upstream]).await;
    until("three broke", async || {
        assert_eq!(send(lb.traffic, "PUT", b"body".to_vec()).await.status, 200);
        lb.metric("lb_retries_total{reason=\"reset\"}").await >= Some(3.0)
    })
    .await;
    assert!(upstream.requests().iter().all(|request| request.body == b"body"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_sent_twice_is_not() {
    let upstream = Upstream::new("a", Does::ServesOnce).await;
    let lb = Balancer::start("", "").await;
    lb.set(1, &[&upstream]).await;
    let mut sent = 0;
    until("one broke", async || {
        sent += 1;
        send(lb.traffic, "POST", Vec::new()).await.status == 502
    })
    .await;
    assert_eq!(upstream.requests().len(), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_that_breaks_is_no_try() {
    let upstream = Upstream::new("a", Does::ServesOnce).await;
    let lb = Balancer::start("", "[retry]\ntries = 1\n").await;
    lb.set(1, &[&upstream]).await;
    until("one broke", async || {
        assert_eq!(send(lb.traffic, "GET", Vec::new()).await.status, 200);
        lb.retries("reset").await >= 1.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_that_breaks_is_not_replaced() {
    let upstream = Upstream::new("a", Does::ClosesAfterRequest).await;
    let lb = Balancer::start("", "").await;
    lb.set(1, &[&upstream]).await;
    assert_eq!(send(lb.traffic, "GET", Vec::new()).await.status, 502);
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_upstream_is_asked_first() {
    let once = Upstream::new("once", Does::ServesOnce).await;
    let backup = Upstream::new("backup", Does::Serves).await;
    let lb = Balancer::start("", "").await;
    lb.set_json(1, vec![once.json(), backup.with(&json!({"backup": true}))]).await;
    until("one broke", async || {
        let text = send(lb.traffic, "GET", Vec::new()).await.text();
        let retries = lb.metric("lb_retries_total{reason=\"reset\"}").await;
        assert_eq!(text.starts_with("host1/backup "), retries == Some(1.0), "{text}");
        retries == Some(1.0)
    })
    .await;
}
