use std::collections::BTreeMap;

use serde_json::json;
use tokio::sync::watch;

use super::support::{Balancer, Does, Upstream, burst, send, until};

/// How many of so many requests each upstream serves.
async fn shares(lb: &Balancer, requests: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        let text = send(lb.traffic, "GET", Vec::new()).await.text();
        *shares.entry(text.split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    shares
}

fn expect(list: &[(&Upstream, usize)]) -> BTreeMap<String, usize> {
    list.iter().map(|(upstream, n)| (upstream.id.clone(), *n)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_states_and_backups() {
    let a = Upstream::new("a", Does::Serves).await;
    let b = Upstream::new("b", Does::Serves).await;
    let lb = Balancer::simple().await;
    lb.set(1, &[&a, &b]).await;
    assert_eq!(shares(&lb, 20).await, expect(&[(&a, 10), (&b, 10)]));
    lb.set_json(2, vec![a.with(&json!({"weight": 300})), b.with(&json!({"weight": 100}))]).await;
    assert_eq!(shares(&lb, 40).await, expect(&[(&a, 30), (&b, 10)]));
    lb.set_json(3, vec![a.with(&json!({"state": "draining"})), b.json()]).await;
    assert_eq!(shares(&lb, 6).await, expect(&[(&b, 6)]));
    assert_eq!(lb.metric("lb_upstreams{state=\"up\"}").await, Some(1.0));
    assert_eq!(lb.metric("lb_upstreams{state=\"draining\"}").await, Some(1.0));
    lb.set_json(4, vec![a.json(), b.with(&json!({"backup": true}))]).await;
    assert_eq!(shares(&lb, 6).await, expect(&[(&a, 6)]));
    lb.set_json(5, vec![a.with(&json!({"state": "draining"})), b.with(&json!({"backup": true}))]).await;
    assert_eq!(shares(&lb, 6).await, expect(&[(&b, 6)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_drains_finishes_what_it_has() {
    let (gate, open) = watch::channel(false);
    let old = Upstream::new("old", Does::ServesWhen(open)).await;
    let new = Upstream::new("new", Does::Serves).await;
    let lb = Balancer::start("", "").await;
    lb.set(1, &[&old]).await;
    let open_request = burst(1, lb.traffic, "GET", b"");
    until("in flight", async || old.asked() == 1).await;
    lb.set_json(2, vec![old.with(&json!({"state": "draining"})), new.json()]).await;
    assert_eq!(shares(&lb, 4).await, expect(&[(&new, 4)]));
    gate.send_replace(true);
    assert_eq!(open_request.answers().await[0].text(), "host1/old 1 0");
    assert_eq!(lb.metric("lb_cuts_total").await, Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_in_flight_are_limited() {
    let (gate, open) = watch::channel(false);
    let small = Upstream::new("small", Does::ServesWhen(open)).await;
    let backup = Upstream::new("backup", Does::Serves).await;
    let lb = Balancer::start("", "[attempt]\nread_timeout_ms = 60000\n").await;
    let limited = small.with(&json!({"max_conns": 1}));
    lb.set_json(1, vec![limited.clone()]).await;
    let traffic = lb.traffic;
    let first = tokio::spawn(async move { send(traffic, "GET", Vec::new()).await.status });
    until("in flight", async || lb.status_of(&small).await["in_flight"] == 1).await;
    let answer = send(lb.traffic, "GET", Vec::new()).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "no_upstream"));
    // The count goes on in the next set.
    lb.set_json(2, vec![limited, backup.with(&json!({"backup": true}))]).await;
    assert_eq!(shares(&lb, 3).await, expect(&[(&backup, 3)]));
    gate.send_replace(true);
    assert_eq!(first.await.unwrap(), 200);
    until("done", async || lb.status_of(&small).await["in_flight"] == 0).await;
    assert_eq!(shares(&lb, 3).await, expect(&[(&small, 3)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn incarnations_do_not_share_connections() {
    let upstream = Upstream::new("a", Does::Serves).await;
    // Threads have connections of their own.
    let lb = Balancer::start("threads = 1", "").await;
    let text = async || send(lb.traffic, "GET", Vec::new()).await.text();
    lb.set_json(1, vec![upstream.json()]).await;
    assert_eq!((text().await.as_str(), text().await.as_str()), ("host1/a 1 0", "host1/a 1 0"));
    lb.set_json(2, vec![upstream.with(&json!({"weight": 5}))]).await;
    assert_eq!(text().await, "host1/a 1 0", "the same incarnation keeps its connections");
    lb.set_json(3, vec![upstream.with(&json!({"incarnation": 2}))]).await;
    assert_eq!((text().await.as_str(), text().await.as_str()), ("host1/a 2 0", "host1/a 2 0"));
    assert_eq!(lb.status_of(&upstream).await["attempts_total"], 2);
    // Even one that comes back is another.
    lb.set_json(4, vec![]).await;
    lb.set_json(5, vec![upstream.with(&json!({"incarnation": 2}))]).await;
    assert_eq!(text().await, "host1/a 3 0");
}
