mod bodies;
mod breaks;
mod conditions;

use super::support::{Balancer, Does, Raw, Upstream, http, send, until};

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nX-Origin: busy\r\n\r\nbusy";

/// Ten requests against a good upstream and one that does this. The good one serves them all when `retried`.
async fn with_bad(does: Does, method: &str, body: &[u8]) -> (Vec<u16>, Upstream, Upstream, Balancer) {
    let bad = Upstream::new("bad", does).await;
    let good = Upstream::new("good", Does::Serves).await;
    let lb = Balancer::start("", "[attempt]\nread_timeout_ms = 200\nconnect_timeout_ms = 200\n").await;
    lb.set(1, &[&bad, &good]).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(send(lb.traffic, method, body.to_vec()).await.status);
    }
    (statuses, bad, good, lb)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_survives_every_failure_before_the_head() {
    for (does, reason) in [
        (Does::Refuses, "connect_error"),
        (Does::Ignores, "connect_timeout"),
        (Does::ClosesAtOnce, "reset"),
        (Does::ClosesAfterRequest, "reset"),
        (Does::SaysAndResets("HTTP/1.1 200 OK\r\nContent-Le"), "reset"),
        (Does::Hangs, "timeout"),
        (Does::Says("this is not HTTP\r\n\r\n"), "bad_response"),
        (Does::Says(BUSY), "status"),
    ] {
        let (statuses, bad, good, lb) = with_bad(does.clone(), "GET", b"").await;
        assert_eq!(statuses, [200; 6], "{does:?}");
        assert_eq!(good.requests().len(), 6, "{does:?}");
        // Each time, it was asked first or not at all.
        let failures = lb.status_of(&bad).await["failures_total"].as_f64();
        assert!(failures.unwrap() >= 2.0, "{does:?}");
        let retries = lb.metric(&format!("lb_retries_total{{reason=\"{reason}\"}}")).await;
        assert_eq!(retries, failures, "{does:?}");
        let outcome = format!("lb_attempts_total{{outcome=\"{reason}\",upstream=\"{}\"}}", bad.id);
        assert_eq!(lb.metric(&outcome).await, failures, "{does:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_sent_again_only_when_nothing_was_sent() {
    for does in [Does::Refuses, Does::Ignores] {
        let (statuses, _bad, good, _lb) = with_bad(does.clone(), "POST", b"once").await;
        assert_eq!(statuses, [200; 6], "{does:?}");
        assert!(good.requests().iter().all(|request| request.body == b"once"), "{does:?}");
    }
    for (does, status) in [
        (Does::ClosesAfterRequest, 502),
        (Does::Hangs, 504),
        (Does::Says("this is not HTTP\r\n\r\n"), 502),
        (Does::Says(BUSY), 503),
    ] {
        let (statuses, bad, good, _lb) = with_bad(does.clone(), "POST", b"once").await;
        assert!(statuses.iter().all(|got| [200, status].contains(got)), "{does:?}: {statuses:?}");
        let failed = statuses.iter().filter(|&&got| got == status).count();
        assert_eq!((failed, failed), (3, bad.requests().len()), "{does:?}");
        assert_eq!(good.requests().len(), 3, "{does:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_body_is_sent_again_in_full() {
    let body: Vec<u8> = (0..60_000u32).map(|i| i.to_le_bytes()[0]).collect();
    for does in [Does::ClosesAfterRequest, Does::Says(BUSY)] {
        let (statuses, _bad, good, _lb) = with_bad(does.clone(), "PUT", &body).await;
        assert_eq!(statuses, [200; 6], "{does:?}");
        assert!(good.requests().iter().all(|request| request.body == body), "{does:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_is_not_sent_again_once_sent() {
    let body = vec![7; 300_000];
    let (statuses, bad, good, _lb) = with_bad(Does::ClosesAfterRequest, "PUT", &body).await;
    assert_eq!(statuses.iter().filter(|&&status| status == 502).count(), 3);
    assert_eq!((bad.requests().len(), good.requests().len()), (3, 3));
    let (statuses, _bad, good, _lb) = with_bad(Does::Refuses, "PUT", &body).await;
    assert_eq!(statuses, [200; 6]);
    assert!(good.requests().iter().all(|request| request.body == body));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_has_begun_is_not_replaced() {
    let partial = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npartial";
    let bad = Upstream::new("bad", Does::SaysAndResets(partial)).await;
    let good = Upstream::new("good", Does::Serves).await;
    let lb = Balancer::simple().await;
    lb.set_json(1, vec![bad.json(), good.with(&serde_json::json!({"backup": true}))]).await;
    assert!(http(lb.traffic, "GET", "/", &[], Vec::new()).await.is_err(), "the client must see the break");
    let mut raw = Raw::connect(lb.traffic).await;
    raw.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (text, _) = raw.rest().await;
    assert!(!text.contains("host1/good"), "{text}");
    assert_eq!((bad.requests().len(), good.requests().len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_that_are_not_configured_are_the_clients() {
    let broken = Upstream::new("a", Does::Says("HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops")).await;
    let good = Upstream::new("good", Does::Serves).await;
    let lb = Balancer::simple().await;
    lb.set_json(1, vec![broken.json(), good.with(&serde_json::json!({"backup": true}))]).await;
    let answer = send(lb.traffic, "GET", Vec::new()).await;
    assert_eq!((answer.status, answer.text().as_str()), (500, "oops"));
    assert_eq!(good.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_attempts_answer_passes_through() {
    let a = Upstream::new("a", Does::Says(BUSY)).await;
    let b = Upstream::new("b", Does::Says(BUSY)).await;
    for (tables, attempts) in [("", 2), ("[retry]\ntries = 1\n", 1), ("[retry]\ntries = 5\n", 5)] {
        let (a_before, b_before) = (a.requests().len(), b.requests().len());
        let lb = Balancer::start("", tables).await;
        lb.set(1, &[&a, &b]).await;
        let answer = send(lb.traffic, "GET", Vec::new()).await;
        assert_eq!((answer.status, answer.text().as_str()), (503, "busy"));
        assert_eq!(answer.headers["x-origin"], "busy");
        assert_eq!(a.requests().len() + b.requests().len() - a_before - b_before, attempts, "{tables}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_the_last_ones_answer() {
    let first = "HTTP/1.1 503 First\r\nX-Origin: first\r\nContent-Length: 5\r\n\r\nfirst";
    let last =
        "HTTP/1.1 502 Last\r\nX-Origin: last\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nlast\r\n0\r\n\r\n";
    let a = Upstream::new("a", Does::Says(first)).await;
    let b = Upstream::new("b", Does::Says(last)).await;
    let lb = Balancer::start("", "").await;
    lb.set_json(1, vec![a.json(), b.with(&serde_json::json!({"backup": true}))]).await;
    let answer = send(lb.traffic, "GET", Vec::new()).await;
    assert_eq!((answer.status, answer.text().as_str()), (502, "last"));
    assert_eq!(answer.headers["x-origin"], "last");
    // It counts, and its connection is as good as any.
    let failed = format!("lb_attempts_total{{outcome=\"status\",upstream=\"{}\"}}", b.id);
    until("counted", async || lb.metric(&failed).await == Some(1.0)).await;
    // One that says nothing is no answer, though the one before said something.
    b.now(Does::ClosesAfterRequest);
    let answer = send(lb.traffic, "GET", Vec::new()).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_failed"));
    assert_eq!(a.asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_is_at_another_upstream() {
    let mut upstreams = Vec::new();
    for i in 0..6 {
        upstreams.push(Upstream::new(&format!("u{i}"), Does::ClosesAfterRequest).await);
    }
    for balance in ["round_robin", "least_conn", "random_two", "hash"] {
        let lb = Balancer::start(&format!("balance = \"{balance}\""), "[retry]\ntries = 4\n").await;
        lb.set(1, &upstreams.iter().collect::<Vec<_>>()).await;
        for _ in 0..6 {
            let before: Vec<usize> = upstreams.iter().map(Upstream::asked).collect();
            let answer = send(lb.traffic, "GET", Vec::new()).await;
            assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_failed"));
            let now = upstreams.iter().map(Upstream::asked);
            let mut asked: Vec<usize> = now.zip(&before).map(|(now, before)| now - before).collect();
            asked.sort_unstable();
            assert_eq!(asked, [0, 0, 1, 1, 1, 1], "{balance}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_fail_the_client_is_told_how() {
    let refuses = Upstream::new("a", Does::Refuses).await;
    let closes = Upstream::new("b", Does::ClosesAfterRequest).await;
    let hangs = Upstream::new("c", Does::Hangs).await;
    let lb = Balancer::simple().await;
    for (generation, set, status, code, used) in [
        (1, vec![&refuses], 502, "upstream_failed", "all were tried"),
        (2, vec![&closes], 502, "upstream_failed", "all were tried"),
        (3, vec![&hangs], 504, "upstream_timeout", "all were tried"),
    ] {
        lb.set(generation, &set).await;
        let answer = send(lb.traffic, "GET", Vec::new()).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
        assert_eq!(answer.headers["content-type"], "application/json");
        assert!(answer.text().contains(used), "{}", answer.text());
    }
    // A request is counted a moment after its answer is with the client.
    until("counted", async || lb.metric("lb_requests_total{code=\"5xx\"}").await == Some(3.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_begins_when_the_time_is_used_up() {
    let mut upstreams = Vec::new();
    for i in 0..12 {
        upstreams.push(Upstream::new(&format!("u{i}"), Does::Hangs).await);
    }
    let lb = Balancer::start("", "[retry]\ntimeout_ms = 1000\n[attempt]\nread_timeout_ms = 200\n").await;
    lb.set(1, &upstreams.iter().collect::<Vec<_>>()).await;
    let answer = send(lb.traffic, "GET", Vec::new()).await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"));
    assert!(answer.text().contains("no other was made: time"), "{}", answer.text());
    let asked: usize = upstreams.iter().map(Upstream::asked).sum();
    assert!((2..=5).contains(&asked), "{asked} attempts");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_upstreams_clients_are_told_to_come_back() {
    let lb = Balancer::simple().await;
    let mut raw = Raw::connect(lb.traffic).await;
    for _ in 0..2 {
        raw.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let (head, body) = raw.answer().await.unwrap();
        assert!(
            head.starts_with("HTTP/1.1 503 ") && head.to_lowercase().contains("retry-after: 1\r\n"),
            "{head}"
        );
        assert!(body.contains("no_upstream"), "{body}");
    }
    raw.send("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let (text, orderly) = raw.rest().await;
    assert!(orderly && text.starts_with("HTTP/1.1 503 ") && text.ends_with("\r\n\r\n"), "{text}");
}
