//! Every metric of the load balancer, on one registry.
//!
//! Labels are bounded: outcomes, reasons, states and status classes are enums, and an upstream's series are
//! removed with the upstream. What a request touches is resolved beforehand, so that it only adds to atomics.

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::policy::retry::Failure;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream answered, and the answer is the client's.
    Ok,
    /// It failed.
    Failed(Failure),
    /// The client went away, or sent something that ended the request.
    Abandoned,
}

impl Outcome {
    const NAMES: [&'static str; 8] =
        ["ok", "abandoned", "connect_error", "connect_timeout", "reset", "timeout", "bad_response", "status"];

    const fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Abandoned => 1,
            Self::Failed(Failure::ConnectError) => 2,
            Self::Failed(Failure::ConnectTimeout) => 3,
            Self::Failed(Failure::Reset) => 4,
            Self::Failed(Failure::Timeout) => 5,
            Self::Failed(Failure::BadResponse) => 6,
            Self::Failed(Failure::Status(_)) => 7,
        }
    }
}

/// The attempts of one upstream, a counter per outcome.
#[derive(Debug, Clone)]
pub struct AttemptCounters([IntCounter; Outcome::NAMES.len()]);

impl AttemptCounters {
    /// Counts one attempt that ended so.
    pub fn count(&self, outcome: Outcome) {
        self.0[outcome.index()].inc();
    }
}

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: [IntCounter; 6],
    duration: Histogram,
    attempts: IntCounterVec,
    retries: [IntCounter; 6],
    /// Requests being served.
    pub in_flight: IntGauge,
    /// Connections of clients.
    pub connections: IntGauge,
    /// The generation of the upstream set in force.
    pub generation: IntGauge,
    /// Upstreams that get new requests.
    pub upstreams_up: IntGauge,
    /// Upstreams that finish what they have.
    pub upstreams_draining: IntGauge,
    /// Writes of the state file that failed.
    pub state_write_failures: IntCounter,
    /// Readers of the heartbeat that were dropped for being slow.
    pub heartbeat_drops: IntCounter,
}

impl Metrics {
    /// Registers all metrics.
    ///
    /// # Errors
    /// When a name is on the registry already.
    pub fn new(registry: Registry) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new("lb_requests_total", "Requests by class of the answer's status; none: not answered."),
            &["code"],
        )?;
        // From 100 microseconds to 26 seconds, each twice as long as the one before: 19 buckets.
        let duration = Histogram::with_opts(
            HistogramOpts::new(
                "lb_request_duration_seconds",
                "From a request's head to the end of its answer.",
            )
            .buckets(prometheus::exponential_buckets(0.0001, 2.0, 19)?),
        )?;
        let attempts = IntCounterVec::new(
            Opts::new("lb_attempts_total", "Attempts by upstream and how they ended."),
            &["upstream", "outcome"],
        )?;
        let retries = IntCounterVec::new(
            Opts::new("lb_retries_total", "Further attempts by what was wrong with the one before."),
            &["reason"],
        )?;
        let upstreams =
            IntGaugeVec::new(Opts::new("lb_upstreams", "Upstreams in the set by state."), &["state"])?;
        let metrics = Self {
            requests: ["none", "1xx", "2xx", "3xx", "4xx", "5xx"].map(|c| requests.with_label_values(&[c])),
            duration: duration.clone(),
            attempts: attempts.clone(),
            retries: std::array::from_fn(|i| retries.with_label_values(&[Outcome::NAMES[i + 2]])),
            in_flight: IntGauge::new("lb_in_flight", "Requests being served.")?,
            connections: IntGauge::new("lb_connections", "Connections of clients.")?,
            generation: IntGauge::new("lb_generation", "The generation of the upstream set in force.")?,
            upstreams_up: upstreams.with_label_values(&["up"]),
            upstreams_draining: upstreams.with_label_values(&["draining"]),
            state_write_failures: IntCounter::new(
                "lb_state_write_failures_total",
                "Writes of the state file that failed.",
            )?,
            heartbeat_drops: IntCounter::new(
                "lb_heartbeat_drops_total",
                "Readers of the heartbeat that were dropped for being slow.",
            )?,
            registry,
        };
        let all: [Box<dyn prometheus::core::Collector>; 11] = [
            Box::new(requests),
            Box::new(duration),
            Box::new(attempts),
            Box::new(retries),
            Box::new(upstreams),
            Box::new(metrics.in_flight.clone()),
            Box::new(metrics.connections.clone()),
            Box::new(metrics.generation.clone()),
            Box::new(metrics.state_write_failures.clone()),
            Box::new(metrics.heartbeat_drops.clone()),
            Box::new(version()?),
        ];
        for collector in all {
            metrics.registry.register(collector)?;
        }
        Ok(metrics)
    }

    /// Counts an answered request: its status (0: the client got none) and how long it took.
    pub fn request(&self, status: u16, seconds: f64) {
        let class = usize::from(status / 100);
        self.requests[if class < self.requests.len() { class } else { 0 }].inc();
        self.duration.observe(seconds);
    }

    /// Requests answered so far, one way or another.
    pub fn requests_total(&self) -> u64 {
        self.requests.iter().map(IntCounter::get).sum()
    }

    /// Counts a further attempt after this failure.
    pub fn retry(&self, after: Failure) {
        self.retries[Outcome::Failed(after).index() - 2].inc();
    }

    /// The counters of one upstream.
    pub fn attempts_of(&self, upstream: &str) -> AttemptCounters {
        AttemptCounters(Outcome::NAMES.map(|outcome| self.attempts.with_label_values(&[upstream, outcome])))
    }

    /// Drops the series of an upstream that is gone.
    pub fn forget(&self, upstream: &str) {
        for outcome in Outcome::NAMES {
            // It fails when the series is gone already, which is what is wanted.
            let _ = self.attempts.remove_label_values(&[upstream, outcome]);
        }
    }

    /// All metrics in the text format of Prometheus.
    ///
    /// # Errors
    /// When a metric cannot be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn version() -> Result<IntGauge, prometheus::Error> {
    let info = IntGauge::with_opts(
        Opts::new("lb_build_info", "Always 1; the label says which version runs.")
            .const_label("version", env!("CARGO_PKG_VERSION")),
    )?;
    info.set(1);
    Ok(info)
}
