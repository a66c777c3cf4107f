use std::time::Duration;

use proptest::prelude::*;
use wire::Load;

use super::{Durations, LATENCY_OVER, LOOK_EVERY, RATE_OVER, Window, quantile};

const BOUNDS: [f64; 4] = [0.001, 0.002, 0.004, 0.008];

/// The counters after requests that took these times, in seconds.
fn after(times: &[f64]) -> Durations {
    let at_most = |bound: f64| times.iter().filter(|&&time| time <= bound).count() as u64;
    Durations {
        buckets: BOUNDS.iter().map(|&bound| (bound, at_most(bound))).collect(),
        count: times.len() as u64,
        seconds: times.iter().sum(),
    }
}

fn load(window: &Window) -> Load {
    let mut load = Load::default();
    window.fill(&mut load);
    load
}

#[test]
fn one_look_says_nothing() {
    let mut window = Window::default();
    assert_eq!(load(&window), Load::default());
    window.observe(Duration::from_secs(7), 1000, || after(&[0.001; 1000]));
    assert_eq!(load(&window), Load::default());
}

#[test]
fn the_rate_is_that_of_the_last_second() {
    let mut window = Window::default();
    let mut total = 0;
    for look in 0..100 {
        window.observe(LOOK_EVERY * look, total, Durations::default);
        assert!(window.totals.len() <= 11, "{}", window.totals.len());
        // 500 a second, and from the middle on 200.
        total += if look < 50 { 50 } else { 20 };
    }
    assert_eq!(load(&window).requests_per_second, Some(200.0));
    assert_eq!(load(&window).latency_ms, None, "no request was timed");
    window.observe(LOOK_EVERY * 99 + RATE_OVER, total, Durations::default);
    assert_eq!(load(&window).requests_per_second, Some(20.0), "those between the last look and now");
    window.observe(LOOK_EVERY * 99 + RATE_OVER * 2, total, Durations::default);
    assert_eq!(load(&window).requests_per_second, Some(0.0));
}

#[test]
fn the_latency_is_that_of_the_last_seconds() {
    let mut window = Window::default();
    let mut times = vec![0.1; 1000];
    window.observe(Duration::ZERO, 0, || after(&times));
    times.extend([0.0015; 99]);
    times.push(0.003);
    window.observe(Duration::from_secs(1), 0, || after(&times));
    let latency = load(&window).latency_ms.unwrap();
    assert!((latency.mean - 1.515).abs() < 1e-9 && (latency.p99 - 2.0).abs() < 1e-9, "{latency:?}");
    window.observe(Duration::from_secs(1) + LATENCY_OVER, 0, || after(&times));
    assert_eq!(load(&window).latency_ms, None);
}

#[test]
fn what_is_above_the_last_bound_counts_as_that() {
    let last = after(&[1.0; 3]);
    assert!((quantile(99, 3, &after(&[]), &last) - 0.008).abs() < 1e-12);
}

proptest! {
    #[test]
    fn the_quantile_is_in_the_bucket_of_the_true_one(
        before in prop::collection::vec(0.0f64..0.008, 0..50),
        mut during in prop::collection::vec(0.0f64..0.008, 1..300),
    ) {
        let all: Vec<f64> = before.iter().chain(&during).copied().collect();
        let count = during.len() as u64;
        let found = quantile(99, count, &after(&before), &after(&all));
        during.sort_by(f64::total_cmp);
        let truth = during[(during.len() * 99).div_ceil(100) - 1];
        let bucket = |time: f64| BOUNDS.iter().position(|&bound| time <= bound + 1e-12).unwrap();
        prop_assert_eq!(bucket(found), bucket(truth), "{} for {}", found, truth);
    }
}
