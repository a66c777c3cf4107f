//! The upstream set: what a manager pushes to a load balancer.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Body of `PUT /v1/upstreams`: the full set, never a difference, so a lost push needs no repair but the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutUpstreams {
    /// Grows with every change. An older one is answered with 409, the present one only if the set is equal.
    pub generation: u64,
    /// Every upstream there is; ids are unique.
    pub upstreams: Vec<Upstream>,
}

/// One upstream: a service VM as the load balancer sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// `<node>/<name>`, such as `host1/svc-11`, or one word such as `a`: the same as long as the address is.
    pub id: String,
    /// Which life of that id this is, from 1. Connections are never shared between incarnations.
    #[serde(default = "first")]
    pub incarnation: u64,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its share of requests relative to others, 1 to 1000.
    #[serde(default = "one")]
    pub weight: u32,
    /// Whether it gets new requests.
    #[serde(default)]
    pub state: UpstreamState,
    /// Used only while no other upstream is usable.
    #[serde(default)]
    pub backup: bool,
    /// Requests in flight to it at most; 0 is no limit.
    #[serde(default)]
    pub max_conns: u32,
}

const fn one() -> u32 {
    1
}

const fn first() -> u64 {
    1
}

const fn yes() -> bool {
    true
}

/// Whether an upstream gets new requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamState {
    /// It does.
    #[default]
    Up,
    /// It finishes what it has and gets nothing new.
    Draining,
}

/// Answer to an accepted write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The generation now in force.
    pub generation: u64,
}

/// Answer of `GET /v1/upstreams`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamsView {
    /// The generation now in force; 0 before the first push.
    pub generation: u64,
    /// The set in force and what the load balancer observed of each.
    pub upstreams: Vec<UpstreamStatus>,
}

/// An upstream and what the load balancer observed of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// As it was pushed.
    #[serde(flatten)]
    pub upstream: Upstream,
    /// Whether it is neither ejected for failures nor out by the load balancer's own checks. One that does not say
    /// takes it for available.
    #[serde(default = "yes")]
    pub available: bool,
    /// Attempts in flight now.
    pub in_flight: u64,
    /// Attempts made since it joined the set.
    pub attempts_total: u64,
    /// Attempts that failed, whether or not another one then served the request.
    pub failures_total: u64,
}
