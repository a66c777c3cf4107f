//! Bodies that are sent again: the same bytes, or not at all.

use serde_json::json;

use crate::support::{Balancer, Does, Raw, Upstream, send, until};

/// A bad upstream that is asked first, and a good one.
async fn pair(bad: Does, tables: &str) -> (Balancer, Upstream, Upstream) {
    let lb = Balancer::start("", tables).await;
    let bad = Upstream::new("bad", bad).await;
    let good = Upstream::new("good", Does::Serves).await;
    lb.set_json(1, vec![bad.json(), good.with(&json!({"backup": true}))]).await;
    (lb, bad, good)
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn up_to_the_limit_a_body_of_fixed_length_is_replayed() {
    for bad in [Does::ClosesAfterRequest, Does::ClosesAfterHead] {
        let (lb, bad, good) = pair(bad, "[retry]\nbody_limit_bytes = 100000\n").await;
        for length in [0, 1, 8191, 8192, 65_536, 100_000] {
            let body = noise(length);
            assert_eq!(send(lb.traffic, "PUT", body.clone()).await.status, 200, "{length}");
            assert!(good.requests().last().unwrap().body == body, "{length} other bytes");
        }
        assert_eq!(bad.asked(), 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_limit_a_body_is_sent_once() {
    let (lb, bad, good) = pair(Does::ClosesAfterRequest, "[retry]\nbody_limit_bytes = 1000\n").await;
    let answer = send(lb.traffic, "PUT", noise(1001)).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_failed"));
    assert!(answer.text().contains("body_not_replayable"), "{}", answer.text());
    assert_eq!((bad.asked(), good.asked()), (1, 0));
    assert_eq!(send(lb.traffic, "PUT", noise(1000)).await.status, 200);
    // What was never sent needs no replay.
    let (lb, _bad, good) = pair(Does::Refuses, "[retry]\nbody_limit_bytes = 0\n").await;
    assert_eq!(send(lb.traffic, "PUT", noise(200_000)).await.status, 200);
    assert!(good.requests()[0].body == noise(200_000));
    assert_eq!(send(lb.traffic, "POST", noise(200_000)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_is_replayed_with_its_trailers() {
    let (lb, bad, good) = pair(Does::ClosesAfterRequest, "[retry]\nbody_limit_bytes = 1000\n").await;
    let head = "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut raw = Raw::connect(lb.traffic).await;
    raw.send(&format!("{head}5\r\nhello\r\n1;x=y\r\n,\r\n6\r\n world\r\n0\r\nX-Sum: 17\r\n\r\n")).await;
    let (answer, body) = raw.answer().await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && body == "host1/good 1 12", "{answer}{body}");
    for upstream in [&bad, &good] {
        let got = &upstream.requests()[0];
        assert_eq!((got.body.as_slice(), got.trailers.as_str()), (&b"hello, world"[..], "X-Sum: 17\r\n"));
    }
    let chunk = format!("1f5\r\n{}\r\n", "x".repeat(501));
    raw.send(&format!("{head}{chunk}{chunk}0\r\n\r\n")).await;
    let (answer, body) = raw.answer().await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 ") && body.contains("body_not_replayable"), "{answer}{body}");
    assert_eq!((bad.asked(), good.asked()), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_still_coming_goes_on_at_the_next_upstream() {
    let (lb, bad, good) = pair(Does::ClosesAfterHead, "").await;
    for (retries, head, first, rest) in [
        (1.0, "Content-Length: 10", "first", "after"),
        (2.0, "Transfer-Encoding: chunked", "5\r\nfirst\r\n", "5\r\nafter\r\n0\r\nX-End: 1\r\n\r\n"),
    ] {
        let mut raw = Raw::connect(lb.traffic).await;
        raw.send(&format!("PUT / HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n{first}")).await;
        until("the good one is asked", async || lb.retries("reset").await == retries).await;
        raw.send(rest).await;
        let (answer, body) = raw.answer().await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && body.ends_with(" 10"), "{answer}{body}");
        assert_eq!(good.requests().last().unwrap().body, b"firstafter");
    }
    assert_eq!(bad.asked(), 2);
    assert_eq!(good.requests()[1].trailers, "X-End: 1\r\n");
}
