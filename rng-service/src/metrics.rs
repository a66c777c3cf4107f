//! What `GET /metrics` tells: names `rng_…`, base units, labels from fixed sets only.

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::load::Gauge;

/// The metrics, registered. Clones share the same numbers.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    duration: Histogram,
    pub(crate) connections: IntGauge,
    pub(crate) connections_refused: IntCounter,
    connections_cut: IntCounterVec,
    pub(crate) heartbeat_readers: IntGauge,
    pub(crate) draining: IntGauge,
}

impl Metrics {
    /// Registers all metrics.
    pub(crate) fn register(registry: &Registry, load: Arc<Gauge>) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            registry: registry.clone(),
            requests: IntCounterVec::new(
                Opts::new("rng_requests_total", "Requests answered, by route and status"),
                &["route", "code"],
            )?,
            duration: Histogram::with_opts(
                HistogramOpts::new(
                    "rng_request_duration_seconds",
                    "From a request's head to its answer's head",
                )
                .buckets(vec![
                    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0,
                ]),
            )?,
            connections: IntGauge::new("rng_connections", "Open connections")?,
            connections_refused: IntCounter::new(
                "rng_connections_refused_total",
                "Connections closed at once because as many as allowed were open",
            )?,
            connections_cut: IntCounterVec::new(
                Opts::new("rng_connections_cut_total", "Connections closed by a limit"),
                &["reason"],
            )?,
            heartbeat_readers: IntGauge::new("rng_heartbeat_readers", "Open heartbeat streams")?,
            draining: IntGauge::new("rng_draining", "1 while the service drains")?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.connections_refused.clone()))?;
        registry.register(Box::new(metrics.connections_cut.clone()))?;
        registry.register(Box::new(metrics.heartbeat_readers.clone()))?;
        registry.register(Box::new(metrics.draining.clone()))?;
        registry.register(Box::new(LoadCollector::new(load)?))?;
        Ok(metrics)
    }

    pub(crate) fn answered(&self, route: &str, code: u16, took: Duration) {
        self.requests.with_label_values(&[route, itoa(code).as_str()]).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts a connection cut off for `reason`: `idle`, `slow_head`, `stalled` or `drain_timeout`.
    pub(crate) fn cut(&self, reason: &str) {
        self.connections_cut.with_label_values(&[reason]).inc();
    }

    /// All metrics of the registry in Prometheus' text format.
    pub(crate) fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(4096);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn itoa(code: u16) -> String {
    code.to_string()
}

/// Reads the heartbeat's own figures at each scrape, so that both always agree.
struct LoadCollector {
    load: Arc<Gauge>,
    in_flight: IntGauge,
    cpu: prometheus::Gauge,
}

impl LoadCollector {
    fn new(load: Arc<Gauge>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            load,
            in_flight: IntGauge::new("rng_requests_in_flight", "Requests being served, heartbeats excluded")?,
            cpu: prometheus::Gauge::new("rng_cpu_seconds", "Processor time used since the start")?,
        })
    }
}

impl Collector for LoadCollector {
    fn desc(&self) -> Vec<&Desc> {
        let mut all = self.in_flight.desc();
        all.extend(self.cpu.desc());
        all
    }

    #[allow(clippy::cast_precision_loss)] // exact for the first 285 000 years
    fn collect(&self) -> Vec<MetricFamily> {
        let load = self.load.load();
        self.in_flight.set(i64::try_from(load.in_flight).unwrap_or(i64::MAX));
        self.cpu.set(load.cpu_ms as f64 / 1000.0);
        let mut all = self.in_flight.collect();
        all.extend(self.cpu.collect());
        all
    }
}
