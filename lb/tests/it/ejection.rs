//! `max_fails` and `fail_timeout_ms`: who fails is left alone for a while.

use serde_json::json;

use super::support::{Balancer, Does, Raw, Upstream, load, send, until};

const FOR_LONG: &str = "fail_timeout_ms = 600000\n";

/// A load balancer with these keys for upstreams, one that does this, and a good one.
async fn pair(bad: Does, upstream: &str, retry: &str) -> (Balancer, Upstream, Upstream) {
    let bad = Upstream::new("bad", bad).await;
    let good = Upstream::new("good", Does::Serves).await;
    let tables = format!(
        "[upstream]\n{upstream}[attempt]\nconnect_timeout_ms = 150\nread_timeout_ms = 150\n[retry]\n{retry}"
    );
    let lb = Balancer::start("", &tables).await;
    lb.set(1, &[&bad, &good]).await;
    (lb, bad, good)
}

async fn get(lb: &Balancer) -> u16 {
    send(lb.traffic, "GET", Vec::new()).await.status
}

async fn is_available(lb: &Balancer, upstream: &Upstream) -> bool {
    let available = lb.status_of(upstream).await["available"].as_bool().unwrap();
    let metric = lb.metric(&format!("lb_upstream_available{{upstream=\"{}\"}}", upstream.id)).await;
    assert_eq!(metric, Some(f64::from(u8::from(available))));
    for (state, is_in) in [("up", available), ("ejected", !available), ("draining", false), ("down", false)] {
        let line = format!("lb_upstream_state{{state=\"{state}\",upstream=\"{}\"}}", upstream.id);
        assert_eq!(lb.metric(&line).await, Some(f64::from(u8::from(is_in))), "{line}");
    }
    available
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_failures_eject() {
    for (keys, asked) in [("max_fails = 1\n", 1), ("max_fails = 3\n", 3), ("max_fails = 0\n", 20)] {
        let (lb, bad, good) = pair(Does::ClosesAfterRequest, &format!("{keys}{FOR_LONG}"), "").await;
        for _ in 0..20 {
            assert_eq!(get(&lb).await, 200);
        }
        assert_eq!((bad.asked(), good.asked()), (asked, 20), "{keys}");
        assert_eq!(is_available(&lb, &bad).await, asked == 20);
        let ejections = lb.metric(&format!("lb_upstream_ejections_total{{upstream=\"{}\"}}", bad.id)).await;
        assert_eq!(ejections, Some(if asked == 20 { 0.0 } else { 1.0 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_one_failure_ejects() {
    let config = load(
        "listen = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"a-token-for-the-tests\"\n",
    );
    let lb = Balancer::run(config).await;
    let bad = Upstream::new("bad", Does::ClosesAfterRequest).await;
    let good = Upstream::new("good", Does::Serves).await;
    lb.set(1, &[&bad, &good]).await;
    for _ in 0..10 {
        assert_eq!(get(&lb).await, 200);
    }
    assert_eq!(bad.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_counts_as_a_failure() {
    const ALL: &str = "on = [\"http_403\", \"http_404\", \"http_429\", \"http_500\", \"http_503\"]\n";
    const NONE: &str = "on = [\"off\"]\n";
    let status = |says| Does::Says(says);
    for (does, on, ejects) in [
        // These count whether or not they are retried.
        (Does::Refuses, NONE, true),
        (Does::Ignores, NONE, true),
        (Does::ClosesAfterRequest, NONE, true),
        (Does::Hangs, NONE, true),
        (Does::Says("garbage\r\n\r\n"), NONE, true),
        // Statuses count when they are listed, and these two never.
        (status("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), ALL, true),
        (status("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), ALL, true),
        (status("HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n"), ALL, true),
        (status("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), NONE, false),
        (status("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"), ALL, false),
        (status("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), ALL, false),
        (status("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), NONE, false),
    ] {
        let (lb, bad, _good) = pair(does.clone(), &format!("max_fails = 1\n{FOR_LONG}"), on).await;
        for _ in 0..4 {
            get(&lb).await;
        }
        assert_eq!(is_available(&lb, &bad).await, !ejects, "{does:?} {on}");
        let attempts = lb.status_of(&bad).await["attempts_total"].as_u64();
        assert_eq!(attempts == Some(1), ejects, "{does:?} {on}: {attempts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ejects_nobody() {
    let (lb, slow, _good) = pair(Does::Hangs, &format!("max_fails = 1\n{FOR_LONG}"), "").await;
    lb.set(2, &[&slow]).await;
    let mut raw = Raw::connect(lb.traffic).await;
    // This one is waited for, whatever the read time-out.
    raw.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n").await;
    until("in flight", async || lb.status_of(&slow).await["in_flight"] == 1).await;
    raw.reset();
    until("not in flight", async || lb.status_of(&slow).await["in_flight"] == 0).await;
    assert!(is_available(&lb, &slow).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_that_breaks_ejects_nobody() {
    let (lb, once, _good) = pair(Does::ServesOnce, &format!("max_fails = 1\n{FOR_LONG}"), "").await;
    until("three broke", async || {
        assert_eq!(get(&lb).await, 200);
        lb.retries("reset").await >= 3.0
    })
    .await;
    assert!(is_available(&lb, &once).await);
    once.now(Does::ClosesAfterRequest);
    until("a new one broke", async || {
        assert_eq!(get(&lb).await, 200);
        !is_available(&lb, &once).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_while_it_is_back() {
    let (lb, bad, good) = pair(Does::ClosesAfterRequest, "max_fails = 1\nfail_timeout_ms = 300\n", "").await;
    until("it is ejected", async || {
        assert_eq!(get(&lb).await, 200);
        bad.asked() > 0
    })
    .await;
    bad.now(Does::Serves);
    let (failed, served) = (bad.asked(), good.asked());
    until("it is asked again", async || {
        assert_eq!(get(&lb).await, 200);
        bad.asked() > failed
    })
    .await;
    assert!(good.asked() > served, "not before the time");
    // One good answer, and it is one among others.
    until("it has its share", async || {
        let before = (bad.asked(), good.asked());
        for _ in 0..10 {
            assert_eq!(get(&lb).await, 200);
        }
        (bad.asked(), good.asked()) == (before.0 + 5, before.1 + 5)
    })
    .await;
    assert!(is_available(&lb, &bad).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_ejected_all_are_tried() {
    let (lb, a, b) = pair(Does::ClosesAfterRequest, &format!("max_fails = 1\n{FOR_LONG}"), "").await;
    b.now(Does::ClosesAfterRequest);
    for round in 1..=3 {
        assert_eq!(get(&lb).await, 502);
        assert_eq!((a.asked(), b.asked()), (round, round));
        assert!(!is_available(&lb, &a).await && !is_available(&lb, &b).await);
    }
    b.now(Does::Serves);
    // The first good answer brings it back.
    assert_eq!(get(&lb).await, 200);
    assert!(!is_available(&lb, &a).await && is_available(&lb, &b).await);
    let asked = a.asked();
    for _ in 0..10 {
        assert_eq!(get(&lb).await, 200);
    }
    assert_eq!(a.asked(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_comes_before_one_that_is_ejected() {
    let (lb, bad, good) = pair(Does::ClosesAfterRequest, &format!("max_fails = 1\n{FOR_LONG}"), "").await;
    lb.set_json(2, vec![bad.json(), good.with(&json!({"backup": true}))]).await;
    for _ in 0..5 {
        assert_eq!(get(&lb).await, 200);
    }
    assert_eq!((bad.asked(), good.asked()), (1, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_the_incarnation_that_is_ejected() {
    let (lb, bad, good) = pair(Does::ClosesAfterRequest, &format!("max_fails = 1\n{FOR_LONG}"), "").await;
    get(&lb).await;
    get(&lb).await;
    assert!(!is_available(&lb, &bad).await);
    lb.set_json(2, vec![bad.with(&json!({"weight": 2})), good.json()]).await;
    assert!(!is_available(&lb, &bad).await, "another weight is no other life");
    lb.set_json(3, vec![bad.with(&json!({"incarnation": 2})), good.json()]).await;
    assert!(is_available(&lb, &bad).await);
}
