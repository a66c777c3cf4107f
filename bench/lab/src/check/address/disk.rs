//! A full disk at the moment at which an epoch must be written.

use anyhow::{Result, ensure};
use http::{Method, StatusCode};

use super::super::cut::CUT_RATE;
use super::super::faults::Filler;
use super::super::job::RATE;
use super::readings::{told, unix_ms};
use super::rest::{at_rest, moved, vip};
use super::trial::{HANDFUL, TIMEOUT, Trial};
use crate::admin::{Admin, expect_error};
use crate::network::set_cable;
use crate::state::State;

/// What every message about it names.
const NO_ROOM: &str = "No space left";

pub(super) async fn handover(state: &State) -> Result<String> {
    let rest = at_rest(state).await?;
    let (owner, nominee) = (rest.plan_of(state, &rest.owner)?, rest.plan_of(state, &rest.other)?);
    let admin = Admin::of(owner)?;
    let since = unix_ms();
    let trial = Trial::start(&state.plan, RATE).await?;
    let filler = Filler::fill(&nominee.name)?;
    let fault = trial.now();
    let body = format!(r#"{{"to": "{}"}}"#, nominee.name);
    let response = admin.send(Method::POST, "/v1/vip/handover", Some(&body)).await;
    let told = told(nominee, since, &[NO_ROOM]).await;
    let stays = vip(owner).await;
    drop(filler);
    let error = expect_error(&response?, StatusCode::BAD_GATEWAY, Some("handover_failed"))?;
    ensure!(error.message.contains(&nominee.name), "it does not name {}: {}", nominee.name, error.message);
    let told = told?;
    let stays = stays?;
    ensure!(stays.owner.as_deref() == Some(&owner.name), "{:?} has the address", stays.owner);
    let after = at_rest(state).await?;
    let seen = trial.finish(fault).await?;
    ensure!(after.owner == rest.owner, "{} has the address", after.owner);
    seen.none_failed()?.held_by(&[&owner.name])?;
    Ok(format!("\"{}\"; {}: \"{told}\"; {}", error.message, nominee.name, seen.words()))
}

pub(super) async fn claim(state: &State) -> Result<String> {
    let rest = at_rest(state).await?;
    let (owner, other) = (rest.plan_of(state, &rest.owner)?, rest.plan_of(state, &rest.other)?);
    let since = unix_ms();
    let trial = Trial::start(&state.plan, CUT_RATE).await?;
    let filler = Filler::fill(&other.name)?;
    let fault = trial.now();
    set_cable(&state.plan, &owner.name, false)?;
    let moved = moved(state, &owner.name).await;
    let told = told(other, since, &["not on disk", NO_ROOM]).await;
    let meanwhile = vip(other).await;
    drop(filler);
    let mended = trial.now();
    set_cable(&state.plan, &owner.name, true)?;
    let (new, epoch) = moved?;
    let told = told?;
    ensure!(!meanwhile?.recorded, "it says that its epoch is on disk");
    // There is room again, so this also waits until the epoch is written.
    let after = at_rest(state).await?;
    let seen = trial.finish(fault).await?;
    ensure!((&after.owner, after.epoch) == (&new, epoch), "{} has it with {}", after.owner, after.epoch);
    seen.failed_in_the_move(mended + TIMEOUT, RATE as usize + HANDFUL)?;
    seen.held_by(&[&owner.name, &new])?;
    Ok(format!("{new}: \"{told}\"; written when there was room, {}", seen.words()))
}
