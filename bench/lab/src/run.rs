//! The demonstration: a cluster comes up, its public address is queried once a second by the line, and it goes when the
//! user goes.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::cli::UpArgs;
use crate::commands::down;
use crate::interrupt::Interrupt;
use crate::plan::LB_PORT;
use crate::probe::Probe;
use crate::state::State;
use crate::status::Status;
use crate::steps::say;
use crate::{status, up};

/// Requests a second, each on a connection of its own.
const RATE: u32 = 100;
/// Between two looks at who has the address.
const LOOK: Duration = Duration::from_millis(300);

/// Runs until a signal, or until nobody reads any more; then everything is removed.
pub(crate) async fn run(args: &UpArgs) -> Result<ExitCode> {
    let mut interrupt = Interrupt::catch()?;
    let state = up::up(args, &mut interrupt).await?;
    say(welcome(&Status::collect(&state).await));
    let (owner, shown) = watch::channel(status::vip_owner(&state.plan).await);
    let watched = tokio::select! {
        watched = watch(&state, shown, &mut interrupt) => watched,
        never = follow(&state, owner) => match never {},
    };
    down().await?;
    watched.map(|()| ExitCode::SUCCESS)
}

/// Looks who has the address, for ever.
async fn follow(state: &State, owner: watch::Sender<Option<String>>) -> std::convert::Infallible {
    loop {
        let now = status::vip_owner(&state.plan).await;
        owner.send_if_modified(|before| {
            let differs = *before != now;
            *before = now;
            differs
        });
        sleep(LOOK).await;
    }
}

async fn watch(
    state: &State,
    mut owner: watch::Receiver<Option<String>>,
    interrupt: &mut Interrupt,
) -> Result<()> {
    let vip = state.plan.vip;
    let mut probe = Probe::new_connections(state, (vip, LB_PORT).into(), RATE)?;
    say(format!(
        "{RATE} requests a second from the client to {vip}, each on a connection of its own. Ctrl-C removes everything."
    ));
    loop {
        tokio::select! {
            interval = probe.next() => match interval? {
                Some(interval) if say(format!("{interval}  [{}]", owned_by(owner.borrow().as_deref()))) => {}
                Some(_) => return Ok(()),
                None => bail!("the probe has ended"),
            },
            Ok(()) = owner.changed() => {
                let now = owned_by(owner.borrow_and_update().as_deref());
                say(format!("        {vip}: {now}"));
            }
            name = interrupt.wait() => {
                say(format!("\n{name}"));
                say(probe.stop().await?.to_string());
                return Ok(());
            }
        }
    }
}

fn owned_by(owner: Option<&str>) -> String {
    owner.map_or_else(
        || "nobody, or several, say that they own it".to_owned(),
        |owner| format!("owner {owner}"),
    )
}

/// The addresses of a cluster, and what to try.
pub(crate) fn welcome(status: &Status) -> String {
    let mut text = "\nThe cluster is up. From this machine:\n".to_owned();
    if let Some(vip) = status.vip {
        text.push_str(&format!("  public address        http://{vip}/int   (whichever host fails)\n"));
    }
    for host in &status.hosts {
        if let Some(addr) = host.lb_addr {
            text.push_str(&format!(
                "  {}: load balancer  http://{addr}/int   (also /bool /float /double)\n",
                host.name
            ));
        }
        text.push_str(&format!("  {}: manager        http://{}/v1/cluster\n", host.name, host.api));
    }
    text.push_str("Try, in another terminal:\n");
    let lb = || status.hosts.iter().find_map(|host| host.lb_addr);
    if let Some(addr) = status.vip.or_else(lb) {
        text.push_str(&format!("  curl http://{addr}/int?min=1\\&max=6\n"));
    }
    if let Some(owner) = &status.vip_owner {
        text.push_str(&format!(
            "  ./demo kill lb:{owner}            # the public address moves to another host\n"
        ));
        text.push_str(&format!("  ./demo kill program:lb:{owner}\n"));
        text.push_str(&format!("  ./demo exec {owner} -- manager vip handover\n"));
    }
    if let Some(vm) = status.services().next() {
        text.push_str(&format!("  ./demo kill {}            # it comes back at {}\n", vm.id, vm.ip));
        text.push_str(&format!("  ./demo kill {} --signal STOP\n", vm.id));
    }
    if let Some(host) = status.hosts.last() {
        text.push_str(&format!("  ./demo kill manager:{}\n", host.name));
        text.push_str(&format!("  ./demo cut {0}; ./demo mend {0}\n", host.name));
        text.push_str(&format!("  ./demo exec {} -- manager vm create\n", host.name));
        text.push_str(&format!("  ./demo exec {} -- manager events\n", host.name));
    }
    text.push_str("  ./demo status\n");
    text
}
