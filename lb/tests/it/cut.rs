//! An upstream leaves the set: what waits for it goes elsewhere at once, and nothing of it is used again.

use serde_json::json;
use tokio::sync::watch;

use super::support::{Balancer, Does, Then, Upstream, burst, send, until};

/// Requests that wait for the upstream, which also has connections that nobody uses.
const WAITING: usize = 50;

/// A load balancer that waits for a minute, an upstream that served, and now does this.
async fn stuck(tables: &str, does: Does) -> (Balancer, Upstream) {
    let (gate, open) = watch::channel(false);
    let old = Upstream::new("old", Does::ServesWhen(open)).await;
    let lb = Balancer::start("queue_ms = 20000", tables).await;
    lb.set(1, &[&old]).await;
    let at_once = burst(4, lb.traffic, "GET", b"");
    until("each has a connection", async || old.asked() == 4).await;
    gate.send_replace(true);
    assert_eq!(at_once.statuses().await, [200; 4]);
    until("connections are unused", async || lb.status_of(&old).await["in_flight"] == 0).await;
    assert_eq!(old.open(), 4);
    old.now(does);
    (lb, old)
}

/// How many responses have begun.
async fn begun_at(lb: &Balancer, upstream: &Upstream) -> Option<f64> {
    lb.metric(&format!("lb_upstream_first_byte_seconds_count{{upstream=\"{}\"}}", upstream.id)).await
}

async fn all_closed(old: &Upstream) {
    until("all connections are closed", async || old.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_are_answered_by_another() {
    for delete in [false, true] {
        let (lb, old) = stuck("", Does::Hangs).await;
        let new = Upstream::new("new", Does::Serves).await;
        if delete {
            lb.set_json(2, vec![old.json(), new.with(&json!({"backup": true}))]).await;
        }
        let waiting = burst(WAITING, lb.traffic, "GET", b"");
        until("all wait", async || lb.status_of(&old).await["in_flight"] == WAITING).await;
        until("all are there", async || old.asked() == 4 + WAITING).await;
        if delete {
            lb.remove(3, &old).await;
        } else {
            lb.set(3, &[&new]).await;
        }
        for answer in waiting.answers().await {
            assert!(answer.text().starts_with("host1/new "), "{}", answer.text());
        }
        assert_eq!(lb.metric("lb_cuts_total").await, Some(50.0));
        assert_eq!(lb.retries("cut").await, 50.0);
        assert_eq!(new.asked(), WAITING);
        all_closed(&old).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_nobody_uses_are_closed() {
    for draining in [false, true] {
        let (gate, open) = watch::channel(false);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst";
        let (lb, old) = stuck("", Does::Begins(head, open, Then::Says("after"))).await;
        let begun = burst(1, lb.traffic, "GET", b"");
        until("a response has begun", async || begun_at(&lb, &old).await == Some(5.0)).await;
        let unused = old.open() - 1;
        assert!(unused >= 3);
        let rest = if draining { vec![old.with(&json!({"state": "draining"}))] } else { vec![] };
        lb.set_json(2, rest).await;
        // At once, and not when the last one is done with the upstream.
        until("only one is left", async || old.open() == 1).await;
        gate.send_replace(true);
        assert_eq!(begun.answers().await[0].text(), "firstafter");
        // And that one is not kept.
        all_closed(&old).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_was_sent_is_not_sent_again() {
    let (lb, old) = stuck("", Does::Hangs).await;
    let new = Upstream::new("new", Does::Serves).await;
    let waiting = burst(5, lb.traffic, "POST", b"once");
    until("all are there", async || old.asked() == 9).await;
    lb.set(2, &[&new]).await;
    for answer in waiting.answers().await {
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_failed"));
        assert!(
            answer.text().contains("cut") && answer.text().contains("not_idempotent"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(new.asked(), 0);
    all_closed(&old).await;

    let (lb, old) = stuck("[retry]\nnon_idempotent = true\n", Does::Hangs).await;
    let waiting = burst(5, lb.traffic, "POST", b"twice");
    until("all are there", async || old.asked() == 9).await;
    lb.set(2, &[&new]).await;
    assert_eq!(waiting.statuses().await, [200; 5]);
    assert!(new.requests().iter().all(|request| request.body == b"twice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_was_not_sent_goes_on() {
    let ignores = Upstream::new("ignores", Does::Ignores).await;
    let new = Upstream::new("new", Does::Serves).await;
    let lb = Balancer::start("", "[attempt]\nconnect_timeout_ms = 60000\n").await;
    lb.set(1, &[&ignores]).await;
    let waiting = burst(5, lb.traffic, "POST", b"once");
    until("all connect", async || lb.status_of(&ignores).await["in_flight"] == 5).await;
    lb.set(2, &[&new]).await;
    assert_eq!(waiting.statuses().await, [200; 5]);
    assert_eq!(lb.metric("lb_cuts_total").await, Some(5.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_has_begun_is_not_cut() {
    let (gate, open) = watch::channel(false);
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst";
    let (lb, old) = stuck("", Does::Begins(head, open, Then::Says("after"))).await;
    let new = Upstream::new("new", Does::Serves).await;
    let waiting = burst(5, lb.traffic, "GET", b"");
    until("all have begun", async || begun_at(&lb, &old).await == Some(9.0)).await;
    lb.set(2, &[&new]).await;
    assert!(send(lb.traffic, "GET", Vec::new()).await.text().starts_with("host1/new "));
    gate.send_replace(true);
    for answer in waiting.answers().await {
        assert_eq!(answer.text(), "firstafter");
    }
    assert_eq!(lb.metric("lb_cuts_total").await, Some(0.0));
    // Its connection is of no further use.
    all_closed(&old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_life_gets_the_requests_of_the_old_one_and_none_of_its_connections() {
    let (lb, old) = stuck("", Does::Hangs).await;
    let waiting = burst(10, lb.traffic, "GET", b"");
    until("all are there", async || old.asked() == 14).await;
    let connections = old.connections();
    old.now(Does::Serves);
    lb.set_json(2, vec![old.with(&json!({"incarnation": 2}))]).await;
    for answer in waiting.answers().await {
        let text = answer.text();
        let connection: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(connection > connections, "{text}: an old connection");
    }
    assert_eq!(lb.metric("lb_cuts_total").await, Some(10.0));
    assert_eq!(lb.status_of(&old).await["attempts_total"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nobody_left_those_who_were_cut_wait_for_help() {
    let (lb, old) = stuck("", Does::Hangs).await;
    let waiting = burst(10, lb.traffic, "GET", b"");
    until("all are there", async || old.asked() == 14).await;
    lb.set_json(2, vec![]).await;
    until("all wait for help", async || lb.metric("lb_queued").await == Some(10.0)).await;
    let new = Upstream::new("new", Does::Serves).await;
    lb.set(3, &[&new]).await;
    assert_eq!(waiting.statuses().await, [200; 10]);
    assert_eq!(new.asked(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_off_a_cut_is_an_error() {
    let (lb, old) = stuck("[retry]\non = [\"off\"]\n", Does::Hangs).await;
    let waiting = burst(3, lb.traffic, "GET", b"");
    until("all are there", async || old.asked() == 7).await;
    let new = Upstream::new("new", Does::Serves).await;
    lb.set(2, &[&new]).await;
    assert_eq!(waiting.statuses().await, [502; 3]);
}
