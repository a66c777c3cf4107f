//! The first-byte deadline: nobody waits for a silent upstream while another one could be asked.
//!
//! `read_timeout_ms` is a minute by default, far more than these tests wait: an answer shows that the deadline
//! was another.

use std::time::Duration;

use serde_json::json;

use super::support::{Balancer, Does, Raw, Upstream, burst, send, until};

/// An upstream that does this and is asked first, and a good one.
async fn pair(does: Does, tables: &str) -> (Balancer, Upstream, Upstream) {
    let first = Upstream::new("first", does).await;
    let good = Upstream::new("good", Does::Serves).await;
    let lb = Balancer::start("", tables).await;
    // Of a thousand requests in a row one is the good one's, and that in the middle.
    lb.set_json(1, vec![first.with(&json!({"weight": 1000})), good.json()]).await;
    (lb, first, good)
}

const SHORT: &str = "[attempt]\nfirst_byte_min_ms = 50\nfirst_byte_max_ms = 50\n";

#[tokio::test(flavor = "multi_thread")]
async fn who_is_silent_is_overtaken() {
    let (lb, hangs, good) = pair(Does::Hangs, SHORT).await;
    assert!(send(lb.traffic, "GET", Vec::new()).await.text().starts_with("host1/good "));
    assert!(send(lb.traffic, "PUT", b"body".to_vec()).await.text().starts_with("host1/good "));
    assert_eq!((hangs.asked(), good.asked()), (2, 2));
    assert_eq!(lb.retries("first_byte_timeout").await, 2.0);
    until("nobody waits for it", async || hangs.open() == 0).await;
    let failed = format!("lb_attempts_total{{outcome=\"first_byte_timeout\",upstream=\"{}\"}}", hangs.id);
    assert_eq!(lb.metric(&failed).await, Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_accept_connections_is_overtaken() {
    let tables = format!("{SHORT}connect_timeout_ms = 60000\n");
    let (lb, _ignores, good) = pair(Does::Ignores, &tables).await;
    assert!(send(lb.traffic, "GET", Vec::new()).await.text().starts_with("host1/good "));
    assert_eq!(lb.retries("first_byte_timeout").await, 1.0);
    assert_eq!(good.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_follows_what_is_usual() {
    let a = Upstream::new("a", Does::Serves).await;
    let b = Upstream::new("b", Does::Serves).await;
    let tables = "[attempt]\nfirst_byte_min_ms = 25\nfirst_byte_max_ms = 60000\n";
    let lb = Balancer::start("", tables).await;
    lb.set(1, &[&a, &b]).await;
    let deadline = "lb_first_byte_deadline_microseconds";
    until("nothing is known", async || lb.metric(deadline).await == Some(60_000_000.0)).await;
    until("it is known", async || {
        assert_eq!(send(lb.traffic, "GET", Vec::new()).await.status, 200);
        lb.metric(deadline).await < Some(10_000_000.0)
    })
    .await;
    a.now(Does::Hangs);
    let statuses = burst(4, lb.traffic, "GET", b"").statuses().await;
    assert_eq!(statuses, [200; 4]);
    assert!(lb.retries("first_byte_timeout").await >= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_one_gets_the_whole_read_timeout() {
    let tables = format!("{SHORT}read_timeout_ms = 400\n");
    let (lb, hangs, good) = pair(Does::Hangs, &tables).await;
    good.now(Does::Hangs);
    let answer = send(lb.traffic, "GET", Vec::new()).await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"));
    assert_eq!((hangs.asked(), good.asked()), (1, 1));
    assert_eq!(lb.retries("first_byte_timeout").await, 1.0);
    let timed_out = format!("lb_attempts_total{{outcome=\"timeout\",upstream=\"{}\"}}", good.id);
    assert_eq!(lb.metric(&timed_out).await, Some(1.0));
    // So it may take its time.
    good.now(Does::ServesAfter(Duration::from_millis(200)));
    assert!(send(lb.traffic, "GET", Vec::new()).await.text().starts_with("host1/good "));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_overtaken_is_asked_again_before_all_fails() {
    let (lb, slow, bad) = pair(Does::ServesAfter(Duration::from_millis(300)), SHORT).await;
    bad.now(Does::ClosesAfterRequest);
    assert!(send(lb.traffic, "GET", Vec::new()).await.text().starts_with("host1/first "));
    assert_eq!((slow.asked(), bad.asked()), (2, 1));
    // Once, and not in turns for ever: then it has the whole time.
    slow.now(Does::Hangs);
    bad.now(Does::ClosesAfterRequest);
    let lb = Balancer::start("", &format!("{SHORT}read_timeout_ms = 400\n")).await;
    lb.set_json(1, vec![slow.with(&json!({"weight": 1000})), bad.json()]).await;
    assert_eq!(send(lb.traffic, "GET", Vec::new()).await.status, 504);
    assert_eq!((slow.asked(), bad.asked()), (4, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_already_goes_to_one_that_comes_later() {
    let (lb, hangs, good) = pair(Does::Hangs, SHORT).await;
    lb.set(2, &[&hangs]).await;
    let waiting = burst(10, lb.traffic, "GET", b"");
    until("all are there", async || hangs.asked() == 10).await;
    let deadline = "lb_first_byte_deadline_microseconds";
    until("it is known", async || lb.metric(deadline).await == Some(50_000.0)).await;
    // By now they have looked for another one, in vain.
    tokio::time::sleep(Duration::from_millis(100)).await;
    lb.set(3, &[&hangs, &good]).await;
    for answer in waiting.answers().await {
        assert!(answer.text().starts_with("host1/good "), "{}", answer.text());
    }
    assert_eq!((hangs.asked(), good.asked()), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_sent_twice_waits() {
    let tables = format!("{SHORT}read_timeout_ms = 400\n");
    let (lb, hangs, good) = pair(Does::Hangs, &tables).await;
    assert_eq!(send(lb.traffic, "POST", b"once".to_vec()).await.status, 504);
    assert_eq!(send(lb.traffic, "PUT", vec![0; 100_000]).await.status, 504, "more than is kept");
    assert_eq!((hangs.asked(), good.asked()), (2, 0));
    let (lb, hangs, good) = pair(Does::Hangs, &format!("{SHORT}[retry]\nnon_idempotent = true\n")).await;
    assert_eq!(send(lb.traffic, "POST", b"twice".to_vec()).await.status, 200);
    assert_eq!((hangs.asked(), good.asked()), (1, 1));
    for on in ["error", "http_503"] {
        let tables = format!("{SHORT}read_timeout_ms = 400\n[retry]\non = [{on:?}]\n");
        let (lb, _hangs, good) = pair(Does::Hangs, &tables).await;
        assert_eq!(send(lb.traffic, "GET", Vec::new()).await.status, 504, "timeout is not listed");
        assert_eq!(good.asked(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_still_sending_starts_no_clock() {
    let (lb, first, good) = pair(Does::Serves, SHORT).await;
    let mut raw = Raw::connect(lb.traffic).await;
    raw.send("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na").await;
    until("connected", async || first.open() == 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    raw.send("b").await;
    assert!(raw.answer().await.unwrap().1.starts_with("host1/first "));
    assert_eq!(good.open(), 0);
}

/// How many attempts so many requests lead to at two upstreams, both slower than the deadline.
async fn attempts_at_slow_ones(requests: usize, budget: &str) -> usize {
    let slow = Does::ServesAfter(Duration::from_millis(300));
    let a = Upstream::new("a", slow.clone()).await;
    let b = Upstream::new("b", slow).await;
    let lb = Balancer::start("", &format!("{SHORT}[retry]\n{budget}")).await;
    lb.set(1, &[&a, &b]).await;
    let statuses = burst(requests, lb.traffic, "GET", b"").statuses().await;
    assert!(statuses.iter().all(|&status| status == 200), "{statuses:?}");
    a.asked() + b.asked()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_service_is_not_buried() {
    let attempts = attempts_at_slow_ones(100, "budget_percent = 20\nbudget_min_per_second = 0\n").await;
    assert!((101..=120).contains(&attempts), "{attempts}");
    assert_eq!(attempts_at_slow_ones(30, "budget_percent = 0\nbudget_min_per_second = 0\n").await, 30);
    // With a budget, each of them is tried twice.
    assert_eq!(attempts_at_slow_ones(30, "budget_percent = 100\nbudget_min_per_second = 100\n").await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_place_left_is_no_better_bet() {
    let tables = format!("{SHORT}read_timeout_ms = 400\n");
    let (lb, hangs, small) = pair(Does::Hangs, &tables).await;
    small.now(Does::Hangs);
    let limited = small.with(&json!({"max_conns": 1}));
    lb.set_json(2, vec![limited.clone()]).await;
    let mut raw = Raw::connect(lb.traffic).await;
    raw.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n").await;
    until("it is full", async || lb.status_of(&small).await["in_flight"] == 1).await;
    lb.set_json(3, vec![hangs.with(&json!({"weight": 1000})), limited]).await;
    let answer = send(lb.traffic, "GET", Vec::new()).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "no_upstream"));
    assert_eq!((hangs.asked(), small.asked()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_ejected_is_no_better_bet() {
    let eject = "[upstream]\nmax_fails = 1\nfail_timeout_ms = 600000\n";
    let (lb, slow, bad) =
        pair(Does::ServesAfter(Duration::from_millis(300)), &format!("{SHORT}{eject}")).await;
    bad.now(Does::ClosesAfterRequest);
    lb.set(2, &[&bad]).await;
    assert_eq!(send(lb.traffic, "GET", Vec::new()).await.status, 502);
    assert_eq!(lb.status_of(&bad).await["available"], false);
    lb.set_json(3, vec![slow.json(), bad.json()]).await;
    assert_eq!(burst(5, lb.traffic, "GET", b"").statuses().await, [200; 5]);
    assert_eq!((slow.asked(), bad.asked()), (5, 1));
}
