//! Every word of `on`, against everything that an upstream can do wrong.

use serde_json::json;

use crate::support::{Balancer, Does, Upstream, send};

const STATUSES: [(u16, &str, &str); 9] = [
    (400, "", "HTTP/1.1 400 No\r\nContent-Length: 3\r\n\r\n400"),
    (403, "http_403", "HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\n403"),
    (404, "http_404", "HTTP/1.1 404 No\r\nContent-Length: 3\r\n\r\n404"),
    (429, "http_429", "HTTP/1.1 429 No\r\nContent-Length: 3\r\n\r\n429"),
    (500, "http_500", "HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\n500"),
    (501, "", "HTTP/1.1 501 No\r\nContent-Length: 3\r\n\r\n501"),
    (502, "http_502", "HTTP/1.1 502 No\r\nContent-Length: 3\r\n\r\n502"),
    (503, "http_503", "HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\n503"),
    (504, "http_504", "HTTP/1.1 504 No\r\nContent-Length: 3\r\n\r\n504"),
];

/// What an upstream does, the word for it, and the status that the client gets when it is not retried.
fn failures() -> Vec<(Does, &'static str, u16)> {
    let mut all = vec![
        (Does::Refuses, "error", 502),
        (Does::ClosesAtOnce, "error", 502),
        (Does::ClosesAfterRequest, "error", 502),
        (Does::SaysAndResets("HTTP/1.1 200 OK\r\nContent-Le"), "error", 502),
        (Does::Ignores, "timeout", 504),
        (Does::Hangs, "timeout", 504),
        (Does::Drips, "timeout", 504),
        (Does::Says("this is not HTTP\r\n\r\n"), "invalid_header", 502),
        (Does::Says("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), "invalid_header", 502),
    ];
    all.extend(STATUSES.iter().map(|&(status, word, says)| (Does::Says(says), word, status)));
    all
}

/// What each failure leads to: whether another upstream was asked, and what the client got.
async fn outcomes(on: &str, method: &str) -> Vec<(bool, u16)> {
    let tables = format!("[retry]\n{on}\n[attempt]\nconnect_timeout_ms = 150\nread_timeout_ms = 150\n");
    let lb = Balancer::start("", &tables).await;
    let good = Upstream::new("good", Does::Serves).await;
    let mut outcomes = Vec::new();
    for (generation, (does, _, _)) in (1..).zip(failures()) {
        let bad = Upstream::new("bad", does).await;
        let incarnation = json!({"incarnation": generation});
        let set = vec![bad.with(&incarnation), good.with(&json!({"backup": true}))];
        lb.set_json(generation, set).await;
        let before = good.asked();
        let answer = send(lb.traffic, method, Vec::new()).await;
        outcomes.push((good.asked() > before, answer.status));
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread")]
async fn each_word_is_for_its_own_failures() {
    for on in [
        "error",
        "timeout",
        "invalid_header",
        "http_403",
        "http_404",
        "http_429",
        "http_500",
        "http_502",
        "http_503",
        "http_504",
    ] {
        let outcomes = outcomes(&format!("on = [{on:?}]"), "GET").await;
        for ((does, word, status), outcome) in failures().into_iter().zip(outcomes) {
            let expected = if word == on { (true, 200) } else { (false, status) };
            assert_eq!(outcome, expected, "{on}: {does:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_what_the_upstream_is_to_blame_for_is_retried() {
    let words = ["error", "timeout", "invalid_header", "http_502", "http_503", "http_504"];
    for ((does, word, status), outcome) in failures().into_iter().zip(outcomes("", "GET").await) {
        let expected = if words.contains(&word) { (true, 200) } else { (false, status) };
        assert_eq!(outcome, expected, "{does:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn off_is_for_all() {
    for ((does, _, status), outcome) in failures().into_iter().zip(outcomes("on = [\"off\"]", "GET").await) {
        assert_eq!(outcome, (false, status), "{does:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_was_sent_needs_the_administrators_word() {
    let on = "on = [\"error\", \"timeout\", \"invalid_header\", \"http_500\"]";
    let listed = ["error", "timeout", "invalid_header", "http_500"];
    for ((does, word, status), outcome) in failures().into_iter().zip(outcomes(on, "POST").await) {
        let unsent = matches!(does, Does::Refuses | Does::Ignores);
        // How much of a request was sent when the connection closed at once is for chance to say.
        let chance = matches!(does, Does::ClosesAtOnce) && outcome == (true, 200);
        let expected = if unsent && listed.contains(&word) || chance { (true, 200) } else { (false, status) };
        assert_eq!(outcome, expected, "{does:?}");
    }
    let word = "on = [\"error\", \"timeout\", \"invalid_header\", \"http_500\", \"non_idempotent\"]";
    for on in [word, &format!("{on}\nnon_idempotent = true")] {
        for ((does, word, status), outcome) in failures().into_iter().zip(outcomes(on, "POST").await) {
            let expected = if listed.contains(&word) { (true, 200) } else { (false, status) };
            assert_eq!(outcome, expected, "{on}: {does:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_are_idempotent_or_not() {
    let lb = Balancer::start("", "").await;
    let bad = Upstream::new("bad", Does::ClosesAfterRequest).await;
    let good = Upstream::new("good", Does::Serves).await;
    lb.set_json(1, vec![bad.json(), good.with(&json!({"backup": true}))]).await;
    for (method, retried) in [
        ("GET", true),
        ("PUT", true),
        ("DELETE", true),
        ("OPTIONS", true),
        ("TRACE", true),
        ("POST", false),
        ("PATCH", false),
        ("LOCK", false),
        ("X-OWN", false),
        ("get", false),
    ] {
        let status = send(lb.traffic, method, Vec::new()).await.status;
        assert_eq!(status, if retried { 200 } else { 502 }, "{method}");
    }
}
