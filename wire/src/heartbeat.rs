//! What a program says about itself, over and over, on `GET /heartbeat` (server-sent events).

use serde::{Deserialize, Serialize};

/// One event of `GET /heartbeat`: `data: {"status":"OK", …}` and an empty line.
///
/// Only `status` is required: a service that knows nothing else can still be watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Whether the program wants new requests.
    pub status: Status,
    /// How busy it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// Of a load balancer: the generation of the upstream set it routes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// Whether a program wants new requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// It serves.
    Ok,
    /// It is about to stop: it still answers, but should get no new requests.
    Draining,
}

/// How busy a program is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Requests being served now.
    pub in_flight: u64,
    /// Requests answered since the program started.
    pub requests_total: u64,
    /// Processor time used since the program started, in milliseconds.
    pub cpu_ms: u64,
    /// Requests answered per second, over about the last second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
    /// How long the requests took that were answered in about the last five seconds; none if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Latency>,
}

/// How long requests took, from head to the end of the answer, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// On average; exact.
    pub mean: f64,
    /// 99 of 100 took at most about this: an estimate from a histogram each of whose buckets is twice as wide as the
    /// one before, interpolated within the bucket. It lies in the bucket of the true value.
    pub p99: f64,
}
