//! Requests that wait for an upstream: bounded in number and time, and gone the moment there is one.

use serde_json::json;
use tokio::sync::watch;

use super::support::{Answer, Balancer, Does, Raw, Upstream, burst, http, send, until};

const PATIENT: &str = "queue_ms = 60000";

async fn queued(lb: &Balancer, n: u32) {
    until("so many wait", async || lb.metric("lb_queued").await == Some(f64::from(n))).await;
}

fn come_back(answer: &Answer) {
    assert_eq!((answer.status, answer.code().as_str()), (503, "no_upstream"));
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn they_go_out_when_an_upstream_is_pushed() {
    let upstream = Upstream::new("a", Does::Serves).await;
    for draining in [false, true] {
        let lb = Balancer::start(PATIENT, "").await;
        if draining {
            lb.set_json(1, vec![upstream.with(&json!({"state": "draining"}))]).await;
        }
        let (gets, posts) = (burst(20, lb.traffic, "GET", b""), burst(20, lb.traffic, "POST", b"body"));
        queued(&lb, 40).await;
        lb.set(2, &[&upstream]).await;
        assert_eq!(gets.statuses().await, [200; 20]);
        assert!(posts.answers().await.iter().all(|answer| answer.text().ends_with(" 4")));
        queued(&lb, 0).await;
    }
    assert_eq!(upstream.asked(), 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn their_number_is_limited() {
    let lb = Balancer::start(&format!("{PATIENT}\nqueue_requests = 2"), "").await;
    let waiting = burst(2, lb.traffic, "GET", b"");
    queued(&lb, 2).await;
    for _ in 0..3 {
        come_back(&send(lb.traffic, "GET", Vec::new()).await);
    }
    let upstream = Upstream::new("a", Does::Serves).await;
    lb.set(1, &[&upstream]).await;
    assert_eq!(waiting.statuses().await, [200; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn their_time_is_limited() {
    let lb = Balancer::start("queue_ms = 200", "").await;
    let mut raw = Raw::connect(lb.traffic).await;
    for _ in 0..2 {
        raw.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let (head, body) = raw.answer().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 503 ") && body.contains("no_upstream"), "{head}{body}");
        assert!(head.contains("\r\nRetry-After: 1\r\n"), "{head}");
    }
    queued(&lb, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_makes_room() {
    let lb = Balancer::start(&format!("{PATIENT}\nqueue_requests = 1"), "").await;
    let mut raw = Raw::connect(lb.traffic).await;
    raw.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    queued(&lb, 1).await;
    come_back(&send(lb.traffic, "GET", Vec::new()).await);
    raw.reset();
    queued(&lb, 0).await;
    let waiting = burst(1, lb.traffic, "GET", b"");
    queued(&lb, 1).await;
    let upstream = Upstream::new("a", Does::Serves).await;
    lb.set(1, &[&upstream]).await;
    assert_eq!(waiting.statuses().await, [200]);
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_places_taken_they_wait_for_one() {
    let (gate, open) = watch::channel(false);
    let upstream = Upstream::new("a", Does::ServesWhen(open)).await;
    let lb = Balancer::start(PATIENT, "").await;
    lb.set_json(1, vec![upstream.with(&json!({"max_conns": 2}))]).await;
    let waiting = burst(40, lb.traffic, "GET", b"");
    queued(&lb, 38).await;
    until("both places are used", async || upstream.asked() == 2).await;
    gate.send_replace(true);
    assert_eq!(waiting.statuses().await, [200; 40]);
    assert_eq!((upstream.asked(), upstream.most_at_once()), (40, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_places_taken_for_long_they_are_told_to_come_back() {
    let upstream = Upstream::new("a", Does::Hangs).await;
    let lb = Balancer::start("queue_ms = 100", "").await;
    lb.set_json(1, vec![upstream.with(&json!({"max_conns": 1}))]).await;
    let mut raw = Raw::connect(lb.traffic).await;
    raw.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    until("its place is taken", async || upstream.asked() == 1).await;
    come_back(&send(lb.traffic, "GET", Vec::new()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_failed_everywhere_waits_for_another_set() {
    let refuses = Upstream::new("refuses", Does::Refuses).await;
    let closes = Upstream::new("closes", Does::ClosesAfterRequest).await;
    let lb = Balancer::start(PATIENT, "").await;
    lb.set(1, &[&refuses, &closes]).await;
    let waiting = burst(5, lb.traffic, "GET", b"");
    queued(&lb, 5).await;
    // The same upstreams are no help.
    lb.set(2, &[&closes, &refuses]).await;
    until("the set is in force", async || lb.metric("lb_generation").await == Some(2.0)).await;
    queued(&lb, 5).await;
    assert_eq!(closes.asked(), 5);
    let good = Upstream::new("good", Does::Serves).await;
    lb.set(3, &[&refuses, &good]).await;
    assert_eq!(waiting.statuses().await, [200; 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_failed_everywhere_is_told_when_nobody_comes() {
    let closes = Upstream::new("closes", Does::ClosesAfterRequest).await;
    let lb = Balancer::start("queue_ms = 100", "").await;
    lb.set(1, &[&closes]).await;
    let answer = send(lb.traffic, "GET", Vec::new()).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_failed"));
    // Nobody pushes where the upstreams are in the file.
    let list = format!("[[upstreams]]\nid = \"a\"\naddr = \"{}\"\n", closes.addr);
    let lb = Balancer::start(PATIENT, &list).await;
    let answer =
        tokio::time::timeout(std::time::Duration::from_secs(20), send(lb.traffic, "GET", Vec::new()));
    assert_eq!(answer.await.expect("it waits for nobody").status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_further_attempt_begins_when_the_time_for_all_is_used_up() {
    let closes = Upstream::new("closes", Does::ClosesAfterRequest).await;
    let lb = Balancer::start(PATIENT, "[retry]\ntimeout_ms = 300\n").await;
    lb.set(1, &[&closes]).await;
    let answer =
        tokio::time::timeout(std::time::Duration::from_secs(20), send(lb.traffic, "GET", Vec::new()));
    assert_eq!(answer.await.expect("the time is used up").status, 502);
    // The time does not run for whom no attempt could be made.
    lb.set_json(2, vec![]).await;
    let waiting = burst(1, lb.traffic, "GET", b"");
    queued(&lb, 1).await;
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    let good = Upstream::new("good", Does::Serves).await;
    lb.set_json(3, vec![closes.json(), good.with(&json!({"backup": true}))]).await;
    assert_eq!(waiting.statuses().await, [200]);
    assert_eq!(closes.asked(), 2, "it was asked before the other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_goes_to_somebody_who_can_use_it() {
    let (gate, open) = watch::channel(false);
    let upstream = Upstream::new("a", Does::ClosesAfterRequest).await;
    let lb = Balancer::start(PATIENT, "").await;
    lb.set_json(1, vec![upstream.with(&json!({"max_conns": 1}))]).await;
    // Who waits for longest was there already, and has no use for the place.
    let failed = burst(1, lb.traffic, "GET", b"");
    queued(&lb, 1).await;
    upstream.now(Does::ServesWhen(open));
    let served = burst(1, lb.traffic, "GET", b"");
    until("the place is taken", async || upstream.asked() == 2).await;
    let next = burst(1, lb.traffic, "GET", b"");
    queued(&lb, 2).await;
    gate.send_replace(true);
    assert_eq!(served.statuses().await, [200]);
    assert_eq!(next.statuses().await, [200]);
    lb.set_json(2, vec![upstream.with(&json!({"incarnation": 2}))]).await;
    assert_eq!(failed.statuses().await, [200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_and_refused_requests_do_not_wait() {
    let lb = Balancer::start(PATIENT, "[limits]\nbody_bytes = 10\n").await;
    assert_eq!(http(lb.traffic, "GET", "/heartbeat", &[], vec![]).await.unwrap().status, 404);
    assert_eq!(send(lb.traffic, "POST", vec![0; 11]).await.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_may_be_served_are_told_to_come_back() {
    let lb = Balancer::start("queue_ms = 60000", "[limits]\nrequests = 1\n").await;
    let first = tokio::spawn(send(lb.traffic, "GET", Vec::new()));
    until("it waits", async || lb.metric("lb_queued").await == Some(1.0)).await;
    let second = send(lb.traffic, "GET", Vec::new()).await;
    assert_eq!((second.status, second.code().as_str()), (503, "overloaded"));
    assert_eq!(second.headers["retry-after"], "1");
    let upstream = Upstream::new("a", Does::Serves).await;
    lb.set(1, &[&upstream]).await;
    assert_eq!(first.await.unwrap().status, 200);
}
