//! From single outcomes to intervals and a summary. Pure: every time is an argument, counted from the start.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::report::{FailureCount, FailureKind, Interval, Latency, Summary, TargetCount};

#[cfg(test)]
mod tests;

/// Instances told apart; the answers of all further ones are counted together as [`OTHERS`].
const INSTANCES: usize = 256;

/// See [`INSTANCES`].
const OTHERS: &str = "(others)";

/// How much of an error's text is kept, in characters.
const ERROR_CHARS: usize = 300;

/// The largest latency that is told apart, in microseconds: an hour.
const LATENCY_MAX_US: u64 = 3_600_000_000;

/// When requests are due: at a fixed rate, whatever becomes of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Requests per second; positive.
    pub rate: f64,
    /// How many requests; without it, no end.
    pub requests: Option<u64>,
    /// For how long; without it, no end.
    pub duration: Option<Duration>,
}

impl Schedule {
    /// When request `number` (from 0) is due; none if the schedule is over before.
    #[allow(clippy::cast_precision_loss)] // exact up to 2^53 requests
    pub fn due(&self, number: u64) -> Option<Duration> {
        if self.requests.is_some_and(|requests| number >= requests) {
            return None;
        }
        let due = Duration::try_from_secs_f64(number as f64 / self.rate).ok()?;
        self.duration.is_none_or(|duration| due < duration).then_some(due)
    }
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The instance that gave a valid answer, or the failure.
    pub result: Result<String, Failure>,
    /// Whether a kept connection was found closed and a new one opened.
    pub reconnected: bool,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its class.
    pub kind: FailureKind,
    /// Its own words.
    pub message: String,
}

impl Failure {
    /// A failure with its words.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// A request that has been sent and has no outcome yet.
#[derive(Debug)]
struct Open {
    due: Duration,
    target: String,
}

/// Counts that an interval and the summary have in common.
#[derive(Debug, Default)]
struct Tally {
    requests: u64,
    ok: u64,
    failed: u64,
    reconnects: u64,
    slowest: Duration,
    sent_late: Duration,
    instances: BTreeMap<String, u64>,
    failures: BTreeMap<FailureKind, FailureCount>,
}

impl Tally {
    fn answered(&mut self, instance: &str) {
        self.ok += 1;
        let known = self.instances.contains_key(instance) || self.instances.len() < INSTANCES;
        let name = if known { instance } else { OTHERS };
        match self.instances.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(self.instances.insert(name.to_owned(), 1)),
        }
    }

    fn failed(&mut self, kind: FailureKind, error: &str, now: Duration) {
        self.failed += 1;
        let first = || FailureCount { count: 0, first_ms: whole_ms(now), first_error: error.to_owned() };
        self.failures.entry(kind).or_insert_with(first).count += 1;
    }
}

/// Everything that happened since the start.
#[derive(Debug)]
pub struct Timeline {
    open: BTreeMap<u64, Open>,
    total: Tally,
    interval: Tally,
    interval_from: Duration,
    latencies: Histogram<u64>,
    targets: BTreeMap<String, TargetCount>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self::new()
    }
}

impl Timeline {
    /// An empty one.
    ///
    /// # Panics
    /// Never: the histogram's bounds are constants that it accepts.
    pub fn new() -> Self {
        Self {
            open: BTreeMap::new(),
            total: Tally::default(),
            interval: Tally::default(),
            interval_from: Duration::ZERO,
            latencies: Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("constant bounds are valid"),
            targets: BTreeMap::new(),
        }
    }

    /// Request `number`, due at `due`, goes to the base URL `target` at `now`.
    pub fn sent(&mut self, number: u64, due: Duration, target: &str, now: Duration) {
        let late = now.saturating_sub(due);
        for tally in [&mut self.total, &mut self.interval] {
            tally.requests += 1;
            tally.sent_late = tally.sent_late.max(late);
        }
        self.open.insert(number, Open { due, target: target.to_owned() });
    }

    /// A request that was due at `due` is not sent, because `limit` are in flight.
    pub fn overrun(&mut self, due: Duration, target: &str, limit: usize, now: Duration) {
        let error = format!("{target}: not sent, {limit} requests are in flight");
        let late = now.saturating_sub(due);
        for tally in [&mut self.total, &mut self.interval] {
            tally.requests += 1;
            tally.slowest = tally.slowest.max(late);
            tally.failed(FailureKind::Overrun, &error, now);
        }
        self.target(target).failed += 1;
    }

    /// Request `number` is over. One that was never sent is ignored.
    pub fn finished(&mut self, number: u64, outcome: &Outcome, now: Duration) {
        let Some(Open { due, target }) = self.open.remove(&number) else { return };
        let latency = now.saturating_sub(due);
        let verdict = match &outcome.result {
            Ok(instance) => Ok(instance),
            Err(Failure { kind, message }) => {
                Err((*kind, format!("{target}: {message}").chars().take(ERROR_CHARS).collect::<String>()))
            }
        };
        for tally in [&mut self.total, &mut self.interval] {
            tally.slowest = tally.slowest.max(latency);
            tally.reconnects += u64::from(outcome.reconnected);
            match &verdict {
                Ok(instance) => tally.answered(instance),
                Err((kind, text)) => tally.failed(*kind, text, now),
            }
        }
        if verdict.is_ok() {
            self.latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LATENCY_MAX_US));
            self.target(&target).ok += 1;
        } else {
            self.target(&target).failed += 1;
        }
    }

    /// Requests sent and not yet over.
    pub fn in_flight(&self) -> usize {
        self.open.len()
    }

    /// Ends the interval at `now` and begins the next.
    pub fn end_interval(&mut self, now: Duration) -> Interval {
        let tally = std::mem::take(&mut self.interval);
        let from = std::mem::replace(&mut self.interval_from, now);
        let oldest = self.open.values().map(|open| open.due).min();
        Interval {
            from_ms: whole_ms(from),
            to_ms: whole_ms(now),
            requests: tally.requests,
            ok: tally.ok,
            failed: tally.failed,
            reconnects: tally.reconnects,
            in_flight: self.open.len() as u64,
            oldest_in_flight_ms: oldest.map_or(0.0, |due| ms(now.saturating_sub(due))),
            slowest_ms: ms(tally.slowest),
            sent_late_ms: ms(tally.sent_late),
            instances: tally.instances,
            failures: tally.failures,
        }
    }

    /// The whole, ended at `now`: what is still open counts as unfinished.
    pub fn summary(self, now: Duration) -> Summary {
        let latencies = &self.latencies;
        let quantile = |q| ms(Duration::from_micros(latencies.value_at_quantile(q)));
        let latency = (!latencies.is_empty()).then(|| Latency {
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            p99_9_ms: quantile(0.999),
            max_ms: ms(Duration::from_micros(latencies.max())),
        });
        Summary {
            duration_ms: whole_ms(now),
            requests: self.total.requests,
            ok: self.total.ok,
            failed: self.total.failed,
            unfinished: self.open.len() as u64,
            reconnects: self.total.reconnects,
            latency,
            slowest_ms: ms(self.total.slowest),
            sent_late_ms: ms(self.total.sent_late),
            instances: self.total.instances,
            failures: self.total.failures,
            targets: self.targets,
        }
    }

    fn target(&mut self, url: &str) -> &mut TargetCount {
        self.targets.entry(url.to_owned()).or_default()
    }
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds with three decimals.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
