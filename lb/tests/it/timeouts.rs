use std::time::Duration;

use serde_json::json;

use super::support::{Balancer, Does, Raw, Upstream, http, send};

const CLIENTS_MAY_PAUSE: &str = "[attempt]\nread_timeout_ms = 100\n[client]\nread_timeout_ms = 60000\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_may_pause_for_longer_than_an_upstream_may() {
    let upstream = Upstream::new("a", Does::Serves).await;
    // All attempts together get less time than the upload takes, too.
    let lb = Balancer::start("", &format!("{CLIENTS_MAY_PAUSE}[retry]\ntimeout_ms = 300\n")).await;
    lb.set(1, &[&upstream]).await;
    let mut raw = Raw::connect(lb.traffic).await;
    raw.send("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n").await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        raw.send("x").await;
    }
    let (head, body) = raw.answer().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && body == "host1/a 1 3", "{head}{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_upload_the_upstreams_time_counts() {
    let hangs = Upstream::new("hangs", Does::Hangs).await;
    let good = Upstream::new("good", Does::Serves).await;
    let lb = Balancer::start("", CLIENTS_MAY_PAUSE).await;
    lb.set_json(1, vec![hangs.json(), good.with(&json!({"backup": true}))]).await;
    let answer = tokio::time::timeout(Duration::from_secs(20), send(lb.traffic, "PUT", b"body".to_vec()));
    assert_eq!(answer.await.expect("not the client's time").status, 200);
    assert_eq!(lb.metric("lb_retries_total{reason=\"timeout\"}").await, Some(1.0));
    let answer = tokio::time::timeout(Duration::from_secs(20), send(lb.traffic, "POST", b"body".to_vec()));
    let answer = answer.await.expect("not the client's time");
    assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_drips_is_cut() {
    let drips = Upstream::new("drips", Does::Drips).await;
    let lb = Balancer::start("", "[attempt]\nread_timeout_ms = 200\n").await;
    lb.set(1, &[&drips]).await;
    let answer = send(lb.traffic, "GET", Vec::new()).await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_time_does_not_run_for_a_body() {
    let hangs = Upstream::new("hangs", Does::Hangs).await;
    let pauses = Upstream::new("pauses", Does::Pauses(Duration::from_millis(600))).await;
    let lb = Balancer::start("", "[retry]\ntimeout_ms = 1500\n[attempt]\nread_timeout_ms = 1000\n").await;
    // The second attempt begins within the time, and its body takes longer than what is left.
    lb.set_json(1, vec![hangs.json(), pauses.with(&json!({"backup": true}))]).await;
    assert_eq!(send(lb.traffic, "GET", Vec::new()).await.text(), "firstafter");
    assert_eq!(hangs.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_pauses_for_too_long_breaks_off() {
    let pauses = Upstream::new("pauses", Does::Pauses(Duration::from_secs(600))).await;
    let lb = Balancer::start("", "[attempt]\nread_timeout_ms = 200\n").await;
    lb.set(1, &[&pauses]).await;
    assert!(http(lb.traffic, "GET", "/", &[], Vec::new()).await.is_err());
}
