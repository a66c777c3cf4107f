//! Every metric of the load balancer, on one registry.
//!
//! Labels are bounded: outcomes, reasons, states and status classes are enums, and an upstream's series go when it
//! has gone and was read about once more. What a request touches is resolved beforehand, so that it only adds to atomics.

#[path = "metrics_departed.rs"]
mod departed;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::core::{Collector, Metric};
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use wire::Load;

use self::departed::Departed;
use crate::checks::Finding;
use crate::load::{Durations, Window};
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
    /// It was reserved and not made. Not counted.
    Unmade,
}

/// The outcomes that are counted: the names of [`Outcome::index`].
const OUTCOMES: [&str; 10] = [
    "ok",
    "abandoned",
    "connect_error",
    "connect_timeout",
    "reset",
    "timeout",
    "first_byte_timeout",
    "bad_response",
    "status",
    "cut",
];

/// The first of [`OUTCOMES`] that is a failure.
const FIRST_FAILURE: usize = 2;

impl Outcome {
    const fn index(self) -> Option<usize> {
        match self {
            Self::Ok => Some(0),
            Self::Abandoned => Some(1),
            Self::Failed(failure) => Some(failure_index(failure)),
            Self::Unmade => None,
        }
    }
}

const fn failure_index(failure: Failure) -> usize {
    match failure {
        Failure::ConnectError => 2,
        Failure::ConnectTimeout => 3,
        Failure::Reset => 4,
        Failure::Timeout => 5,
        Failure::FirstByteTimeout => 6,
        Failure::BadResponse => 7,
        Failure::Status(_) => 8,
        Failure::Cut => 9,
    }
}

/// What speaks for or against an upstream: of several, the first that applies from the last to the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It gets new requests.
    Up,
    /// It finishes what it has.
    Draining,
    /// It failed too often lately.
    Ejected,
    /// The load balancer's own checks say that it is out.
    Down,
}

impl State {
    const ALL: [(Self, &str); 4] =
        [(Self::Up, "up"), (Self::Draining, "draining"), (Self::Ejected, "ejected"), (Self::Down, "down")];
}

/// An upstream at this moment.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which one.
    pub id: Arc<str>,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Whether it is neither ejected nor out by the checks.
    pub is_available: bool,
    /// How it is.
    pub state: State,
}

/// What is counted about one upstream.
#[derive(Debug)]
pub struct UpstreamMetrics {
    attempts: [IntCounter; OUTCOMES.len()],
    /// From the choice of the upstream to the first byte of its response, in seconds.
    pub first_byte: Histogram,
    /// How often it was ejected.
    pub ejections: IntCounter,
}

impl UpstreamMetrics {
    /// Counts one attempt that ended so.
    pub fn count(&self, outcome: Outcome) {
        if let Some(index) = outcome.index() {
            self.attempts[index].inc();
        }
    }
}

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    begun: AtomicU64,
    lately: Mutex<Window>,
    requests: [IntCounter; 6],
    duration: Histogram,
    attempts: IntCounterVec,
    first_byte: HistogramVec,
    ejections: IntCounterVec,
    upstream_in_flight: IntGaugeVec,
    upstream_available: IntGaugeVec,
    upstream_state: IntGaugeVec,
    /// To be locked while series of upstreams come or go.
    departed: Mutex<Departed>,
    retries: [IntCounter; OUTCOMES.len() - FIRST_FAILURE],
    checks: [IntCounter; Finding::ALL.len()],
    /// Attempts cut because their upstream left the set.
    pub cuts: IntCounter,
    /// Requests being served.
    pub in_flight: IntGauge,
    /// Requests that wait for an upstream.
    pub queued: IntGauge,
    /// Connections of clients.
    pub connections: IntGauge,
    /// Connections of clients that were closed for what came on them: no request, or no TLS.
    pub bad_connections: IntCounter,
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
    /// Requests that are missing from the access log.
    pub access_log_lost: IntGauge,
    /// The present wait for the first byte, in microseconds.
    pub first_byte_deadline: IntGauge,
}

impl Metrics {
    /// Registers all metrics.
    ///
    /// # Errors
    /// When a name is on the registry already.
    pub fn new(registry: Registry) -> Result<Self, prometheus::Error> {
        let add = Adder(&registry);
        // From 100 microseconds to 26 seconds, each twice as long as the one before: 19 buckets.
        let buckets = prometheus::exponential_buckets(0.0001, 2.0, 19)?;
        let duration = HistogramOpts::new(
            "lb_request_duration_seconds",
            "From a request's head to the end of its answer.",
        );
        let first_byte = HistogramOpts::new(
            "lb_upstream_first_byte_seconds",
            "From the choice of an upstream to the first byte of its response.",
        );
        let requests = add.counters(
            "lb_requests_total",
            "Requests by class of the answer's status; none: not answered.",
            &["code"],
        )?;
        let retries = add.counters(
            "lb_retries_total",
            "Further attempts by what was wrong with the one before.",
            &["reason"],
        )?;
        let checks = add.counters(
            "lb_checks_total",
            "The load balancer's own checks of upstreams by what they found.",
            &["result"],
        )?;
        let upstreams = add.gauges("lb_upstreams", "Upstreams in the set by state.", &["state"])?;
        add.with(version()?)?;
        Ok(Self {
            begun: AtomicU64::new(0),
            lately: Mutex::default(),
            requests: ["none", "1xx", "2xx", "3xx", "4xx", "5xx"].map(|c| requests.with_label_values(&[c])),
            duration: add.with(Histogram::with_opts(duration.buckets(buckets.clone()))?)?,
            attempts: add.counters(
                "lb_attempts_total",
                "Attempts by upstream and how they ended.",
                &["upstream", "outcome"],
            )?,
            first_byte: add.with(HistogramVec::new(first_byte.buckets(buckets), &["upstream"])?)?,
            ejections: add.counters(
                "lb_upstream_ejections_total",
                "How often an upstream was ejected.",
                &["upstream"],
            )?,
            upstream_in_flight: add.gauges(
                "lb_upstream_in_flight",
                "Attempts in flight by upstream.",
                &["upstream"],
            )?,
            upstream_available: add.gauges(
                "lb_upstream_available",
                "Whether an upstream is neither ejected nor out by the checks.",
                &["upstream"],
            )?,
            upstream_state: add.gauges(
                "lb_upstream_state",
                "1 for the state that an upstream is in: up, draining, ejected, or down by the checks.",
                &["upstream", "state"],
            )?,
            departed: Mutex::default(),
            retries: std::array::from_fn(|i| retries.with_label_values(&[OUTCOMES[i + FIRST_FAILURE]])),
            checks: Finding::ALL.map(|finding| checks.with_label_values(&[finding.as_str()])),
            cuts: add.counter("lb_cuts_total", "Attempts cut because their upstream left the set.")?,
            in_flight: add.gauge("lb_in_flight", "Requests being served.")?,
            queued: add.gauge("lb_queued", "Requests that wait for an upstream.")?,
            connections: add.gauge("lb_connections", "Connections of clients.")?,
            bad_connections: add.counter(
                "lb_bad_connections_total",
                "Connections closed for what came on them: no request, or no TLS.",
            )?,
            generation: add.gauge("lb_generation", "The generation of the upstream set in force.")?,
            upstreams_up: upstreams.with_label_values(&["up"]),
            upstreams_draining: upstreams.with_label_values(&["draining"]),
            state_write_failures: add
                .counter("lb_state_write_failures_total", "Writes of the state file that failed.")?,
            heartbeat_drops: add.counter(
                "lb_heartbeat_drops_total",
                "Readers of the heartbeat that were dropped for being slow.",
            )?,
            access_log_lost: add
                .gauge("lb_access_log_lost", "Requests that are missing from the access log.")?,
            first_byte_deadline: add.gauge(
                "lb_first_byte_deadline_microseconds",
                "The present wait for the first byte of a response.",
            )?,
            registry,
        })
    }

    /// Counts a request that has begun.
    pub fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests begun so far.
    pub fn requests_begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
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

    /// Looks at the load, at this time of a clock that does not go backwards. To be called every
    /// [`LOOK_EVERY`](crate::load::LOOK_EVERY).
    pub fn look(&self, now: Duration) {
        self.lately().observe(now, self.requests_total(), || self.durations());
        let mut departed = self.departed();
        for id in departed.expired(Instant::now()) {
            self.remove(&id);
        }
    }

    /// Puts into `load` what was seen lately.
    pub fn fill(&self, load: &mut Load) {
        self.lately().fill(load);
    }

    fn lately(&self) -> MutexGuard<'_, Window> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long all requests so far took.
    fn durations(&self) -> Durations {
        let metric = self.duration.metric();
        let histogram = metric.get_histogram();
        let bucket = |bucket: &prometheus::proto::Bucket| (bucket.upper_bound(), bucket.cumulative_count());
        Durations {
            buckets: histogram.get_bucket().iter().map(bucket).collect(),
            count: histogram.get_sample_count(),
            seconds: histogram.get_sample_sum(),
        }
    }

    /// Counts a check of an upstream.
    pub fn check(&self, finding: Finding) {
        self.checks[finding as usize].inc();
    }

    /// Counts a further attempt after this failure.
    pub fn retry(&self, after: Failure) {
        self.retries[failure_index(after) - FIRST_FAILURE].inc();
    }

    fn departed(&self) -> MutexGuard<'_, Departed> {
        self.departed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The metrics of one upstream. One that was here before goes on with those it had, if they are still there.
    pub fn upstream(&self, id: &str) -> UpstreamMetrics {
        let mut departed = self.departed();
        departed.came_back(id);
        UpstreamMetrics {
            attempts: OUTCOMES.map(|outcome| self.attempts.with_label_values(&[id, outcome])),
            first_byte: self.first_byte.with_label_values(&[id]),
            ejections: self.ejections.with_label_values(&[id]),
        }
    }

    /// An upstream is gone. Its series stay until they were read twice or a minute has passed: attempts that are cut
    /// with it are counted a moment later, and that is what is looked for then.
    pub fn forget(&self, id: &str) {
        let mut departed = self.departed();
        if !departed.left(id, Instant::now()) {
            self.remove(id);
        }
    }

    fn remove(&self, id: &str) {
        // Each fails when the series is gone already, which is what is wanted.
        for outcome in OUTCOMES {
            let _ = self.attempts.remove_label_values(&[id, outcome]);
        }
        let _ = self.first_byte.remove_label_values(&[id]);
        let _ = self.ejections.remove_label_values(&[id]);
    }

    /// All metrics in the text format of Prometheus, with what is only looked at now.
    ///
    /// # Errors
    /// When a metric cannot be encoded.
    pub fn encode(&self, upstreams: &[Seen]) -> Result<Vec<u8>, prometheus::Error> {
        self.upstream_in_flight.reset();
        self.upstream_available.reset();
        self.upstream_state.reset();
        for seen in upstreams {
            let id = [&*seen.id];
            self.upstream_in_flight.with_label_values(&id).set(seen.in_flight.into());
            self.upstream_available.with_label_values(&id).set(seen.is_available.into());
            for (state, name) in State::ALL {
                let is_in = state == seen.state;
                self.upstream_state.with_label_values(&[&*seen.id, name]).set(is_in.into());
            }
        }
        let mut text = Vec::with_capacity(16 * 1024);
        self.departed().reading();
        let families = self.registry.gather();
        let mut departed = self.departed();
        for id in departed.read() {
            self.remove(&id);
        }
        drop(departed);
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}

/// Makes metrics and puts them on a registry.
struct Adder<'a>(&'a Registry);

impl Adder<'_> {
    fn with<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.with(IntCounter::new(name, help)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.with(IntGauge::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.with(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.with(IntGaugeVec::new(Opts::new(name, help), labels)?)
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
