//! A response that breaks after its first byte: the client sees the break, whatever the framing.

use serde_json::json;
use tokio::sync::watch;

use crate::support::{Balancer, Does, Raw, Then, Upstream};

const FIXED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n";
const WITHIN_CHUNK: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\npart";
const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\n\r\npart";

/// What follows the part that the client had when the response broke, and whether it ended in order.
async fn after_the_part(says: &'static str, then: Then, version: &str) -> (String, bool, Upstream) {
    let (gate, open) = watch::channel(false);
    let breaks = Upstream::new("breaks", Does::Begins(says, open, then)).await;
    let good = Upstream::new("good", Does::Serves).await;
    let lb = Balancer::start("", "[retry]\ntries = 5\n").await;
    lb.set_json(1, vec![breaks.json(), good.with(&json!({"backup": true}))]).await;
    let mut raw = Raw::connect(lb.traffic).await;
    raw.send(&format!("GET / {version}\r\nHost: x\r\n\r\n")).await;
    let part = raw.until("part").await.unwrap();
    assert!(part.starts_with("HTTP/1.1 200 OK\r\n"), "{part}");
    gate.send_replace(true);
    let (rest, orderly) = raw.rest().await;
    assert_eq!(good.asked(), 0, "{says:?} {then:?}");
    (rest, orderly, breaks)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_a_reset_and_nothing_else() {
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        for (says, then) in [
            (FIXED, Then::Closes),
            (FIXED, Then::Resets),
            (CHUNKED, Then::Closes),
            (CHUNKED, Then::Resets),
            (CHUNKED, Then::Says("x\r\n")),
            (WITHIN_CHUNK, Then::Closes),
            (WITHIN_CHUNK, Then::Resets),
            // An orderly end is the end of such a response; anything else is not.
            (UNTIL_CLOSE, Then::Resets),
        ] {
            let (rest, orderly, breaks) = after_the_part(says, then, version).await;
            assert!(!orderly, "{version} {says:?} {then:?}: taken for an end: {rest:?}");
            assert!(!rest.contains("host1/") && !rest.contains("0\r\n\r\n"), "{version} {says:?}: {rest:?}");
            assert_eq!(breaks.asked(), 1, "{version} {says:?} {then:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_in_order_ends_in_order() {
    for (says, then, version, end) in [
        (UNTIL_CLOSE, Then::Closes, "HTTP/1.0", ""),
        (CHUNKED, Then::Says("0\r\n\r\n"), "HTTP/1.0", ""),
        (WITHIN_CHUNK, Then::Says(" two.\r\n0\r\n\r\n"), "HTTP/1.0", " two."),
    ] {
        let (rest, orderly, _) = after_the_part(says, then, version).await;
        assert_eq!((rest.as_str(), orderly), (end, true), "{version} {says:?} {then:?}");
    }
    let (gate, open) = watch::channel(true);
    let upstream = Upstream::new("a", Does::Begins(UNTIL_CLOSE, open, Then::Closes)).await;
    let lb = Balancer::start("", "").await;
    lb.set(1, &[&upstream]).await;
    let mut raw = Raw::connect(lb.traffic).await;
    raw.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let all = raw.until("0\r\n\r\n").await.unwrap();
    assert!(all.to_lowercase().contains("\r\ntransfer-encoding: chunked\r\n"), "{all}");
    drop(gate);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_break_is_counted_and_is_no_retry() {
    let (gate, open) = watch::channel(true);
    let breaks = Upstream::new("breaks", Does::Begins(FIXED, open, Then::Resets)).await;
    let lb = Balancer::start("", "").await;
    lb.set(1, &[&breaks]).await;
    let mut raw = Raw::connect(lb.traffic).await;
    raw.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(!raw.rest().await.1);
    let outcome = format!("lb_attempts_total{{outcome=\"reset\",upstream=\"{}\"}}", breaks.id);
    assert_eq!(lb.metric(&outcome).await, Some(1.0));
    assert_eq!(lb.status_of(&breaks).await["failures_total"], 1);
    assert_eq!(lb.retries("reset").await, 0.0);
    drop(gate);
}
