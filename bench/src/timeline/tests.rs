//! Scenarios told as times and outcomes, and what the report makes of them.

use std::time::Duration;

use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

use super::{Failure, Outcome, Schedule, Timeline};
use crate::report::{FailureKind, TargetCount};

const A: &str = "http://a";
const B: &str = "http://b";

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn ok(instance: &str) -> Outcome {
    Outcome { result: Ok(instance.to_owned()), reconnected: false }
}

fn failed(kind: FailureKind, message: &str) -> Outcome {
    Outcome { result: Err(Failure::new(kind, message)), reconnected: false }
}

#[test]
fn an_answer_belongs_to_the_interval_in_which_it_came() {
    let mut timeline = Timeline::new();
    timeline.sent(0, ms(0), A, ms(1));
    timeline.sent(1, ms(900), B, ms(900));
    timeline.finished(0, &ok("x"), ms(5));
    let first = timeline.end_interval(ms(1000));
    assert_eq!((first.from_ms, first.to_ms), (0, 1000));
    assert_eq!((first.requests, first.ok, first.failed, first.in_flight), (2, 1, 0, 1));
    assert_eq!((first.slowest_ms, first.oldest_in_flight_ms, first.sent_late_ms), (5.0, 100.0, 1.0));
    timeline.finished(1, &ok("y"), ms(1100));
    let second = timeline.end_interval(ms(2000));
    assert_eq!((second.from_ms, second.to_ms), (1000, 2000));
    assert_eq!((second.requests, second.ok, second.in_flight), (0, 1, 0));
    assert_eq!((second.slowest_ms, second.oldest_in_flight_ms, second.sent_late_ms), (200.0, 0.0, 0.0));
    assert_eq!(second.instances.into_iter().collect::<Vec<_>>(), [("y".to_owned(), 1)]);
    let summary = timeline.summary(ms(2000));
    assert_eq!((summary.requests, summary.ok, summary.unfinished, summary.duration_ms), (2, 2, 0, 2000));
    assert_eq!(summary.slowest_ms, 200.0);
    assert_eq!(summary.instances.len(), 2);
}

#[test]
fn a_stall_shows_in_every_request_it_delays() {
    // The prober itself was held up for a second: all that was due meanwhile is sent late, and is as slow
    // as a client that came at the due time would have seen it.
    let mut timeline = Timeline::new();
    for number in 0..10 {
        timeline.sent(number, ms(number * 100), A, ms(1000));
        timeline.finished(number, &ok("x"), ms(1000));
    }
    let summary = timeline.summary(ms(1000));
    let latency = summary.latency.expect("answers");
    assert_eq!((summary.sent_late_ms, summary.slowest_ms), (1000.0, 1000.0));
    assert!((499.0..=501.0).contains(&latency.p50_ms), "{latency:?}");
}

#[test]
fn failures_are_counted_by_kind_with_the_first_words() {
    let mut timeline = Timeline::new();
    for number in 0..4 {
        timeline.sent(number, ms(number), A, ms(number));
    }
    timeline.finished(0, &failed(FailureKind::Reset, "first"), ms(10));
    timeline.finished(1, &failed(FailureKind::Reset, "second"), ms(11));
    timeline.finished(2, &failed(FailureKind::Timeout, &"long ".repeat(1000)), ms(10_002));
    timeline.finished(3, &ok("x"), ms(20));
    timeline.overrun(ms(30), B, 4, ms(31));
    let summary = timeline.summary(ms(10_002));
    assert_eq!((summary.requests, summary.ok, summary.failed), (5, 1, 4));
    let reset = &summary.failures[&FailureKind::Reset];
    assert_eq!((reset.count, reset.first_ms, reset.first_error.as_str()), (2, 10, "http://a: first"));
    assert_eq!(summary.failures[&FailureKind::Timeout].first_error.chars().count(), 300);
    let overrun = &summary.failures[&FailureKind::Overrun];
    assert_eq!(overrun.first_error, "http://b: not sent, 4 requests are in flight");
    // The slowest includes failures; the latency is that of answers.
    assert_eq!(summary.slowest_ms, 10_000.0);
    assert!(summary.latency.expect("an answer").max_ms < 18.0);
    assert_eq!(summary.targets[A], TargetCount { ok: 1, failed: 3 });
    assert_eq!(summary.targets[B], TargetCount { ok: 0, failed: 1 });
}

#[test]
fn what_is_open_at_the_end_is_unfinished() {
    let mut timeline = Timeline::new();
    timeline.sent(0, ms(0), A, ms(0));
    timeline.finished(7, &ok("never sent"), ms(1));
    let summary = timeline.summary(ms(5));
    assert_eq!((summary.requests, summary.ok, summary.failed, summary.unfinished), (1, 0, 0, 1));
    assert_eq!(summary.latency, None);
}

#[test]
fn instances_are_bounded() {
    let mut timeline = Timeline::new();
    for number in 0..1000 {
        timeline.sent(number, ms(0), A, ms(0));
        timeline.finished(number, &ok(&format!("i{number}")), ms(1));
    }
    let summary = timeline.summary(ms(5));
    assert_eq!(summary.instances.len(), 257);
    assert_eq!(summary.instances["(others)"], 744);
}

#[test]
fn the_schedule_ends_at_whichever_limit_comes_first() {
    let endless = Schedule { rate: 100.0, requests: None, duration: None };
    assert_eq!(endless.due(0), Some(Duration::ZERO));
    assert_eq!(endless.due(150), Some(ms(1500)));
    let by_count = Schedule { requests: Some(3), ..endless };
    assert_eq!((by_count.due(2), by_count.due(3)), (Some(ms(20)), None));
    let by_time = Schedule { duration: Some(ms(50)), ..endless };
    assert_eq!((by_time.due(4), by_time.due(5)), (Some(ms(40)), None));
    let both = Schedule { requests: Some(3), duration: Some(ms(10)), ..endless };
    assert_eq!((both.due(0), both.due(1)), (Some(ms(0)), None));
}

proptest! {
    #[test]
    fn every_request_is_counted_once(ends in proptest::collection::vec((0_u64..500, 0_u8..4), 0..200)) {
        let mut timeline = Timeline::new();
        let mut from_intervals = (0, 0, 0);
        for (number, (latency, end)) in (0_u64..).zip(&ends) {
            let due = ms(number * 10);
            match end {
                0 => timeline.overrun(due, A, 1, due),
                1 => timeline.sent(number, due, A, due),
                _ => {
                    timeline.sent(number, due, B, due);
                    let outcome = if *end == 2 { ok("x") } else { failed(FailureKind::Reset, "r") };
                    timeline.finished(number, &outcome, due + ms(*latency));
                }
            }
            if number % 7 == 0 {
                let interval = timeline.end_interval(due);
                from_intervals.0 += interval.requests;
                from_intervals.1 += interval.ok;
                from_intervals.2 += interval.failed;
            }
        }
        let last = timeline.end_interval(ms(10_000));
        let open = timeline.in_flight() as u64;
        let summary = timeline.summary(ms(10_000));
        prop_assert_eq!(summary.requests, ends.len() as u64);
        prop_assert_eq!(summary.requests, summary.ok + summary.failed + summary.unfinished);
        prop_assert_eq!(summary.unfinished, open);
        prop_assert_eq!(from_intervals.0 + last.requests, summary.requests);
        prop_assert_eq!(from_intervals.1 + last.ok, summary.ok);
        prop_assert_eq!(from_intervals.2 + last.failed, summary.failed);
        let by_target: u64 = summary.targets.values().map(|target| target.ok + target.failed).sum();
        prop_assert_eq!(by_target + open, summary.requests);
        if let Some(latency) = summary.latency {
            prop_assert!(latency.p50_ms <= latency.p99_ms && latency.p99_ms <= latency.p99_9_ms);
        }
    }
}
