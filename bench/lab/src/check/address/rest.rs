//! When the public address is at rest: one owner, sure of it, known to all, and somebody ready to take over.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use wire::{VipState, VipStatus};

use super::super::job::settled;
use crate::api;
use crate::plan::HostPlan;
use crate::state::State;
use crate::status::Status;
use crate::steps::wait_for;

#[cfg(test)]
mod tests;

/// How long it may take: a host whose load balancer failed several times is held down for up to a minute.
const WITHIN: Duration = Duration::from_secs(120);
/// How long a move may take. A sanity limit, not a promise: that is a few hundred milliseconds.
pub(super) const MOVED_WITHIN: Duration = Duration::from_secs(10);

/// A cluster at rest.
#[derive(Debug)]
pub(super) struct Rest {
    /// Who has the address.
    pub(super) owner: String,
    /// A host that would take it.
    pub(super) other: String,
    /// The owner's epoch.
    pub(super) epoch: u64,
    /// Everything else.
    pub(super) status: Status,
}

impl Rest {
    pub(super) fn plan_of<'a>(&self, state: &'a State, name: &str) -> Result<&'a HostPlan> {
        state.plan.host(name).with_context(|| format!("there is no {name}"))
    }

    /// An error unless nothing has moved since `before`.
    pub(super) fn expect_same(&self, before: &Self) -> Result<()> {
        let (own, was) = ((&self.owner, self.epoch), (&before.owner, before.epoch));
        ensure!(own == was, "the address went from {was:?} to {own:?}");
        Ok(())
    }
}

/// Waits until all VMs are up and served, and the address is at rest, before and after that.
pub(super) async fn at_rest(state: &State) -> Result<Rest> {
    let (status, (owner, epoch)) = wait_for("one owner of the public address", WITHIN, || async {
        agreed(&all(state).await?)?;
        let status = settled(state).await?;
        Ok((status, agreed(&all(state).await?)?))
    })
    .await?;
    let other = state.plan.hosts.iter().find(|host| host.name != owner).context("there is another host")?;
    Ok(Rest { owner, other: other.name.clone(), epoch, status })
}

/// Waits until a host other than `from` answers for the address; its name and epoch.
pub(super) async fn moved(state: &State, from: &str) -> Result<(String, u64)> {
    wait_for("the address moves", MOVED_WITHIN, || async {
        for host in state.plan.hosts.iter().filter(|host| host.name != from) {
            // One that is cut off does not answer, and is not the one looked for.
            let Ok(vip) = vip(host).await else { continue };
            if let (VipState::Active, Some(ballot)) = (vip.state, vip.ballot) {
                return Ok((host.name.clone(), ballot.epoch));
            }
        }
        bail!("no host but {from} has it")
    })
    .await
}

/// The address as a host's manager sees it.
pub(super) async fn vip(host: &HostPlan) -> Result<VipStatus> {
    api::get(host.api(), "/v1/vip").await
}

async fn all(state: &State) -> Result<Vec<VipStatus>> {
    let mut views = Vec::new();
    for host in &state.plan.hosts {
        views.push(vip(host).await?);
    }
    Ok(views)
}

/// The owner and its epoch, if there is one, it is sure of it, its ballot is on disk, all others know it, and would
/// take it.
fn agreed(views: &[VipStatus]) -> Result<(String, u64)> {
    let owners: Vec<&VipStatus> = views.iter().filter(|view| view.state == VipState::Active).collect();
    let [owner] = owners.as_slice() else {
        let names: Vec<&str> = owners.iter().map(|owner| owner.node.as_str()).collect();
        bail!("{} hosts have the address: {names:?}", owners.len());
    };
    let name = &owner.node;
    ensure!(owner.confirmed, "{name} has the address and is not sure of it: {}", owner.reason);
    ensure!(owner.recorded, "{name}'s epoch is not on its disk");
    let ballot = owner.ballot.as_ref().filter(|ballot| ballot.node == *name);
    let ballot = ballot.with_context(|| format!("{name} has no ballot of its own"))?;
    for view in views {
        let node = &view.node;
        ensure!(
            view.owner.as_deref() == Some(name) && view.ballot.as_ref() == Some(ballot),
            "{node} says {:?} has it with {:?}, and {name} has it with epoch {}",
            view.owner,
            view.ballot,
            ballot.epoch
        );
        if node != name {
            ensure!(view.state == VipState::Standby, "{node} is {}", view.state.as_str());
            ensure!(view.ineligible.is_none(), "{node} would not take it: {:?}", view.ineligible);
        }
        for peer in &view.peers {
            let eligible = peer.report.as_ref().is_some_and(|report| report.eligible || peer.node == *name);
            ensure!(eligible, "{node} has not heard that {} would take it", peer.node);
        }
    }
    Ok((name.clone(), ballot.epoch))
}
