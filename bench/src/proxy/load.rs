//! One proxy's turn in one round: driven hard, then asked at a fixed rate.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};

use super::stand::{Contender, PATH, Processors, Stand};
use super::{ProxyOptions, wrk};
use crate::options::{Plan, question, target};
use crate::probe;
use crate::rig::interrupt::Interrupt;
use crate::rig::usage::processor_time;
use crate::samples::Spread;
use crate::timeline::Schedule;

/// What one turn gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Requests answered, driven hard.
    pub requests: u64,
    /// For how long, in seconds.
    pub seconds: f64,
    /// Processor time of the proxy meanwhile, in seconds.
    pub processor_seconds: f64,
    /// The share of its threads' processors that it used.
    pub utilisation: f64,
    /// At the fixed rate: what clients saw.
    pub at_rate: Spread,
    /// At the fixed rate: processor time of the proxy per request, in microseconds.
    pub us_per_request_at_rate: f64,
    /// At the fixed rate: how late the client itself was at worst, in milliseconds.
    pub sent_late_ms: f64,
}

#[allow(clippy::cast_precision_loss)] // far below 2^53
impl Round {
    /// Requests per second of processor time, driven hard.
    pub fn per_processor_second(&self) -> f64 {
        self.requests as f64 / self.processor_seconds
    }

    /// Processor time per request, driven hard, in microseconds.
    pub fn us_per_request(&self) -> f64 {
        self.processor_seconds * 1e6 / self.requests as f64
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = self.utilisation * 100.0;
        let (us, p99) = (self.us_per_request(), self.at_rate.p99_ms);
        write!(f, "{us:.2} us/request, {share:.0} % used; p99 {p99:.2} ms at the fixed rate")
    }
}

#[allow(clippy::cast_precision_loss)] // far below 2^53
pub(super) fn round(
    stand: &mut Stand,
    place: usize,
    options: &ProxyOptions,
    interrupt: &Interrupt,
) -> Result<Round> {
    let Contender { balancer, program, site } = &mut stand.contenders[place];
    program.check()?;
    let (name, pid, addr) = (balancer.name(), program.pid(), site.listen);
    let (before, start) = (processor_time(pid)?, Instant::now());
    let seen = wrk::drive(stand, addr, options.connections, options.seconds)?;
    let (used, seconds) = (processor_time(pid)? - before, start.elapsed().as_secs_f64());
    ensure!(seen.failed == 0, "{name}: {} of {} requests of wrk failed", seen.failed, seen.requests);

    let before = processor_time(pid)?;
    let (at_rate, sent_late_ms) = at_rate(stand, place, options, interrupt).with_context(|| name)?;
    let used_at_rate = processor_time(pid)? - before;
    ensure!(at_rate.failed == 0, "{name}: requests failed at the fixed rate: {:?}", at_rate.failures);
    Ok(Round {
        requests: seen.requests,
        seconds,
        processor_seconds: used.as_secs_f64(),
        utilisation: used.as_secs_f64() / seconds / stand.threads as f64,
        us_per_request_at_rate: used_at_rate.as_secs_f64() * 1e6 / at_rate.requests.max(1) as f64,
        at_rate,
        sent_late_ms,
    })
}

fn at_rate(
    stand: &Stand,
    place: usize,
    options: &ProxyOptions,
    interrupt: &Interrupt,
) -> Result<(Spread, f64)> {
    let plan = Plan {
        targets: vec![target(&format!("http://{}", stand.contenders[place].site.listen))?],
        questions: vec![question(PATH)?],
        schedule: Schedule {
            rate: f64::from(options.rate),
            requests: None,
            duration: Some(Duration::from_secs(options.rate_seconds.into())),
        },
        timeout: Duration::from_secs(10),
        max_in_flight: 10_000,
        new_connections: false,
        report_interval: Duration::from_secs(3600),
    };
    let mut samples = Vec::new();
    let summary = stand.namespace.block_on(async || {
        if let Some(processors) = stand.others {
            bind(processors)?;
        }
        let start = tokio::time::Instant::now();
        probe::run_from(start, plan, interrupt.order(), |_| Ok(()), |sample| samples.push(sample)).await
    })?;
    interrupt.check()?;
    Ok((Spread::of(&samples, Duration::from_millis(100), Duration::ZERO), summary.sent_late_ms))
}

/// Keeps the calling thread, and what it starts, on these processors.
pub(super) fn bind(Processors { first, last }: Processors) -> Result<()> {
    let mut set = CpuSet::new();
    for processor in first..=last.min(CpuSet::MAX_CPU - 1) {
        set.set(processor);
    }
    sched_setaffinity(None, &set).context("cannot choose processors")
}
