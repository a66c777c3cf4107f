//! Clients and a listener on the LAN while something is broken, and the judgement of what they saw.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bench::samples::Sample;
use bench::vip::{Claims, Clients, Lan, Observation, Observed, Stage, mac_of};
use tokio::time::sleep;

use super::rest::MOVED_WITHIN;
use crate::plan::{CLIENT_NETNS, LAN_BRIDGE, LAN_NETNS, Plan};

#[cfg(test)]
mod tests;

/// How long a client waits for an answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// Answers that take longer are slow.
const SLOW: Duration = Duration::from_millis(100);
/// How long clients are served before anything happens, and after it.
const QUIET: Duration = Duration::from_secs(1);
/// Requests that may fail because they were on their way, or in a load balancer, when it died: a quarter of a second's.
/// An emulated one that has to share its processor holds that many now and then.
pub(super) const HANDFUL: usize = 25;
/// For how long two hosts may be heard at once. A sanity limit: design 6 promises 1 s while managers hear each other.
const DOUBLE_WITHIN: Duration = Duration::from_secs(3);
/// The last number of the address in whose name is asked.
const ASKER: u8 = 199;

/// Clients and listener at work.
#[derive(Debug)]
pub(super) struct Trial {
    observation: Observation,
}

/// What they saw. Times count from the start of the trial.
#[derive(Debug)]
pub(super) struct Seen {
    observed: Observed,
    /// When the thing happened that was tried.
    fault: Duration,
    end: Duration,
}

impl Trial {
    /// Starts with so many new connections a second, and returns after a second of quiet.
    pub(super) async fn start(plan: &Plan, rate: u32) -> Result<Self> {
        let observation = Observation::start(&stage(plan)?, Clients { rate, timeout: TIMEOUT, slow: SLOW })?;
        sleep(QUIET).await;
        Ok(Self { observation })
    }

    /// This moment.
    pub(super) fn now(&self) -> Duration {
        self.observation.now()
    }

    /// Ends after another second of quiet; `fault` is when the thing happened that was tried.
    pub(super) async fn finish(self, fault: Duration) -> Result<Seen> {
        sleep(QUIET).await;
        let end = self.now();
        let observation = self.observation;
        let observed = tokio::task::spawn_blocking(move || observation.finish()).await??;
        ensure!(observed.served_before(fault), "the address did not answer before anything was done");
        Ok(Seen { observed, fault, end })
    }
}

fn stage(plan: &Plan) -> Result<Stage> {
    let mut names = BTreeMap::new();
    for host in &plan.hosts {
        names.insert(mac_of(&host.netns, "eth0")?, host.name.clone());
    }
    let lan = Lan {
        namespace: LAN_NETNS.to_owned(),
        bridge: LAN_BRIDGE.to_owned(),
        vip: plan.vip,
        asker: plan.nobodys(ASKER),
    };
    Ok(Stage { client: CLIENT_NETNS.to_owned(), lan, names })
}

impl Seen {
    /// What ARP showed, in milliseconds from the fault.
    pub(super) fn claims(&self) -> Claims {
        self.observed.claims(self.fault)
    }

    /// An error if a request failed.
    pub(super) fn none_failed(&self) -> Result<&Self> {
        self.failed_within(self.fault, self.fault, 0)
    }

    /// An error if more than `most` requests failed, or one that was due outside of `from` to `to`, the times in which
    /// it may be.
    pub(super) fn failed_within(&self, from: Duration, to: Duration, most: usize) -> Result<&Self> {
        judge(&self.observed.samples, from, to, most)
            .with_context(|| self.observed.first_error().unwrap_or("no failure").to_owned())?;
        Ok(self)
    }

    /// As [`Self::failed_within`] for a move that was over at `moved`: requests that were open when it began, or begun
    /// before clients could know of it, may fail.
    pub(super) fn failed_in_the_move(&self, moved: Duration, most: usize) -> Result<&Self> {
        self.failed_within(self.fault.saturating_sub(TIMEOUT), moved + QUIET, most)?;
        let gap = self.observed.longest_gap(self.fault, self.end).length;
        ensure!(gap < MOVED_WITHIN, "nobody was served for {:.1} s", gap.as_secs_f64());
        Ok(self)
    }

    /// An error unless only these stations answered for the address, and two at once for a moment at most.
    pub(super) fn held_by(&self, names: &[&str]) -> Result<&Self> {
        let claims = self.claims();
        let held: BTreeSet<&str> = claims.held.iter().map(|held| held.who.as_str()).collect();
        let expected: BTreeSet<&str> = names.iter().copied().collect();
        ensure!(held == expected, "{held:?} answered for the address, and not {expected:?}");
        let double = claims.longest_double_ms().unwrap_or_default();
        ensure!(Duration::from_secs_f64(double / 1e3) < DOUBLE_WITHIN, "two answered for {double:.0} ms");
        Ok(self)
    }

    /// An error unless `name` announced the address at `from` or later; how long after that, in milliseconds.
    pub(super) fn announced(&self, name: &str, from: Duration) -> Result<f64> {
        let from = (from.as_secs_f64() - self.fault.as_secs_f64()) * 1e3;
        let at = self.claims().announced_ms(name, from);
        Ok(at.with_context(|| format!("{name} did not announce the address"))? - from)
    }

    /// It in a few words.
    pub(super) fn words(&self) -> String {
        let samples = &self.observed.samples;
        let failed = samples.iter().filter(|sample| sample.failure.is_some()).count();
        let slowest = samples.iter().map(|sample| sample.latency).max().unwrap_or_default();
        let gap = self.observed.longest_gap(self.fault, self.end).length;
        let mut words = format!(
            "{failed} of {} requests failed, longest gap {} ms, slowest {} ms",
            samples.len(),
            gap.as_millis(),
            slowest.as_millis()
        );
        if let Some(double) = self.claims().longest_double_ms() {
            words.push_str(&format!(", two answered for {double:.0} ms"));
        }
        words
    }
}

fn judge(samples: &[Sample], from: Duration, to: Duration, most: usize) -> Result<()> {
    let failed: Vec<Duration> =
        samples.iter().filter(|sample| sample.failure.is_some()).map(|sample| sample.due).collect();
    let served = samples.len() - failed.len();
    ensure!(served > 0, "no request was served");
    ensure!(
        failed.len() <= most,
        "{} of {} requests failed, at most {most} may",
        failed.len(),
        samples.len()
    );
    let outside = failed.iter().filter(|due| **due < from || **due > to).count();
    ensure!(
        outside == 0,
        "{outside} requests failed that were not due from {:.1} to {:.1} s",
        from.as_secs_f64(),
        to.as_secs_f64()
    );
    Ok(())
}
