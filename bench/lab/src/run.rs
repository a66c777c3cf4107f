//! The demonstration: a cluster comes up, is queried once a second by the line, and goes when the user goes.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cli::UpArgs;
use crate::commands::down;
use crate::interrupt::Interrupt;
use crate::plan::LB_PORT;
use crate::probe::Probe;
use crate::state::State;
use crate::status::Status;
use crate::steps::say;
use crate::up;

/// Requests a second, over all load balancers.
const RATE: u32 = 100;

/// Runs until a signal, or until nobody reads any more; then everything is removed.
pub(crate) async fn run(args: &UpArgs) -> Result<ExitCode> {
    let mut interrupt = Interrupt::catch()?;
    let state = up::up(args, &mut interrupt).await?;
    let status = Status::collect(&state).await;
    say(welcome(&status));
    let watched = watch(&state, &status, &mut interrupt).await;
    down().await?;
    watched.map(|()| ExitCode::SUCCESS)
}

async fn watch(state: &State, status: &Status, interrupt: &mut Interrupt) -> Result<()> {
    let lbs: Vec<_> = status.hosts.iter().filter_map(|host| Some((host.lb_addr?, LB_PORT).into())).collect();
    let mut probe = Probe::start(state, &lbs, RATE)?;
    say(format!(
        "{RATE} requests a second from the client, over all load balancers. Ctrl-C removes everything."
    ));
    loop {
        tokio::select! {
            interval = probe.next() => match interval? {
                Some(interval) if say(interval.to_string()) => {}
                Some(_) => return Ok(()),
                None => bail!("the probe has ended"),
            },
            name = interrupt.wait() => {
                say(format!("\n{name}"));
                say(probe.stop().await?.to_string());
                return Ok(());
            }
        }
    }
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
    if let Some(addr) = status.hosts.iter().find_map(|host| host.lb_addr) {
        text.push_str(&format!("  curl http://{addr}/int?min=1\\&max=6\n"));
    }
    if let Some(vm) = status.services().next() {
        text.push_str(&format!("  ./demo kill {}            # it comes back at {}\n", vm.id, vm.ip));
        text.push_str(&format!("  ./demo kill {} --signal STOP\n", vm.id));
    }
    if let Some(host) = status.hosts.last() {
        text.push_str(&format!("  ./demo kill manager:{}\n", host.name));
        text.push_str(&format!("  ./demo cut {0}; ./demo mend {0}\n", host.name));
        text.push_str(&format!("  ./demo exec {} -- manager vm create\n", host.name));
    }
    text.push_str("  ./demo status\n");
    text
}
