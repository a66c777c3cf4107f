//! A strange host has the public address. The cluster cannot silence it; it must say who it is, and not make it worse.

use anyhow::{Result, ensure};
use wire::VipState;

use super::super::cut::CUT_RATE;
use super::super::job::RATE;
use super::readings::{told, unix_ms};
use super::rest::{at_rest, moved, vip};
use super::station::Station;
use super::trial::Trial;
use crate::network::set_cable;
use crate::state::State;

pub(super) async fn foreign_host(state: &State) -> Result<String> {
    let rest = at_rest(state).await?;
    let (owner, other) = (rest.plan_of(state, &rest.owner)?, rest.plan_of(state, &rest.other)?);
    let since = unix_ms();
    let trial = Trial::start(&state.plan, CUT_RATE).await?;
    let fault = trial.now();
    let station = Station::arrive(&state.plan)?;
    let mac = station.mac.to_string();
    station.take(state.plan.vip)?;
    station.announce(state.plan.vip)?;
    let named = told(owner, since, &[&mac]).await?;
    let still = vip(owner).await?;
    ensure!(
        still.state == VipState::Active,
        "{} has left the address to a stranger: {}",
        owner.name,
        still.reason
    );

    // Without the owner, whoever answers keeps the others from a claim.
    let since = unix_ms();
    set_cable(&state.plan, &owner.name, false)?;
    let refrained = told(other, since, &["did not claim", &mac]).await;
    let meanwhile = vip(other).await;
    drop(station);
    let moved = moved(state, &owner.name).await;
    set_cable(&state.plan, &owner.name, true)?;
    let after = at_rest(state).await;
    let seen = trial.finish(fault).await?;
    let refrained = refrained?;
    let meanwhile = meanwhile?;
    ensure!(meanwhile.state == VipState::Standby, "{} is {} meanwhile", other.name, meanwhile.state.as_str());
    let (new, epoch) = moved?;
    ensure!((&new, epoch) == (&other.name, rest.epoch + 1), "{new} has it with epoch {epoch}");
    // All that waited for an answer asks again at once, which an emulated load balancer may not bear: it may move on.
    let after = after?;
    ensure!(after.epoch >= epoch, "epoch {epoch} was followed by {}", after.epoch);
    let defended = seen.announced(&owner.name, fault)?;
    // Whoever is served by the stranger is not served: requests are shown, not judged. Afterwards all is well.
    let trial = Trial::start(&state.plan, RATE).await?;
    let now = trial.now();
    trial.finish(now).await?.none_failed()?.held_by(&[&after.owner])?;
    Ok(format!(
        "\"{named}\", defended after {defended:.0} ms; \"{refrained}\"; gone: {new} has it with epoch {epoch}; meanwhile {}",
        seen.words()
    ))
}
