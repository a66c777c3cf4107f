//! How busy the load balancer was lately: what its heartbeat says for whoever adds and takes away capacity.
//!
//! Counters that only grow are looked at now and then; the difference of two looks is what happened between them.
//! Requests pay nothing for it. It refuses to smooth: whoever reads the heartbeat knows better over what time.

use std::collections::VecDeque;
use std::time::Duration;

use wire::{Latency, Load};

/// How often [`Window::observe`] wants to be called.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Over what time requests are counted.
const RATE_OVER: Duration = Duration::from_secs(1);

/// Over what time the duration of requests is looked at, and how fine.
const LATENCY_OVER: Duration = Duration::from_secs(5);
const LATENCY_STEP: Duration = Duration::from_millis(500);

/// How long requests took, as counted from the start on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Durations {
    /// Upper bounds in seconds, growing, and how many requests took at most so long. The requests that took longer
    /// than the last bound are in `count` only.
    pub buckets: Vec<(f64, u64)>,
    /// All requests.
    pub count: u64,
    /// The time that all took together, in seconds.
    pub seconds: f64,
}

/// The looks of the last seconds. Times are those of any clock that does not go backwards.
#[derive(Debug, Default)]
pub struct Window {
    totals: VecDeque<(Duration, u64)>,
    durations: VecDeque<(Duration, Durations)>,
}

impl Window {
    /// Looks once. `durations` is asked for seldom, since it costs more than a number.
    pub fn observe(&mut self, now: Duration, requests_total: u64, durations: impl FnOnce() -> Durations) {
        push(&mut self.totals, now, RATE_OVER, requests_total);
        if self.durations.back().is_none_or(|(last, _)| now.saturating_sub(*last) >= LATENCY_STEP) {
            push(&mut self.durations, now, LATENCY_OVER, durations());
        }
    }

    /// What the looks say, put into `load`: nothing while there is only one.
    pub fn fill(&self, load: &mut Load) {
        load.requests_per_second = self.requests_per_second();
        load.latency_ms = self.latency();
    }

    fn requests_per_second(&self) -> Option<f64> {
        let ((begin, first), (end, last)) = (self.totals.front()?, self.totals.back()?);
        let seconds = end.saturating_sub(*begin).as_secs_f64();
        (seconds > 0.0).then(|| round(to_float(last.saturating_sub(*first)) / seconds, 10.0))
    }

    fn latency(&self) -> Option<Latency> {
        let ((_, first), (_, last)) = (self.durations.front()?, self.durations.back()?);
        let count = last.count.saturating_sub(first.count);
        if count == 0 {
            return None;
        }
        let mean = (last.seconds - first.seconds) / to_float(count);
        let p99 = quantile(99, count, first, last);
        Some(Latency { mean: round(mean * 1000.0, 1000.0), p99: round(p99 * 1000.0, 1000.0) })
    }
}

/// Adds a look and drops those of which a later one is old enough too.
fn push<T>(looks: &mut VecDeque<(Duration, T)>, now: Duration, over: Duration, look: T) {
    looks.push_back((now, look));
    while looks.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= over) {
        looks.pop_front();
    }
}

/// The time in seconds that so many percent of the `count` requests between two looks took at most, taken as
/// evenly spread within their bucket. For what is above the last bound, that bound.
fn quantile(percent: u64, count: u64, first: &Durations, last: &Durations) -> f64 {
    let rank = (count * percent).div_ceil(100);
    let (mut lower, mut before) = (0.0, 0);
    for (&(bound, old), &(_, new)) in first.buckets.iter().zip(&last.buckets) {
        let so_far = new.saturating_sub(old);
        if so_far >= rank {
            let share = to_float(rank - before) / to_float(so_far - before);
            return lower + (bound - lower) * share;
        }
        (lower, before) = (bound, so_far.max(before));
    }
    lower
}

/// To this fraction of one.
fn round(value: f64, fraction: f64) -> f64 {
    (value * fraction).round() / fraction
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a number of requests above 2^53 does not occur in some seconds"
)]
const fn to_float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
