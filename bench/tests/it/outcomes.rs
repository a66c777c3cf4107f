//! What the prober makes of each deed of a server.

use std::net::SocketAddr;
use std::sync::Arc;

use bench::options::ProbeOptions;
use bench::probe::{Stop, run};
use bench::report::{FailureKind, Interval, Line, Summary};
use tokio::net::TcpListener;
use tokio::sync::{Barrier, mpsc, watch};

use crate::server::{Bytewise, Deed, bytewise, http};

fn options(urls: &[SocketAddr], requests: u64) -> ProbeOptions {
    ProbeOptions {
        urls: urls.iter().map(|addr| format!("http://{addr}")).collect(),
        paths: vec!["/int".to_owned()],
        rate: 500.0,
        duration: None,
        requests: Some(requests),
        timeout_ms: 20_000,
        max_in_flight: 1_000,
        new_connections: false,
        report_interval_ms: 50,
        json: true,
        fail_on_error: false,
    }
}

async fn probe(options: ProbeOptions) -> Summary {
    let (_stop, stopped) = watch::channel(Stop::Run);
    probe_until(options, stopped).await.1
}

async fn probe_until(options: ProbeOptions, stop: watch::Receiver<Stop>) -> (Vec<Interval>, Summary) {
    let mut intervals = Vec::new();
    let mut last = None;
    let summary = run(options.plan().expect("a plan"), stop, |line| {
        assert_eq!(last, None, "nothing follows the summary");
        match line {
            Line::Interval(interval) => intervals.push(interval.clone()),
            Line::Summary(summary) => last = Some(summary.clone()),
        }
        Ok(())
    });
    let summary = summary.await.expect("no error");
    assert_eq!(last.as_ref(), Some(&summary));
    assert_eq!(summary.requests, summary.ok + summary.failed + summary.unfinished);
    assert_eq!(intervals.iter().map(|interval| interval.ok).sum::<u64>(), summary.ok);
    assert_eq!(intervals.iter().map(|interval| interval.failed).sum::<u64>(), summary.failed);
    (intervals, summary)
}

fn only_failure(summary: &Summary) -> (FailureKind, u64, &str) {
    assert_eq!(summary.failures.len(), 1, "{summary:?}");
    let (kind, failure) = summary.failures.iter().next().expect("one");
    (*kind, failure.count, &failure.first_error)
}

#[tokio::test]
async fn right_answers_are_counted_by_instance_and_target() {
    let (a, b) = (http(|_, _| Deed::Right).await, http(|_, _| Deed::Right).await);
    let mut options = options(&[a, b], 80);
    options.paths = ["/bool", "/int", "/float", "/double"].map(str::to_owned).to_vec();
    let summary = probe(options).await;
    assert_eq!((summary.ok, summary.failed, summary.reconnects), (80, 0, 0), "{summary:?}");
    assert_eq!(summary.instances.values().copied().collect::<Vec<_>>(), [20; 4]);
    assert_eq!(summary.targets.values().map(|target| target.ok).collect::<Vec<_>>(), [40; 2]);
    assert!(summary.latency.expect("answers").max_ms > 0.0);
}

#[tokio::test]
async fn wrong_answers_are_failures_of_their_kind() {
    for (deed, kind, words) in [
        (Deed::Answer(502, "gone"), FailureKind::Status5xx, "502 Bad Gateway: gone"),
        (Deed::Answer(404, ""), FailureKind::Status4xx, "404 Not Found"),
        (Deed::Answer(204, ""), FailureKind::StatusOther, "204 No Content"),
        (Deed::Answer(302, ""), FailureKind::StatusOther, "302 Found"),
        (
            Deed::Answer(200, r#"{"kind":"bool","value":true,"instance":"x"}"#),
            FailureKind::Invalid,
            "kind is",
        ),
        (Deed::Answer(200, "<html>"), FailureKind::Invalid, "/int: body: "),
    ] {
        let server = http(move |_, _| deed.clone()).await;
        let summary = probe(options(&[server], 5)).await;
        let (found, count, error) = only_failure(&summary);
        assert_eq!((found, count), (kind, 5));
        assert!(error.starts_with(&format!("http://{server}: ")) && error.contains(words), "{error}");
        assert_eq!(summary.latency, None);
    }
}

#[tokio::test]
async fn broken_connections_are_failures_of_their_kind() {
    for (deed, kind) in [
        (Bytewise::Close, FailureKind::Closed),
        (Bytewise::HalfAnAnswer, FailureKind::Closed),
        (Bytewise::Reset, FailureKind::Reset),
        (Bytewise::Nonsense, FailureKind::Protocol),
    ] {
        let server = bytewise(deed).await;
        let (found, count, error) = {
            let summary = probe(options(&[server], 5)).await;
            let (found, count, error) = only_failure(&summary);
            (found, count, error.to_owned())
        };
        assert_eq!((found, count), (kind, 5), "{deed:?}: {error}");
    }
}

#[tokio::test]
async fn nobody_listening_is_a_failure_to_connect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    drop(listener);
    let summary = probe(options(&[addr], 5)).await;
    let (kind, count, error) = only_failure(&summary);
    assert_eq!((kind, count), (FailureKind::Connect, 5));
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn with_new_connections_none_is_ever_found_closed() {
    let server = bytewise(Bytewise::AnswerThenClose).await;
    let mut options = options(&[server], 10);
    options.rate = 20.0;
    options.new_connections = true;
    let summary = probe(options).await;
    assert_eq!((summary.ok, summary.failed, summary.reconnects), (10, 0, 0), "{summary:?}");
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_opened_again_and_no_failure() {
    let server = bytewise(Bytewise::AnswerThenClose).await;
    // Slow enough for each close to arrive before the next request.
    let mut options = options(&[server], 10);
    options.rate = 20.0;
    let summary = probe(options).await;
    assert_eq!((summary.ok, summary.failed), (10, 0), "{summary:?}");
    assert!(
        (1..=9).contains(&summary.reconnects),
        "later requests found their connection closed: {summary:?}"
    );
}

#[tokio::test]
async fn silence_ends_at_the_time_out() {
    let server = http(|_, _| Deed::Silence).await;
    let mut options = options(&[server], 1);
    options.timeout_ms = 100;
    let summary = probe(options).await;
    let (kind, count, error) = only_failure(&summary);
    assert_eq!((kind, count), (FailureKind::Timeout, 1));
    assert!(error.ends_with("timed out while waiting for an answer"), "{error}");
    assert!(summary.slowest_ms >= 100.0);
}

#[tokio::test]
async fn the_schedule_does_not_wait_for_answers() {
    // No request is answered before all have been sent.
    let barrier = Arc::new(Barrier::new(50));
    let server = http(move |_, _| Deed::Together(Arc::clone(&barrier))).await;
    let summary = probe(options(&[server], 50)).await;
    assert_eq!((summary.ok, summary.failed), (50, 0), "{summary:?}");
    // The first one waited for the last one to become due.
    assert!(summary.slowest_ms >= 98.0, "{summary:?}");
}

#[tokio::test]
async fn what_is_open_is_reported_with_its_age() {
    let barrier = Arc::new(Barrier::new(2));
    let server = http({
        let barrier = Arc::clone(&barrier);
        move |_, _| Deed::Together(Arc::clone(&barrier))
    })
    .await;
    let (reports, mut reported) = mpsc::unbounded_channel();
    let (_stop, stopped) = watch::channel(Stop::Run);
    let probing = tokio::spawn(run(options(&[server], 1).plan().expect("a plan"), stopped, move |line| {
        // The test may have seen enough.
        drop(reports.send(line.clone()));
        Ok(())
    }));
    let Some(Line::Interval(interval)) = reported.recv().await else { panic!("no interval") };
    assert_eq!((interval.requests, interval.ok, interval.in_flight), (1, 0, 1), "{interval:?}");
    assert!(interval.oldest_in_flight_ms >= 50.0 && interval.slowest_ms == 0.0, "{interval:?}");
    barrier.wait().await;
    assert_eq!(probing.await.expect("no panic").expect("no error").ok, 1);
}

#[tokio::test]
async fn what_is_not_sent_for_want_of_room_has_failed() {
    let server = http(|_, _| Deed::Silence).await;
    let mut options = options(&[server], 10);
    options.max_in_flight = 3;
    options.timeout_ms = 2_000;
    let summary = probe(options).await;
    assert_eq!(summary.failures[&FailureKind::Timeout].count, 3);
    assert_eq!(summary.failures[&FailureKind::Overrun].count, 7);
    assert_eq!((summary.requests, summary.failed), (10, 10));
}

/// Runs until the server has got a request, and then until what `order` leads to.
async fn stopped_at_first_request(order: Stop, barrier: Arc<Barrier>) -> Summary {
    let (got, mut request) = mpsc::unbounded_channel();
    let server = http({
        let barrier = Arc::clone(&barrier);
        move |number, _| {
            got.send(number).expect("the test waits for it");
            Deed::Together(Arc::clone(&barrier))
        }
    })
    .await;
    let mut slow = options(&[server], 1);
    (slow.requests, slow.rate) = (None, 0.01);
    let (stop, stopped) = watch::channel(Stop::Run);
    let probing = tokio::spawn(probe_until(slow, stopped));
    assert_eq!(request.recv().await, Some(0));
    stop.send_replace(order);
    if order == Stop::Finish {
        barrier.wait().await;
    }
    probing.await.expect("no panic").1
}

#[tokio::test]
async fn the_first_stop_waits_for_open_requests() {
    let summary = stopped_at_first_request(Stop::Finish, Arc::new(Barrier::new(2))).await;
    assert_eq!((summary.requests, summary.ok, summary.unfinished), (1, 1, 0), "{summary:?}");
}

#[tokio::test]
async fn the_second_stop_gives_up_what_is_open() {
    let summary = stopped_at_first_request(Stop::Abandon, Arc::new(Barrier::new(2))).await;
    assert_eq!((summary.requests, summary.ok, summary.unfinished), (1, 0, 1), "{summary:?}");
}
