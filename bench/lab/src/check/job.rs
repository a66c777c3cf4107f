//! The main job: requests are served, VMs come back, VMs come and go, managers come back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use wire::VmState;

use super::{Report, address};
use crate::admin::Admin;
use crate::commands::kill;
use crate::plan::LB_PORT;
use crate::probe::{Probe, brief, expect_instances, expect_none_failed};
use crate::procs::Process;
use crate::state::State;
use crate::status::{Host, HostVm, Status, state_word};
use crate::steps::wait_for;
use crate::up;

/// Requests through each load balancer in the first step.
const REQUESTS: u64 = 500;
/// Requests a second, over all load balancers, while something is broken.
pub(super) const RATE: u32 = 100;
/// How long a dead VM may take to be back, on a machine without KVM under load.
pub(super) const HEALED_WITHIN: Duration = Duration::from_secs(60);
/// How long a manager may take to be back.
pub(super) const MANAGER_WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn steps(report: &mut Report, state: &State) {
    for host in &state.plan.hosts {
        let name = format!(
            "{REQUESTS} requests through {}'s load balancer: every answer valid, every VM seen",
            host.name
        );
        report.step(&name, through_one(state, &host.name)).await;
    }
    for host in &state.plan.hosts {
        let name = format!(
            "a QEMU of {} killed at {RATE} requests/s: none fails, same address, next incarnation",
            host.name
        );
        report.step(&name, vm_killed(state, &host.name, "KILL")).await;
    }
    report
        .step(
            "a VM created through the API is served by every load balancer, and removed again",
            come_and_go(state),
        )
        .await;
    report.step("the administrator's commands list the same VMs", command_line(state)).await;
    for host in &state.plan.hosts {
        let name =
            format!("{}'s manager killed at {RATE} requests/s: none fails, same QEMU processes", host.name);
        report.step(&name, manager_killed(state, &host.name)).await;
    }
    address::steps(report, state).await;
}

/// Waits until all VMs are up and every load balancer serves them all, and returns what there is then.
pub(super) async fn settled(state: &State) -> Result<Status> {
    wait_for("the cluster at rest", HEALED_WITHIN, || up::vms_are_up(state, 2)).await?;
    up::all_served(state).await?;
    Ok(Status::collect(state).await)
}

/// Where a host's load balancer takes traffic.
pub(super) fn lb_of(host: &Host) -> Result<SocketAddr> {
    let addr = host.lb_addr.with_context(|| format!("{} has no load balancer", host.name))?;
    Ok((addr, LB_PORT).into())
}

/// Where all load balancers take traffic.
pub(super) fn lbs_of(status: &Status) -> Result<Vec<SocketAddr>> {
    status.hosts.iter().map(lb_of).collect()
}

pub(super) fn host_of<'a>(status: &'a Status, name: &str) -> Result<&'a Host> {
    status.hosts.iter().find(|host| host.name == name).with_context(|| format!("there is no {name}"))
}

/// The first service VM of a host.
pub(super) fn service_of(status: &Status, host: &str) -> Result<HostVm> {
    let prefix = format!("{host}/");
    let vm = status.services().find(|vm| vm.id.starts_with(&prefix));
    vm.cloned().with_context(|| format!("{host} has no service VM"))
}

async fn through_one(state: &State, host: &str) -> Result<String> {
    let status = settled(state).await?;
    let lb = lb_of(host_of(&status, host)?)?;
    let summary = Probe::count(state, &[lb], REQUESTS).await?;
    expect_none_failed(&summary)?;
    ensure!(summary.ok == REQUESTS, "{} answers instead of {REQUESTS}", summary.ok);
    expect_instances(&summary, status.services().map(|vm| vm.id.as_str()))?;
    Ok(brief(&summary))
}

/// A VM's QEMU gets a signal that ends or stops it, under load; then all is as before, one incarnation later.
pub(super) async fn vm_killed(state: &State, host: &str, signal: &str) -> Result<String> {
    let status = settled(state).await?;
    let victim = service_of(&status, host)?;
    let probe = Probe::under_load(state, &lbs_of(&status)?, RATE).await?;
    kill(state, &victim.id, signal).await?;
    let start = Instant::now();
    let healed = healed(state, &victim).await;
    let took = start.elapsed();
    let served = up::all_served(state).await;
    let summary = probe.stop().await?;
    healed?;
    served?;
    // One death, one life: anything else means that a healthy VM was given up on the way.
    let incarnation = Status::collect(state).await.vm(&victim.id).map(|vm| vm.incarnation);
    ensure!(
        incarnation == Some(victim.incarnation + 1),
        "{} went from incarnation {} to {incarnation:?}",
        victim.id,
        victim.incarnation
    );
    expect_none_failed(&summary)?;
    Ok(format!("{} back after {:.1} s, {}", victim.id, took.as_secs_f64(), brief(&summary)))
}

/// Waits until a VM runs again at its address, in a later incarnation, as another process; the old one is gone.
pub(super) async fn healed(state: &State, old: &HostVm) -> Result<()> {
    wait_for(&format!("{} healed", old.id), HEALED_WITHIN, || async {
        let status = Status::collect(state).await;
        let new = status.vm(&old.id).context("its manager does not list it")?;
        ensure!(new.ip == old.ip, "it has address {} instead of {}", new.ip, old.ip);
        ensure!(new.incarnation > old.incarnation, "it is still in incarnation {}", new.incarnation);
        ensure!(new.state == VmState::Up, "incarnation {} is {}", new.incarnation, state_word(new.state));
        ensure!(new.qemu_pid.is_some() && new.qemu_pid != old.qemu_pid, "it has no new process");
        let left = old.qemu_pid.and_then(|pid| Process::of(pid.cast_signed()));
        ensure!(left.is_none(), "its old process {:?} is still there", old.qemu_pid);
        Ok(())
    })
    .await
}

async fn come_and_go(state: &State) -> Result<String> {
    let status = settled(state).await?;
    let host = state.plan.hosts.first().context("there is a host")?;
    let admin = Admin::of(host)?;
    let probe = Probe::under_load(state, &lbs_of(&status)?, RATE).await?;
    let start = Instant::now();
    let id = admin.create().await?;
    ensure!(status.vm(&id).is_none(), "{id} was there before");
    wait_for(&format!("{id} served"), HEALED_WITHIN, || up::vms_are_up(state, 2)).await?;
    up::all_served(state).await?;
    let there = start.elapsed();
    let pid = Status::collect(state).await.vm(&id).and_then(|vm| vm.qemu_pid);
    let process = pid.and_then(|pid| Process::of(pid.cast_signed())).context("it has no process")?;

    let start = Instant::now();
    admin.delete(&id).await?;
    wait_for(&format!("{id} gone"), HEALED_WITHIN, || async {
        ensure!(Status::collect(state).await.vm(&id).is_none(), "its manager still lists it");
        ensure!(!process.is_alive(), "its QEMU still runs");
        Ok(())
    })
    .await?;
    // Now "all" no longer contains it.
    up::all_served(state).await?;
    let gone = start.elapsed();
    let summary = probe.stop().await?;
    ensure!(summary.instances.contains_key(&id), "{id} never answered the client");
    expect_none_failed(&summary)?;
    let (there, gone) = (there.as_secs_f64(), gone.as_secs_f64());
    Ok(format!("{id} served after {there:.1} s, gone after {gone:.1} s, {}", brief(&summary)))
}

/// `manager vm list` and `manager status` of every host, for people and for programs.
async fn command_line(state: &State) -> Result<()> {
    let status = Status::collect(state).await;
    for (host, shown) in state.plan.hosts.iter().zip(&status.hosts) {
        for args in [["vm", "list"].as_slice(), &["status"], &["vm", "list", "--json"], &["status", "--json"]]
        {
            let text = up::manager_command(state, host, args).await?;
            if args.contains(&"--json") {
                serde_json::from_str::<serde_json::Value>(&text).context("not JSON")?;
            }
            if let Some(vm) = shown.vms.iter().find(|vm| !text.contains(&vm.id)) {
                bail!("`manager {}` on {} does not name {}: {text}", args.join(" "), host.name, vm.id);
            }
        }
    }
    Ok(())
}

/// The QEMU processes of all VMs of a host, with their incarnations.
pub(super) fn lives_of(status: &Status, host: &str) -> Result<BTreeMap<String, (u64, Option<u32>)>> {
    Ok(host_of(status, host)?.vms.iter().map(|vm| (vm.id.clone(), (vm.incarnation, vm.qemu_pid))).collect())
}

async fn manager_killed(state: &State, host: &str) -> Result<String> {
    let status = settled(state).await?;
    let before = lives_of(&status, host)?;
    let old = host_of(&status, host)?.manager_pid.context("it has no manager")?;
    let plan = state.plan.host(host).context("it is in the lab")?;
    let probe = Probe::under_load(state, &lbs_of(&status)?, RATE).await?;
    kill(state, &format!("manager:{host}"), "KILL").await?;
    let start = Instant::now();
    let back = wait_for("another manager", MANAGER_WITHIN, || async {
        up::manager_is_healthy(plan).await?;
        let status = Status::collect(state).await;
        let pid = host_of(&status, host)?.manager_pid;
        ensure!(pid.is_some_and(|pid| pid != old), "it is still process {old}");
        ensure!(host_of(&status, host)?.vms.iter().all(|vm| vm.state == VmState::Up), "not all VMs are up");
        ensure!(lives_of(&status, host)?.len() == before.len(), "it does not list all VMs yet");
        Ok(())
    })
    .await;
    let took = start.elapsed();
    let served = up::all_served(state).await;
    let summary = probe.stop().await?;
    back?;
    served?;
    let after = lives_of(&Status::collect(state).await, host)?;
    ensure!(after == before, "the VMs were {before:?} and are {after:?}");
    expect_none_failed(&summary)?;
    Ok(format!("back after {:.1} s, {}", took.as_secs_f64(), brief(&summary)))
}
