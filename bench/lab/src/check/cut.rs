//! A host's cable is cut and mended. Its VMs cannot answer meanwhile, and nobody may wait for them for long.
//!
//! Requests that are on their way when the cable is cut may be lost with it: they are printed, and forgiven in the first
//! seconds only. Every full second without the cable is judged by itself, so that a pause cannot hide in a sum.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bench::report::Interval;
use tokio::time::timeout;

use super::job::{RATE, host_of, lb_of, lbs_of, settled};
use crate::network::set_cable;
use crate::plan::HostPlan;
use crate::probe::{Probe, brief, expect_instances, expect_none_failed};
use crate::state::State;

#[cfg(test)]
mod tests;

/// How long a host stays without its cable, in whole seconds that are judged.
const SECONDS: usize = 6;
/// In how many of them requests may fail.
const FORGIVEN: usize = 3;
/// How long these seconds may take to be reported.
const REPORTED_WITHIN: Duration = Duration::from_secs(30);
/// Requests a second: what one of two load balancers gets in the other steps, for each that meets a dead host costs an
/// emulated load balancer several connections.
pub(super) const CUT_RATE: u32 = RATE / 2;
/// Requests through all load balancers after the cable is back.
const REQUESTS: u64 = 200;

pub(super) async fn cable_cut(state: &State, host: &HostPlan) -> Result<String> {
    let status = settled(state).await?;
    let other = status.hosts.iter().find(|other| other.name != host.name).context("there is another host")?;
    let mut probe = Probe::under_load(state, &[lb_of(other)?], CUT_RATE).await?;
    set_cable(&state.plan, &host.name, false)?;
    let inside = timeout(REPORTED_WITHIN, full_seconds(&mut probe)).await;
    set_cable(&state.plan, &host.name, true)?;
    let settled = settled(state).await;
    let summary = probe.stop().await?;
    let inside = inside.map_err(|_| anyhow!("the probe does not report"))??;
    let shown = judge(&inside, &other.name)?;
    let settled = settled.context("after the cable was mended")?;
    for host in &state.plan.hosts {
        let (before, after) = (host_of(&status, &host.name)?, host_of(&settled, &host.name)?);
        ensure!(after.vms == before.vms, "no VM had failed, and yet {:?} became {:?}", before.vms, after.vms);
    }
    let afterwards = Probe::count(state, &lbs_of(&settled)?, REQUESTS).await?;
    expect_none_failed(&afterwards).context("after the cable was mended")?;
    expect_instances(&afterwards, settled.services().map(|vm| vm.id.as_str()))?;
    Ok(format!("{shown}; from the cut to all is well: {}", brief(&summary)))
}

/// Waits for seconds that began after this call.
async fn full_seconds(probe: &mut Probe) -> Result<Vec<Interval>> {
    let begin = probe.now_ms();
    let mut inside = Vec::new();
    while inside.len() < SECONDS {
        let Some(interval) = probe.next().await? else { bail!("the probe has ended") };
        if interval.from_ms >= begin {
            inside.push(interval);
        }
    }
    Ok(inside)
}

/// An error unless in each second there were answers, none of them from a host but `reachable`, and failures, if any,
/// in the first seconds only. The seconds, in a few words.
fn judge(seconds: &[Interval], reachable: &str) -> Result<String> {
    let list = |number: fn(&Interval) -> u64| {
        seconds.iter().map(|second| number(second).to_string()).collect::<Vec<_>>().join(" ")
    };
    let shown = format!(
        "answers in each second {}, failures {}",
        list(|second| second.ok),
        list(|second| second.failed)
    );
    ensure!(seconds.len() == SECONDS, "{} seconds instead of {SECONDS}: {shown}", seconds.len());
    let prefix = format!("{reachable}/");
    for (number, second) in (1..).zip(seconds) {
        ensure!(second.ok > 0, "no answer in second {number} without the cable: {shown}");
        let strange = second.instances.keys().find(|id| !id.starts_with(&prefix));
        ensure!(strange.is_none(), "{strange:?} answered in second {number}: its cable was not cut");
        let first = second.failures.values().map(|failure| failure.first_error.as_str()).next();
        ensure!(
            second.failed == 0 || number <= FORGIVEN,
            "requests fail in second {number} without the cable ({}): {shown}",
            first.unwrap_or_default()
        );
    }
    Ok(shown)
}
