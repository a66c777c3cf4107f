//! A run as a file: what clients saw, and what was done and said meanwhile. `bench probe` and `bench failover` write it,
//! `bench report` reads it.
//!
//! All times are milliseconds from the run's start, on the prober's monotonic clock; `started_unix_ms` ties that to the
//! wall clock once, so that a clock that is set meanwhile moves nothing. It refuses to lose a failure: when there
//! are too many samples to keep, failed and slow ones are kept and ordinary ones are thinned.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::report::{FailureKind, Summary};
use crate::rig::environment::Environment;

/// The version of the file's form that this program writes and reads.
pub const FORMAT: u32 = 1;

/// Everything there is to say about one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// Which command wrote it: `probe` or `failover`.
    pub bench: String,
    /// A line for people: what was tried.
    pub title: String,
    /// On what and with what.
    pub environment: Environment,
    /// The wall clock at the run's start, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// What clients did.
    pub clients: Clients,
    /// What they saw in all.
    pub summary: Summary,
    /// How well the prober itself kept its schedule.
    pub schedule: Lateness,
    /// Latency of valid answers and failures alike, from the due time; ascending by quantile.
    pub quantiles: Vec<Quantile>,
    /// Times in which requests failed, in order, without overlap.
    pub outages: Vec<Outage>,
    /// The run in slices of equal length, in order, without gaps.
    pub slices: Vec<Slice>,
    /// Single requests, by due time.
    pub points: Points,
    /// What the managers said, by time.
    pub events: Vec<Said>,
    /// What was done to the cluster, by time; empty for a mere probe.
    pub faults: Vec<Done>,
}

/// What clients did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clients {
    /// Base URLs, asked in turn.
    pub urls: Vec<String>,
    /// Paths, asked in turn.
    pub paths: Vec<String>,
    /// Requests a second.
    pub rate: f64,
    /// Whether every request had a connection of its own.
    pub new_connections: bool,
    /// How long a request could take, from its due time.
    pub timeout_ms: u64,
}

/// How late the prober sent. It is part of all latencies: if it is large, they say more about the prober's machine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lateness {
    /// Half were sent within this of their due time.
    pub p50_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// The latest.
    pub max_ms: f64,
    /// Whether it kept up: p99 below 2 ms, and nothing left unsent.
    pub kept_up: bool,
}

/// A point of the latency distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantile {
    /// The share of requests that were at most this slow, 0 to 1.
    pub share: f64,
    /// How slow.
    pub ms: f64,
}

/// A time in which requests failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// When the first failed request was due.
    pub first_due_ms: f64,
    /// When the first failure was seen.
    pub first_seen_ms: f64,
    /// When the last failed request was due.
    pub last_due_ms: f64,
    /// When the last failure was seen.
    pub last_seen_ms: f64,
    /// How many failed.
    pub failed: u64,
    /// How many that were due meanwhile were answered.
    pub answered: u64,
    /// The failures by kind.
    pub kinds: BTreeMap<FailureKind, u64>,
    /// What the first failure said.
    pub first_error: String,
}

/// What happened in a slice of the run. A request belongs to the slice in which it was due.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// Where it begins.
    pub from_ms: f64,
    /// Where it ends.
    pub to_ms: f64,
    /// Requests that were due.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Half were at most this slow; failures count with the time until they failed.
    pub p50_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// Valid answers by instance.
    pub instances: BTreeMap<String, u64>,
}

/// Single requests, in columns of equal length.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Points {
    /// How many requests there were in all; more than there are points if ordinary ones were left out.
    pub of: u64,
    /// When each was due, in tenths of a millisecond.
    pub due: Vec<u64>,
    /// How long it took, in tenths of a millisecond.
    pub latency: Vec<u64>,
    /// Who answered: an index into `names`; none if it failed.
    pub instance: Vec<Option<u32>>,
    /// How it failed, if it did.
    pub failure: Vec<Option<FailureKind>>,
    /// The instances.
    pub names: Vec<String>,
}

/// What a manager said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// When, by the manager's clock, from the run's start. Negative for what was said before.
    pub at_ms: f64,
    /// The manager's node.
    pub node: String,
    /// What it is about: a VM, a peer, `vip`.
    pub subject: String,
    /// Its words.
    pub text: String,
}

/// What was done to the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// The name of the fault in its scenario.
    pub name: String,
    /// What was done, in words.
    pub what: String,
    /// To whom: a VM, a manager, a host.
    pub target: String,
    /// When the command for it was given.
    pub from_ms: f64,
    /// When it had been carried out.
    pub struck_ms: f64,
    /// When it was undone, if it does not heal by itself.
    pub undone_ms: Option<f64>,
    /// When the cluster was whole again; none if it was not in time.
    pub whole_ms: Option<f64>,
}
