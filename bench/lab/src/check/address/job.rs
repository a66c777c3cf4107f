//! The public address in ordinary trouble: a load balancer, a manager, an admin's wish.

use anyhow::{Context as _, Result, ensure};
use bench::vip::mac_of;

use super::super::Report;
use super::super::job::{RATE, host_of, lives_of};
use super::readings::{told, unix_ms};
use super::rest::{at_rest, moved, vip};
use super::trial::{HANDFUL, Trial};
use crate::commands::kill;
use crate::probe::{Probe, expect_instances, expect_none_failed};
use crate::state::State;
use crate::steps::wait_for;
use crate::up;

/// Requests to the address in the first and last step.
const REQUESTS: u64 = 200;

pub(super) async fn steps(report: &mut Report, state: &State) {
    report
        .step(
            "the public address has one owner, ARP shows it alone, and every VM answers there",
            answers(state),
        )
        .await;
    let name = format!(
        "the owner's load balancer VM killed at {RATE} new connections/s: the address moves, the VM is rebuilt elsewhere"
    );
    report.step(&name, lb_killed(state)).await;
    let name = format!("handover by command at {RATE} new connections/s: none fails");
    report.step(&name, handover(state)).await;
    let name = format!(
        "the owner's manager killed at {RATE} new connections/s: none fails, nothing moves, same QEMU processes"
    );
    report.step(&name, manager_killed(state)).await;
    report.step("the cluster is whole again", answers(state)).await;
}

async fn answers(state: &State) -> Result<String> {
    let rest = at_rest(state).await?;
    let trial = Trial::start(&state.plan, RATE).await?;
    let begun = trial.now();
    let summary = Probe::count(state, &[(state.plan.vip, crate::plan::LB_PORT).into()], REQUESTS).await?;
    let seen = trial.finish(begun).await?;
    expect_none_failed(&summary)?;
    expect_instances(&summary, rest.status.services().map(|vm| vm.id.as_str()))?;
    seen.none_failed()?.held_by(&[&rest.owner])?;
    at_rest(state).await?.expect_same(&rest)?;
    let mac = mac_of(&rest.plan_of(state, &rest.owner)?.netns, "eth0")?;
    Ok(format!("{} at {mac}, epoch {}, {}", rest.owner, rest.epoch, seen.words()))
}

async fn lb_killed(state: &State) -> Result<String> {
    let rest = at_rest(state).await?;
    let before = host_of(&rest.status, &rest.owner)?.lb_addr.context("the owner has a load balancer")?;
    let since = unix_ms();
    let trial = Trial::start(&state.plan, RATE).await?;
    let fault = trial.now();
    kill(state, &format!("lb:{}", rest.owner), "KILL").await?;
    let (owner, epoch) = moved(state, &rest.owner).await?;
    let moved = trial.now();
    let after = at_rest(state).await?;
    let seen = trial.finish(fault).await?;
    ensure!(epoch == rest.epoch + 1, "epoch {} was followed by {epoch}", rest.epoch);
    ensure!(
        (after.epoch, &after.owner) == (epoch, &owner),
        "it moved on to {} with {}",
        after.owner,
        after.epoch
    );
    let rebuilt = host_of(&after.status, &rest.owner)?.lb_addr.context("it is not rebuilt")?;
    ensure!(rebuilt != before, "it was rebuilt at {before} again");
    seen.failed_in_the_move(moved, HANDFUL)?.held_by(&[&rest.owner, &owner])?;
    seen.announced(&owner, fault)?;
    let why = told(rest.plan_of(state, &rest.owner)?, since, &["active -> releasing"]).await?;
    Ok(format!(
        "{} -> {owner}, epoch {epoch} (\"{why}\"), rebuilt at {rebuilt} instead of {before}, {}",
        rest.owner,
        seen.words()
    ))
}

async fn handover(state: &State) -> Result<String> {
    let rest = at_rest(state).await?;
    let host = rest.plan_of(state, &rest.owner)?;
    let trial = Trial::start(&state.plan, RATE).await?;
    let fault = trial.now();
    let said = up::manager_command(state, host, &["vip", "handover"]).await?;
    ensure!(said.contains(&rest.other), "the command says {said:?}");
    let now = vip(rest.plan_of(state, &rest.other)?).await?;
    ensure!(now.owner.as_deref() == Some(&rest.other), "right after it {:?} has the address", now.owner);
    let after = at_rest(state).await?;
    let seen = trial.finish(fault).await?;
    let expected = (&rest.other, rest.epoch + 1);
    ensure!((&after.owner, after.epoch) == expected, "{} has it with {}", after.owner, after.epoch);
    seen.none_failed()?.held_by(&[&rest.owner, &rest.other])?;
    seen.announced(&rest.other, fault)?;
    Ok(format!("{} -> {}, epoch {}, {}", rest.owner, after.owner, after.epoch, seen.words()))
}

async fn manager_killed(state: &State) -> Result<String> {
    let rest = at_rest(state).await?;
    let owner = &rest.owner;
    let lives = |status| -> Result<Vec<_>> {
        state.plan.hosts.iter().map(|host| lives_of(status, &host.name)).collect()
    };
    let before = lives(&rest.status)?;
    let old = host_of(&rest.status, owner)?.manager_pid;
    let plan = rest.plan_of(state, owner)?;
    let trial = Trial::start(&state.plan, RATE).await?;
    let fault = trial.now();
    kill(state, &format!("manager:{owner}"), "KILL").await?;
    wait_for("another manager", super::super::job::MANAGER_WITHIN, || async {
        let pid = host_of(&crate::status::Status::collect(state).await, owner)?.manager_pid;
        ensure!(pid.is_some() && pid != old, "it is still process {old:?}");
        up::manager_is_healthy(plan).await
    })
    .await?;
    let after = at_rest(state).await?;
    let seen = trial.finish(fault).await?;
    after.expect_same(&rest)?;
    seen.none_failed()?.held_by(&[owner])?;
    seen.announced(owner, fault).context("after its manager's return")?;
    let lives = lives(&after.status)?;
    ensure!(lives == before, "the VMs were {before:?} and are {lives:?}");
    Ok(format!("{owner}, epoch {}, {}", after.epoch, seen.words()))
}
