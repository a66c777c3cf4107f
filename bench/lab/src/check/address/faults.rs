//! The owner of the public address stands still, is cut off, or has a load balancer that hangs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::sleep;

use super::super::Report;
use super::super::cut::CUT_RATE;
use super::super::job::{RATE, host_of, lives_of};
use super::readings::{told, unix_ms};
use super::rest::{Rest, at_rest, moved};
use super::trial::{HANDFUL, Trial};
use crate::commands::kill;
use crate::network::set_cable;
use crate::state::State;

/// How long a manager stays stopped, and a host cut off.
const PAUSE: Duration = Duration::from_secs(5);
/// Requests that may fail while a load balancer hangs or a host is away: a second's.
const SECOND: usize = RATE as usize;

pub(super) async fn steps(report: &mut Report, state: &State) {
    report
        .step(
            "the owner's manager is stopped for 5 s (SIGSTOP, SIGCONT): none fails, the address stays",
            manager_stopped(state),
        )
        .await;
    report
        .step("the owner's load balancer VM hangs: the address moves, the VM is replaced", lb_frozen(state))
        .await;
    report
        .step(
            "the owner's cable is cut: the address moves; mended: the higher epoch stays and is announced",
            cable_cut(state),
        )
        .await;
}

async fn manager_stopped(state: &State) -> Result<String> {
    let rest = at_rest(state).await?;
    let target = format!("manager:{}", rest.owner);
    let before = lives_of(&rest.status, &rest.owner)?;
    let trial = Trial::start(&state.plan, RATE).await?;
    let fault = trial.now();
    kill(state, &target, "STOP").await?;
    sleep(PAUSE).await;
    kill(state, &target, "CONT").await?;
    let woken = trial.now();
    let after = at_rest(state).await?;
    let seen = trial.finish(fault).await?;
    after.expect_same(&rest)?;
    seen.none_failed()?.held_by(&[&rest.owner])?;
    seen.announced(&rest.owner, woken).context("after it went on")?;
    let lives = lives_of(&after.status, &rest.owner)?;
    ensure!(lives == before, "the VMs were {before:?} and are {lives:?}");
    Ok(format!("{}, epoch {}, {}", after.owner, after.epoch, seen.words()))
}

async fn lb_frozen(state: &State) -> Result<String> {
    let rest = at_rest(state).await?;
    let before = host_of(&rest.status, &rest.owner)?.vms.iter().find(|vm| vm.role == wire::Role::Lb);
    let before = before.cloned().context("the owner has a load balancer")?;
    let since = unix_ms();
    let trial = Trial::start(&state.plan, RATE).await?;
    let fault = trial.now();
    kill(state, &format!("lb:{}", rest.owner), "STOP").await?;
    let (owner, epoch) = moved(state, &rest.owner).await?;
    let moved = trial.now();
    let after = at_rest(state).await?;
    let seen = trial.finish(fault).await?;
    expect_moved(&rest, &after, &owner, epoch)?;
    seen.failed_in_the_move(moved, SECOND)?.held_by(&[&rest.owner, &owner])?;
    seen.announced(&owner, fault)?;
    let new = host_of(&after.status, &rest.owner)?.vms.iter().find(|vm| vm.role == wire::Role::Lb);
    let new = new.context("it has no load balancer")?;
    ensure!(new.qemu_pid != before.qemu_pid, "the VM that hung is still there: {before:?}");
    let why = told(rest.plan_of(state, &rest.owner)?, since, &["active -> releasing"]).await?;
    Ok(format!("{} -> {owner}, epoch {epoch} (\"{why}\"), {}", rest.owner, seen.words()))
}

async fn cable_cut(state: &State) -> Result<String> {
    let rest = at_rest(state).await?;
    let since = unix_ms();
    let trial = Trial::start(&state.plan, CUT_RATE).await?;
    let fault = trial.now();
    set_cable(&state.plan, &rest.owner, false)?;
    let moved = moved(state, &rest.owner).await;
    let known = trial.now();
    sleep(PAUSE.saturating_sub(known - fault)).await;
    let mended = trial.now();
    set_cable(&state.plan, &rest.owner, true)?;
    let (owner, epoch) = moved?;
    let after = at_rest(state).await?;
    let seen = trial.finish(fault).await?;
    expect_moved(&rest, &after, &owner, epoch)?;
    seen.held_by(&[&rest.owner, &owner])?;
    // A client may believe the one who is back for a moment, and its connection breaks.
    seen.failed_in_the_move(mended + PAUSE, SECOND + HANDFUL)?;
    let announced = seen.announced(&owner, mended).context("after the cable was back")?;
    let why = told(rest.plan_of(state, &owner)?, since, &["standby -> claiming"]).await?;
    told(rest.plan_of(state, &rest.owner)?, since, &["active -> standby"]).await?;
    Ok(format!(
        "{} -> {owner}, epoch {epoch} (\"{why}\"), announced {announced:.0} ms after the cable was back, {}",
        rest.owner,
        seen.words()
    ))
}

/// An error unless the address moved once, and stayed there.
fn expect_moved(before: &Rest, after: &Rest, owner: &str, epoch: u64) -> Result<()> {
    ensure!(epoch > before.epoch, "epoch {} was followed by {epoch}", before.epoch);
    ensure!(
        (after.owner.as_str(), after.epoch) == (owner, epoch),
        "it moved on from {owner} with epoch {epoch} to {} with {}",
        after.owner,
        after.epoch
    );
    Ok(())
}
