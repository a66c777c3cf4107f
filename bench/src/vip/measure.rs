//! One run: clients that open connections to the address, a listener on the LAN, and a fault in between.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::claims::Claims;
use super::observe::{Clients, Observation, Stage};
use crate::rig::interrupt::Interrupt;
use crate::samples::{Spread, ms};

/// How long clients are served before the fault.
const QUIET: Duration = Duration::from_secs(1);
/// How long clients go on once all is well again.
const TAIL: Duration = Duration::from_secs(1);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// When things happened, from the start of the run, and whose the address was.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    pub(super) fault: Duration,
    pub(super) settled: Duration,
    pub(super) owner_before: String,
    pub(super) owner_after: String,
}

/// The clock of a run, and the wish of the user to end it.
#[derive(Debug)]
pub(super) struct Clock<'a> {
    start: Instant,
    interrupt: &'a Interrupt,
}

impl<'a> Clock<'a> {
    /// One that starts now.
    pub(super) fn start(interrupt: &'a Interrupt) -> Self {
        Self { start: Instant::now(), interrupt }
    }

    /// Since the start.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Sleeps until then.
    pub(super) fn sleep_until(&self, at: Duration) -> Result<()> {
        while self.now() < at {
            self.interrupt.check()?;
            std::thread::sleep(at.saturating_sub(self.now()).min(PAUSE));
        }
        self.interrupt.check()
    }

    /// Looks again and again until `look` succeeds; its last error is that of the time-out.
    pub(super) fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let deadline = self.now() + limit;
        loop {
            match look() {
                Ok(found) => return Ok(found),
                Err(error) if self.now() > deadline => {
                    return Err(error.context(format!("{what}: not within {} s", limit.as_secs())));
                }
                Err(_) => self.sleep_until(self.now() + PAUSE)?,
            }
        }
    }
}

/// What one run gave. Times are milliseconds from the fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// What clients saw, from a second before the fault to the end.
    pub clients: Spread,
    /// The longest time from one success to the next.
    pub gap_ms: f64,
    /// When that began.
    pub gap_from_ms: f64,
    /// When all was well again.
    pub settled_ms: f64,
    /// Whose the address was before.
    pub owner_before: String,
    /// Whose it is after.
    pub owner_after: String,
    /// When the one whose it is after first announced it; none if it did not.
    pub announced_ms: Option<f64>,
    /// How late the client itself sent at worst. It is part of the latencies.
    pub sent_late_ms: f64,
    /// What the first failure said.
    pub first_error: Option<String>,
    /// What ARP showed.
    pub arp: Claims,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { requests, failed, slowest_ms, .. } = &self.clients;
        write!(
            f,
            "{failed} of {requests} failed, gap {:.1} ms, slowest {slowest_ms:.1} ms, {} -> {}",
            self.gap_ms, self.owner_before, self.owner_after
        )?;
        if let Some(length) = self.arp.longest_double_ms() {
            write!(f, ", two answered for {length:.0} ms")?;
        }
        if let Some(error) = &self.first_error {
            write!(f, " ({error})")?;
        }
        Ok(())
    }
}

/// Runs clients and listener around `script`, which is called when the quiet time is over.
///
/// # Errors
/// Those of the script, and when the address did not answer before it.
pub(super) fn run(
    stage: &Stage,
    clients: Clients,
    interrupt: &Interrupt,
    script: impl FnOnce(&Clock<'_>) -> Result<Marks>,
) -> Result<Run> {
    let observation = Observation::start(stage, clients)?;
    let clock = Clock { start: observation.started(), interrupt };
    clock.sleep_until(QUIET)?;
    let Marks { fault, settled, owner_before, owner_after } = script(&clock)?;
    let end = clock.now() + TAIL;
    clock.sleep_until(end)?;
    let seen = observation.finish()?;
    ensure!(seen.served_before(fault), "{} did not answer before the fault", stage.lan.vip);
    let gap = seen.longest_gap(fault, end);
    let arp = seen.claims(fault);
    Ok(Run {
        clients: Spread::of(&seen.samples, clients.slow, fault),
        gap_ms: ms(gap.length),
        gap_from_ms: ms(gap.from) - ms(fault),
        settled_ms: ms(settled.saturating_sub(fault)),
        announced_ms: arp.announced_ms(&owner_after, 0.0),
        owner_before,
        owner_after,
        sent_late_ms: seen.summary.sent_late_ms,
        first_error: seen.first_error().map(str::to_owned),
        arp,
    })
}
