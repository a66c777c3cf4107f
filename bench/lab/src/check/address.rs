//! The public address: whoever fails, one host answers for it, clients are served, and the managers say what is wrong.
//!
//! Clients open a new connection for every request, and all the while a station on the LAN asks by ARP who has the
//! address. Both count more than what the managers say of themselves.

mod attack;
mod commands;
mod disk;
mod faults;
mod frame;
mod imposter;
mod job;
mod readings;
mod rest;
mod station;
mod stranger;
mod trial;

use super::Report;
use crate::plan::Plan;
use crate::state::State;
use crate::steps::say;

/// What clients see of the address, and what happens when its owner loses a part.
pub(super) async fn steps(report: &mut Report, state: &State) {
    job::steps(report, state).await;
}

/// Worse things: silence, splits, strangers, forgeries, full disks, mistakes.
pub(super) async fn fault_steps(report: &mut Report, state: &State) {
    faults::steps(report, state).await;
    let [.., last] = state.plan.hosts.as_slice() else { return };
    report
        .step(
            "a strange host has the public address: it is named, the owner defends, and nobody else claims",
            stranger::foreign_host(state),
        )
        .await;
    report
        .step(
            "2,000 each of garbage, truncated, forged and replayed datagrams to both managers: dropped, counted, none fails",
            attack::datagrams(state),
        )
        .await;
    report
        .step(
            "a second manager with a peer's name: refused by both, and what it says is not used",
            imposter::same_name(state, last),
        )
        .await;
    report
        .step(
            "the nominee's disk is full: the handover is refused and says why, none fails",
            disk::handover(state),
        )
        .await;
    report
        .step(
            "the owner is cut off and the other's disk is full: it claims all the same, and says so",
            disk::claim(state),
        )
        .await;
    report
        .step(
            "a cut host is forgotten: its services leave the set, and come back with it",
            commands::forget(state),
        )
        .await;
    report
        .step("nonsense about the public address: clear errors, nothing moves", commands::nonsense(state))
        .await;
}

/// Prints what the managers tell of the public address and of each other.
pub(super) async fn print_events(plan: &Plan) {
    for host in &plan.hosts {
        say(format!("--- {}: events", host.name));
        match readings::events(host, 0).await {
            Ok(events) => {
                for event in events.iter().filter(|event| !event.subject.contains('/')) {
                    say(format!("    {} {}: {}", clock(event.unix_ms), event.subject, event.text));
                }
            }
            Err(error) => drop(say(format!("    {error:#}"))),
        }
    }
}

/// The time of day (UTC) of a moment.
fn clock(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1_000 % 86_400, unix_ms % 1_000);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}
