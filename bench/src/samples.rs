//! Single requests, and what is said of many: how many failed, how slow the slow ones were, and until when.
//!
//! Exact: quantiles are those of the samples themselves (nearest rank), not of a histogram's buckets.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::report::FailureKind;

#[cfg(test)]
mod tests;

/// One request that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When it was due, from the start.
    pub due: Duration,
    /// From then to its end, answer or failure.
    pub latency: Duration,
    /// How it failed, if it did.
    pub failure: Option<FailureKind>,
}

impl Sample {
    /// When it was over, from the start.
    pub fn end(&self) -> Duration {
        self.due + self.latency
    }
}

/// What requests went through. Failed ones count in every number, with the time until they failed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many there were.
    pub requests: u64,
    /// How many failed.
    pub failed: u64,
    /// Failures by kind.
    pub failures: BTreeMap<FailureKind, u64>,
    /// Half are at most this slow, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 are at most this slow, in milliseconds.
    pub p99_ms: f64,
    /// 999 of 1000 are at most this slow, in milliseconds.
    pub p99_9_ms: f64,
    /// The slowest, in milliseconds.
    pub slowest_ms: f64,
    /// How many were slower than the threshold.
    pub slow: u64,
    /// When the last of those was over, from the instant given, in milliseconds; none without any.
    pub last_slow_ms: Option<f64>,
}

impl Spread {
    /// Of all samples; slower than `threshold` is slow, and `since` is the instant from which the end of trouble
    /// is counted.
    pub fn of(samples: &[Sample], threshold: Duration, since: Duration) -> Self {
        let mut latencies: Vec<Duration> = samples.iter().map(|sample| sample.latency).collect();
        latencies.sort_unstable();
        let mut failures = BTreeMap::new();
        for kind in samples.iter().filter_map(|sample| sample.failure) {
            *failures.entry(kind).or_default() += 1;
        }
        let slow = || samples.iter().filter(|sample| sample.latency > threshold);
        let at = |quantile| quantile_of(&latencies, quantile).map_or(0.0, ms);
        Self {
            requests: samples.len() as u64,
            failed: failures.values().sum(),
            failures,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p99_9_ms: at(0.999),
            slowest_ms: at(1.0),
            slow: slow().count() as u64,
            last_slow_ms: slow().map(Sample::end).max().map(|end| ms(end.saturating_sub(since))),
        }
    }
}

/// Those that were due in `from..to`.
pub fn due_within(samples: &[Sample], from: Duration, to: Duration) -> Vec<Sample> {
    samples.iter().filter(|sample| from <= sample.due && sample.due < to).copied().collect()
}

/// The smallest member that at least the share `quantile` (0 to 1) of all members do not exceed; none of none.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)] // 0 to len
pub fn quantile_of<T: Copy>(sorted: &[T], quantile: f64) -> Option<T> {
    // Products such as 0.999 * 1000 may come out a hair above the whole number they stand for.
    let rank = (quantile.clamp(0.0, 1.0) * sorted.len() as f64 - 1e-9).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Milliseconds with three decimals.
pub fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
