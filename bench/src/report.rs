//! What the prober reports, as data and as text. With `--json` each line is one [`Line`].

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// One line of the JSON output: an object whose `type` is `interval` or `summary`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Line {
    /// What happened since the last line.
    Interval(Interval),
    /// The last line: what happened in all.
    Summary(Summary),
}

/// What happened in one interval. An answer belongs to the interval in which it came, not to the one in
/// which its request was due.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Where it begins, in milliseconds since the start.
    pub from_ms: u64,
    /// Where it ends, in milliseconds since the start.
    pub to_ms: u64,
    /// Requests that became due.
    pub requests: u64,
    /// Valid answers.
    pub ok: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests for which a kept connection turned out to be closed and a new one was opened.
    pub reconnects: u64,
    /// Requests without an answer at the interval's end.
    pub in_flight: u64,
    /// How long the oldest of those has been due, in milliseconds.
    pub oldest_in_flight_ms: f64,
    /// The longest time from a request's due time to its end, answer or failure, in milliseconds.
    pub slowest_ms: f64,
    /// How late the prober itself sent at worst, in milliseconds. It is part of the latencies: if it is
    /// large, the prober's machine was too slow.
    pub sent_late_ms: f64,
    /// Valid answers by the instance that gave them.
    pub instances: BTreeMap<String, u64>,
    /// Failures by kind.
    pub failures: BTreeMap<FailureKind, FailureCount>,
}

/// What happened from start to end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// From the start to the last answer, in milliseconds.
    pub duration_ms: u64,
    /// Requests that became due: `ok + failed + unfinished`.
    pub requests: u64,
    /// Valid answers.
    pub ok: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests given up because the prober was told twice to stop.
    pub unfinished: u64,
    /// Requests for which a kept connection turned out to be closed and a new one was opened.
    pub reconnects: u64,
    /// Of valid answers, from the request's due time to the answer's last byte; none without any.
    pub latency: Option<Latency>,
    /// The longest time from a request's due time to its end, answer or failure, in milliseconds.
    pub slowest_ms: f64,
    /// How late the prober itself sent at worst, in milliseconds.
    pub sent_late_ms: f64,
    /// Valid answers by the instance that gave them.
    pub instances: BTreeMap<String, u64>,
    /// Failures by kind.
    pub failures: BTreeMap<FailureKind, FailureCount>,
    /// Requests by base URL.
    pub targets: BTreeMap<String, TargetCount>,
}

/// Percentiles, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half are faster.
    pub p50_ms: f64,
    /// 99 of 100 are faster.
    pub p99_ms: f64,
    /// 999 of 1000 are faster.
    pub p99_9_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No connection: refused, unreachable, reset while connecting.
    Connect,
    /// No whole answer in time, counted from the due time.
    Timeout,
    /// The connection was reset, or the system gave it up, after it was made.
    Reset,
    /// The connection was closed before the whole answer was there.
    Closed,
    /// What came is not HTTP.
    Protocol,
    /// An answer with a status from 400 to 499.
    #[serde(rename = "status_4xx")]
    Status4xx,
    /// An answer with a status from 500 to 599.
    #[serde(rename = "status_5xx")]
    Status5xx,
    /// An answer with another status than 200.
    StatusOther,
    /// Status 200, but not what the service's contract promises.
    Invalid,
    /// Never sent: as many requests as allowed were in flight.
    Overrun,
    /// The prober's own machine refused, for want of ports or file descriptors.
    Local,
}

impl FailureKind {
    /// The word used in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
            Self::Status4xx => "status_4xx",
            Self::Status5xx => "status_5xx",
            Self::StatusOther => "status_other",
            Self::Invalid => "invalid",
            Self::Overrun => "overrun",
            Self::Local => "local",
        }
    }
}

/// Failures of one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FailureCount {
    /// How many.
    pub count: u64,
    /// When the first one was seen, in milliseconds since the start.
    pub first_ms: u64,
    /// What the first one said, with the URL.
    pub first_error: String,
}

/// Requests to one base URL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetCount {
    /// Valid answers.
    pub ok: u64,
    /// Failures.
    pub failed: u64,
}

/// One line for people.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = (self.to_ms + 500) / 1000;
        write!(
            f,
            "{seconds:>4} s  ok {:>4}  failed {:>3}  slowest {:>7.1} ms",
            self.ok, self.failed, self.slowest_ms
        )?;
        if self.oldest_in_flight_ms > self.slowest_ms {
            write!(f, "  waiting {} for {:.1} ms", self.in_flight, self.oldest_in_flight_ms)?;
        }
        write!(f, "  {}", counts(&self.instances))?;
        for (kind, failure) in &self.failures {
            write!(f, "  [{} {}: {}]", failure.count, kind.as_str(), failure.first_error)?;
        }
        Ok(())
    }
}

/// A paragraph for people.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests in {:.1} s: {} ok, {} failed",
            self.requests,
            std::time::Duration::from_millis(self.duration_ms).as_secs_f64(),
            self.ok,
            self.failed
        )?;
        if self.unfinished > 0 {
            write!(f, ", {} unfinished", self.unfinished)?;
        }
        write!(f, ", {} reconnects; slowest {:.1} ms", self.reconnects, self.slowest_ms)?;
        if let Some(Latency { p50_ms, p99_ms, p99_9_ms, max_ms }) = self.latency {
            write!(
                f,
                "\n  latency: p50 {p50_ms:.1}, p99 {p99_ms:.1}, p99.9 {p99_9_ms:.1}, max {max_ms:.1} ms"
            )?;
        }
        write!(f, "\n  answered by: {}", counts(&self.instances))?;
        for (url, target) in &self.targets {
            write!(f, "\n  {url}: {} ok, {} failed", target.ok, target.failed)?;
        }
        for (kind, failure) in &self.failures {
            let FailureCount { count, first_ms, first_error } = failure;
            write!(f, "\n  {count} {}, first after {first_ms} ms: {first_error}", kind.as_str())?;
        }
        Ok(())
    }
}

fn counts(instances: &BTreeMap<String, u64>) -> String {
    if instances.is_empty() {
        return "nobody".to_owned();
    }
    instances.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}
