//! Ranks, and what a spread says of hand-made samples.

use std::time::Duration;

use proptest::prelude::*;

use super::{Sample, Spread, due_within, ms, quantile_of};
use crate::report::FailureKind;

fn sample(due: u64, latency: u64, failure: Option<FailureKind>) -> Sample {
    Sample { due: Duration::from_millis(due), latency: Duration::from_millis(latency), failure }
}

#[test]
fn ranks() {
    let hundred: Vec<u32> = (1..=100).collect();
    let thousand: Vec<u32> = (1..=1000).collect();
    for (quantile, expected) in [(0.0, 1), (0.5, 50), (0.99, 99), (0.999, 100), (1.0, 100)] {
        assert_eq!(quantile_of(&hundred, quantile), Some(expected), "{quantile}");
    }
    assert_eq!(quantile_of(&thousand, 0.999), Some(999));
    assert_eq!(quantile_of(&[7], 0.5), Some(7));
    assert_eq!(quantile_of::<u32>(&[], 0.5), None);
}

#[test]
fn a_spread_counts_failures_and_the_end_of_trouble() {
    let samples = [
        sample(0, 1, None),
        sample(3000, 400, None),
        sample(3100, 10_000, Some(FailureKind::Timeout)),
        sample(3200, 100, None),
        sample(3300, 2, Some(FailureKind::Status5xx)),
    ];
    let spread = Spread::of(&samples, Duration::from_millis(100), Duration::from_millis(3000));
    assert_eq!((spread.requests, spread.failed, spread.slow), (5, 2, 2));
    assert_eq!(spread.failures[&FailureKind::Timeout], 1);
    assert_eq!(spread.failures[&FailureKind::Status5xx], 1);
    assert_eq!(spread.last_slow_ms, Some(10_100.0));
    assert!((spread.slowest_ms - 10_000.0).abs() < f64::EPSILON);
    assert!((spread.p50_ms - 100.0).abs() < f64::EPSILON);
}

#[test]
fn nothing_is_no_trouble() {
    let spread = Spread::of(&[], Duration::from_millis(100), Duration::ZERO);
    assert_eq!(spread, Spread::default());
}

#[test]
fn windows_are_half_open_and_go_by_the_due_time() {
    let samples = [sample(9, 50, None), sample(10, 1, None), sample(19, 500, None), sample(20, 1, None)];
    let within = due_within(&samples, Duration::from_millis(10), Duration::from_millis(20));
    assert_eq!(within, samples[1..3]);
}

proptest! {
    #[test]
    #[allow(clippy::cast_precision_loss)]
    fn a_quantile_is_the_smallest_that_enough_do_not_exceed(
        mut values in prop::collection::vec(0_u32..1000, 1..400),
        per_mille in 0_u32..=1000,
    ) {
        values.sort_unstable();
        let quantile = f64::from(per_mille) / 1000.0;
        let found = quantile_of(&values, quantile).unwrap();
        let share = |limit: u32| values.iter().filter(|value| **value <= limit).count() as f64 / values.len() as f64;
        prop_assert!(share(found) >= quantile - 1e-9);
        // Whatever is smaller does not cover the share.
        if let Some(smaller) = values.iter().rev().find(|value| **value < found) {
            prop_assert!(share(*smaller) < quantile);
        }
    }

    #[test]
    fn a_spread_does_not_depend_on_the_order(
        latencies in prop::collection::vec(0_u64..500, 1..100),
        rotation in 0_usize..100,
    ) {
        let mut samples: Vec<_> =
            latencies.iter().zip(0..).map(|(latency, due)| sample(due, *latency, None)).collect();
        let threshold = Duration::from_millis(100);
        let spread = Spread::of(&samples, threshold, Duration::ZERO);
        let by = rotation % samples.len();
        samples.rotate_left(by);
        prop_assert_eq!(&spread, &Spread::of(&samples, threshold, Duration::ZERO));
        prop_assert_eq!(spread.last_slow_ms.is_some(), spread.slow > 0);
        prop_assert_eq!(spread.slowest_ms, ms(samples.iter().map(|sample| sample.latency).max().unwrap()));
    }
}
