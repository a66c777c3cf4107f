//! What the cluster looks like now, for people and for programs.
//!
//! Programs rely on the names in [`Status`]; new ones may be added, none is changed. A manager that does not
//! answer is no failure of the command: its host is shown with what it last said, and with an `error`.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};
use wire::{ClusterView, Role, Vm, VmState};

use crate::api;
use crate::control::{self, Request};
use crate::plan::{CLIENT_NETNS, HostPlan, Plan};
use crate::state::{State, host_dir, write_atomically};
use crate::units::{Kind, UnitView};

#[cfg(test)]
mod tests;

/// The state of a manager whose host owns the public address.
const OWNER_STATE: &str = "active";

/// The cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    /// The public address; none before a manager says that there is one.
    pub vip: Option<Ipv4Addr>,
    /// The host that owns it by its own account; none if there is none, or more than one.
    pub vip_owner: Option<String>,
    /// All of the lab's addresses.
    pub net: ipnet::Ipv4Net,
    /// The process that owns the cluster, while it runs.
    pub supervisor_pid: Option<i32>,
    /// The client.
    pub client: Client,
    /// The hosts.
    pub hosts: Vec<Host>,
}

/// The client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Client {
    /// Its network namespace.
    pub netns: String,
    /// Its address in the LAN.
    pub lan_addr: Ipv4Addr,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Host {
    /// Its name.
    pub name: String,
    /// Its network namespace.
    pub netns: String,
    /// Its address in the LAN.
    pub lan_addr: Ipv4Addr,
    /// Where its manager's API listens, as `address:port`.
    pub api: String,
    /// Its manager's process, while it runs.
    pub manager_pid: Option<i32>,
    /// The address of its load balancer, once it has one.
    pub lb_addr: Option<Ipv4Addr>,
    /// Where its manager is with the public address, in its own word (`standby`, `active`, …); none if it does not say.
    pub vip_state: Option<String>,
    /// Its VMs.
    pub vms: Vec<HostVm>,
    /// Why the above is not of now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The part of a manager's answer to `GET /v1/cluster` about the public address, as far as it is used here. A manager
/// without one does not have it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct VipPart {
    /// The address.
    pub addr: Ipv4Addr,
    /// Where this manager is with it.
    pub state: String,
}

/// What a host's manager says of itself and of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// Its VMs and its peers.
    pub view: ClusterView,
    /// Where it is with the public address.
    pub vip: Option<VipPart>,
}

/// A VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostVm {
    /// `<host>/<name>`.
    pub id: String,
    /// What it is for.
    pub role: Role,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Where it is in its life.
    pub state: VmState,
    /// Which life this is.
    pub incarnation: u64,
    /// Its QEMU process, while it runs.
    pub qemu_pid: Option<u32>,
}

impl From<Vm> for HostVm {
    fn from(vm: Vm) -> Self {
        let Vm { id, role, addr, state, incarnation, qemu_pid, .. } = vm;
        Self { id, role, ip: addr, state, incarnation, qemu_pid }
    }
}

impl Status {
    /// Asks the supervisor and every manager.
    pub(crate) async fn collect(state: &State) -> Self {
        let units = control::ask(&Request::Status).await.unwrap_or_default();
        let mut asked = Vec::new();
        for host in state.plan.hosts.clone() {
            asked.push(tokio::spawn(async move { account(&host).await }));
        }
        let mut views = Vec::new();
        for task in asked {
            views.push(
                task.await.unwrap_or_else(|error| Err(error.into())).map_err(|error| format!("{error:#}")),
            );
        }
        for (host, view) in state.plan.hosts.iter().zip(&views) {
            if let Ok(account) = view {
                remember(host, &account.view);
            }
        }
        let last = state.plan.hosts.iter().map(last_known).collect();
        let supervisor = state.live_supervisor().map(|process| process.pid);
        Self::build(&state.plan, supervisor, &units, views, last)
    }

    fn build(
        plan: &Plan,
        supervisor_pid: Option<i32>,
        units: &[UnitView],
        views: Vec<Result<Account, String>>,
        last_known: Vec<Vec<HostVm>>,
    ) -> Self {
        let vip = views.iter().flatten().find_map(|account| account.vip.as_ref()).map(|vip| vip.addr);
        let hosts = plan.hosts.iter().zip(views).zip(last_known);
        let hosts: Vec<Host> =
            hosts.map(|((host, view), last)| Host::build(host, units, view, last)).collect();
        let mut owners = hosts.iter().filter(|host| host.owns_vip());
        let vip_owner = match (owners.next(), owners.next()) {
            (Some(owner), None) => Some(owner.name.clone()),
            _ => None,
        };
        Self {
            vip,
            vip_owner,
            net: plan.net,
            supervisor_pid,
            client: Client { netns: CLIENT_NETNS.to_owned(), lan_addr: plan.client },
            hosts,
        }
    }

    /// The public address and every host's state, in a line.
    fn vip_words(&self) -> String {
        let Some(vip) = self.vip else { return "no public address".to_owned() };
        let owner = match &self.vip_owner {
            Some(owner) => format!("owned by {owner}"),
            None => "without one owner".to_owned(),
        };
        let states = self
            .hosts
            .iter()
            .map(|host| format!("{} {}", host.name, host.vip_state.as_deref().unwrap_or("unknown")));
        format!("public address {vip}, {owner} ({})", states.collect::<Vec<_>>().join(", "))
    }

    /// The VMs of all hosts.
    pub(crate) fn vms(&self) -> impl Iterator<Item = &HostVm> {
        self.hosts.iter().flat_map(|host| &host.vms)
    }

    /// The service VMs of all hosts.
    pub(crate) fn services(&self) -> impl Iterator<Item = &HostVm> {
        self.vms().filter(|vm| vm.role == Role::Service)
    }

    /// The VM with this id.
    pub(crate) fn vm(&self, id: &str) -> Option<&HostVm> {
        self.vms().find(|vm| vm.id == id)
    }

    /// The status as text.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["HOST", "LAN", "VM", "ROLE", "IP", "STATE", "INCARNATION", "QEMU"]);
        for host in &self.hosts {
            for vm in &host.vms {
                table.add_row([
                    host.name.clone(),
                    host.lan_addr.to_string(),
                    vm.id.clone(),
                    vm.role.as_str().to_owned(),
                    vm.ip.to_string(),
                    state_word(vm.state).to_owned(),
                    vm.incarnation.to_string(),
                    vm.qemu_pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                ]);
            }
        }
        let mut text = format!(
            "network {}, client in {}\n{}\n\n{table}\n",
            self.net,
            self.client.netns,
            self.vip_words()
        );
        for host in &self.hosts {
            let pid = host.manager_pid.map_or_else(|| "none".to_owned(), |pid| pid.to_string());
            text.push_str(&format!("\n{}: API http://{}, manager process {pid}", host.name, host.api));
            if let Some(addr) = host.lb_addr {
                text.push_str(&format!(", load balancer http://{addr}/"));
            }
            if let Some(error) = &host.error {
                text.push_str(&format!("\n{}: VMs as last known: {error}", host.name));
            }
        }
        if self.supervisor_pid.is_none() {
            text.push_str("\nthe lab's supervisor has ended: `./demo down` removes what is left");
        }
        text
    }
}

impl Host {
    fn build(
        plan: &HostPlan,
        units: &[UnitView],
        account: Result<Account, String>,
        last: Vec<HostVm>,
    ) -> Self {
        let manager = units.iter().find(|unit| unit.host == plan.name && unit.kind == Kind::Manager);
        let (vms, lb, vip, error) = match account {
            Ok(Account { view, vip }) => {
                (view.vms.into_iter().map(HostVm::from).collect(), view.lb, vip, None)
            }
            Err(error) => (last, None, None, Some(error)),
        };
        let lb_vm = || vms.iter().find(|vm: &&HostVm| vm.role == Role::Lb).map(|vm| vm.ip);
        let lb_addr = lb.and_then(|addr| match addr.ip() {
            std::net::IpAddr::V4(addr) => Some(addr),
            std::net::IpAddr::V6(_) => None,
        });
        Self {
            name: plan.name.clone(),
            netns: plan.netns.clone(),
            lan_addr: plan.lan_addr,
            api: plan.api().to_string(),
            manager_pid: manager.and_then(|unit| unit.pid),
            lb_addr: lb_addr.or_else(lb_vm),
            vip_state: vip.map(|vip| vip.state),
            vms,
            error,
        }
    }

    fn owns_vip(&self) -> bool {
        self.vip_state.as_deref() == Some(OWNER_STATE)
    }
}

/// The word used in JSON.
pub(crate) fn state_word(state: VmState) -> &'static str {
    match state {
        VmState::Starting => "starting",
        VmState::Up => "up",
        VmState::Suspect => "suspect",
        VmState::Draining => "draining",
        VmState::Down => "down",
    }
}

/// What a host's manager knows of the cluster.
pub(crate) async fn cluster_view(host: &HostPlan) -> Result<ClusterView> {
    api::get(host.api(), "/v1/cluster").await
}

/// As [`cluster_view`], with what is said of the public address.
pub(crate) async fn account(host: &HostPlan) -> Result<Account> {
    let value: serde_json::Value = api::get(host.api(), "/v1/cluster").await?;
    parse_account(value).with_context(|| format!("{}: /v1/cluster", host.name))
}

/// The host that owns the public address, if exactly one says so. Those that do not answer are passed over.
pub(crate) async fn vip_owner(plan: &Plan) -> Option<String> {
    let asked = plan.hosts.iter().cloned().map(|host| {
        tokio::spawn(async move {
            let vip: VipPart = api::get(host.api(), "/v1/vip").await.ok()?;
            (vip.state == OWNER_STATE).then_some(host.name)
        })
    });
    let asked: Vec<_> = asked.collect();
    let mut owners = Vec::new();
    for task in asked {
        owners.extend(task.await.ok().flatten());
    }
    (owners.len() == 1).then(|| owners.remove(0))
}

fn parse_account(value: serde_json::Value) -> Result<Account> {
    let vip = match value.get("vip") {
        None | Some(serde_json::Value::Null) => None,
        Some(vip) => Some(VipPart::deserialize(vip).context("vip")?),
    };
    Ok(Account { view: serde_json::from_value(value)?, vip })
}

/// A host's VMs, as its manager lists them now or, if it does not answer, as it last did.
pub(crate) async fn vms_of(host: &HostPlan) -> Vec<HostVm> {
    match cluster_view(host).await {
        Ok(view) => view.vms.into_iter().map(HostVm::from).collect(),
        Err(_) => last_known(host),
    }
}

fn last_known_file(host: &HostPlan) -> std::path::PathBuf {
    host_dir(&host.name).join("vms.json")
}

fn remember(host: &HostPlan, view: &ClusterView) {
    let vms: Vec<HostVm> = view.vms.iter().cloned().map(HostVm::from).collect();
    // Only a convenience for later: a status that cannot be remembered is still a status.
    let _ = serde_json::to_vec(&vms).map(|bytes| write_atomically(&last_known_file(host), &bytes));
}

fn last_known(host: &HostPlan) -> Vec<HostVm> {
    let bytes = fs::read(last_known_file(host)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}
