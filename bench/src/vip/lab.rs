//! The project's own cluster, as the lab runs it: asked and broken through the lab's own commands.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use super::fault::Fault;
use super::observe::Stage;
use super::system::System;
use super::watch::{Lan, mac_of};

#[cfg(test)]
mod tests;

/// The lab's switch.
const SWITCH: (&str, &str) = ("phx-lan", "lan0");
/// The interface of a host in the LAN.
const INTERFACE: &str = "eth0";
/// The last number of the address in whose name is asked: the lab gives it to nobody.
const ASKER: u8 = 199;
/// How long a manager stays stopped, and a host cut off.
const HOLD: Duration = Duration::from_secs(5);

/// What `lab status --json` says, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
struct Status {
    vip: Option<Ipv4Addr>,
    vip_owner: Option<String>,
    client: Client,
    hosts: Vec<Host>,
}

#[derive(Debug, Clone, Deserialize)]
struct Client {
    netns: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Host {
    name: String,
    netns: String,
    manager_pid: Option<i32>,
    lb_addr: Option<Ipv4Addr>,
    vip_state: Option<String>,
    vms: Vec<Vm>,
    error: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Vm {
    id: String,
    role: String,
    state: String,
}

/// A lab that is up.
#[derive(Debug)]
pub(super) struct Lab {
    program: PathBuf,
    stage: Stage,
    /// How many VMs each host has.
    vms: BTreeMap<String, usize>,
}

impl Lab {
    /// The lab of this machine, as `program` knows it.
    ///
    /// # Errors
    /// When there is none, or it has no public address.
    pub(super) fn find(program: &Path) -> Result<Self> {
        let status = read(program).context("a lab must be up (./demo up)")?;
        let vip = status.vip.context("the lab has no public address")?;
        let mut names = BTreeMap::new();
        for host in &status.hosts {
            names.insert(mac_of(&host.netns, INTERFACE)?, host.name.clone());
        }
        let [a, b, c, _] = vip.octets();
        let lan = Lan {
            namespace: SWITCH.0.to_owned(),
            bridge: SWITCH.1.to_owned(),
            vip,
            asker: [a, b, c, ASKER].into(),
        };
        let vms = status.hosts.iter().map(|host| (host.name.clone(), host.vms.len())).collect();
        let stage = Stage { client: status.client.netns, lan, names };
        Ok(Self { program: program.to_owned(), stage, vms })
    }

    fn command(&self, args: &[&str]) -> Result<()> {
        command(&self.program, args).map(drop)
    }
}

impl System for Lab {
    fn stage(&self) -> &Stage {
        &self.stage
    }

    fn faults(&self) -> &[Fault] {
        &Fault::ALL
    }

    fn settled(&self) -> Result<String> {
        settled(&read(&self.program)?, &self.vms)
    }

    fn strike(&mut self, fault: Fault, owner: &str) -> Result<()> {
        let (lb, program) = (format!("lb:{owner}"), format!("program:lb:{owner}"));
        let manager = format!("manager:{owner}");
        match fault {
            Fault::Nothing => Ok(()),
            Fault::Handover => {
                let config = "/etc/phalanx/manager.toml";
                self.command(&["exec", owner, "--", "manager", "vip", "handover", "--config", config])
            }
            Fault::LbVmKilled => self.command(&["kill", &lb]),
            Fault::LbFrozen => self.command(&["kill", &lb, "--signal", "STOP"]),
            Fault::LbKilled => self.command(&["kill", &program]),
            Fault::ManagerKilled => self.command(&["kill", &manager]),
            Fault::ManagerStopped => self.command(&["kill", &manager, "--signal", "STOP"]),
            Fault::HostCut => self.command(&["cut", owner]),
            Fault::HostBack => bail!("it follows from a cut"),
        }
    }

    fn hold(&self, fault: Fault) -> Duration {
        match fault {
            Fault::ManagerStopped | Fault::HostCut => HOLD,
            _ => Duration::ZERO,
        }
    }

    fn undo(&mut self, fault: Fault, owner: &str) -> Result<()> {
        match fault {
            Fault::ManagerStopped => self.command(&["kill", &format!("manager:{owner}"), "--signal", "CONT"]),
            Fault::HostCut => self.command(&["mend", owner]),
            // The managers, or the lab's supervisor, see to it.
            _ => Ok(()),
        }
    }
}

/// The owner, if every host has all of its VMs and its manager, and one host owns the address while the others stand
/// by.
fn settled(status: &Status, vms: &BTreeMap<String, usize>) -> Result<String> {
    for host in &status.hosts {
        let name = &host.name;
        if let Some(error) = &host.error {
            bail!("{name}: {error}");
        }
        ensure!(host.manager_pid.is_some(), "{name} has no manager");
        ensure!(host.lb_addr.is_some(), "{name} has no load balancer");
        let count = vms.get(name).copied().unwrap_or_default();
        ensure!(host.vms.len() >= count, "{name} has {} of {count} VMs", host.vms.len());
        ensure!(host.vms.iter().any(|vm| vm.role == "lb"), "{name} has no load balancer's VM");
        if let Some(vm) = host.vms.iter().find(|vm| vm.state != "up") {
            bail!("{} is {}", vm.id, vm.state);
        }
        let state = host.vip_state.as_deref().unwrap_or("unknown");
        ensure!(matches!(state, "active" | "standby"), "{name} is in state {state}");
    }
    let active = status.hosts.iter().filter(|host| host.vip_state.as_deref() == Some("active"));
    let active: Vec<&str> = active.map(|host| host.name.as_str()).collect();
    match active.as_slice() {
        [owner] if status.vip_owner.as_deref() == Some(*owner) => Ok((*owner).to_owned()),
        [owner] => bail!("{owner} owns the address, and the lab says {:?}", status.vip_owner),
        [] => bail!("nobody owns the address"),
        several => bail!("{} own the address", several.join(" and ")),
    }
}

fn read(program: &Path) -> Result<Status> {
    serde_json::from_str(&command(program, &["status", "--json"])?).context("lab status is not understood")
}

/// Runs the lab's program; what it prints.
fn command(program: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "lab {}: {}: {}", args.join(" "), output.status, stderr.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
