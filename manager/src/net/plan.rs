//! What to change so that the host's network becomes what it should be: a pure comparison.
//!
//! Whatever is not ours is left alone. Ours are: the bridge that carries our alias or our MAC, addresses and
//! neighbour entries on it and routes anywhere that carry [`ROUTE_PROTOCOL`]. Something of others that is in
//! the way is a [`Conflict`], to be reported and not resolved here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::mac::MacAddr;
use super::sysctl::Sysctl;

/// Marks every route, address and neighbour entry we make, so that they can be found again and removed.
/// The number is free in the kernel's and in iproute2's lists.
pub const ROUTE_PROTOCOL: u8 = 0x50;

/// Marks the bridge we made (`ip link show` prints it).
pub const BRIDGE_ALIAS: &str = "phalanx";

/// How the network should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The LAN interface's name.
    pub interface: String,
    /// The bridge's name.
    pub bridge: String,
    /// The bridge's MAC.
    pub bridge_mac: MacAddr,
    /// The host's address on the bridge, with the pool's prefix length.
    pub addr: Ipv4Net,
    /// Each peer's pool and its LAN address.
    pub routes: BTreeMap<Ipv4Net, Ipv4Addr>,
    /// The VMs on the bridge.
    pub vms: BTreeMap<Ipv4Addr, MacAddr>,
}

impl Desired {
    /// The switches that matter for it.
    pub fn sysctls(&self) -> [Sysctl; 5] {
        [
            Sysctl::IpForward,
            Sysctl::SendRedirects("all".to_owned()),
            Sysctl::SendRedirects(self.bridge.clone()),
            Sysctl::Forwarding(self.bridge.clone()),
            Sysctl::Forwarding(self.interface.clone()),
        ]
    }
}

/// How the network is, as far as it matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The LAN interface, if it exists.
    pub interface: Option<Interface>,
    /// The bridge, or whatever has its name.
    pub bridge: Option<Bridge>,
    /// IPv4 addresses on the bridge, and whether they carry our mark.
    pub addrs: BTreeMap<Ipv4Net, bool>,
    /// IPv4 unicast routes of the main table.
    pub routes: Vec<Route>,
    /// Permanent neighbour entries on the bridge.
    pub neighbours: BTreeMap<Ipv4Addr, Neighbour>,
    /// Tap devices that belong to no bridge: name and MAC.
    pub loose_taps: Vec<(String, MacAddr)>,
    /// The switches that exist.
    pub sysctls: BTreeMap<Sysctl, String>,
}

/// The LAN interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Whether it is switched on (a cable may still be missing).
    pub up: bool,
}

/// The device with the bridge's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its number.
    pub index: u32,
    /// Whether it is a bridge at all.
    pub is_bridge: bool,
    /// Whether it is switched on.
    pub up: bool,
    /// Its MAC.
    pub mac: Option<MacAddr>,
    /// Its alias.
    pub alias: Option<String>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination.
    pub dst: Ipv4Net,
    /// The gateway, if there is exactly one.
    pub via: Option<Ipv4Addr>,
    /// The outgoing interface's number, if there is exactly one.
    pub oif: Option<u32>,
    /// Who made it.
    pub protocol: u8,
    /// Its metric; the lowest wins.
    pub metric: u32,
}

/// A permanent neighbour entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The MAC.
    pub mac: MacAddr,
    /// Whether it carries our mark.
    pub ours: bool,
}

/// One step. The order of a plan's steps matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Make the bridge, with its MAC.
    CreateBridge,
    /// Give the bridge its MAC back.
    SetBridgeMac,
    /// Mark the bridge as ours.
    SetBridgeAlias,
    /// Put an address on the bridge.
    AddAddr(Ipv4Net),
    /// Take one of our addresses off the bridge.
    RemoveAddr(Ipv4Net),
    /// Switch the bridge on.
    SetBridgeUp,
    /// Plug a VM's tap device into the bridge again.
    AttachTap(String),
    /// Set a switch.
    SetSysctl(Sysctl),
    /// Install or replace a VM's neighbour entry.
    SetNeighbour(Ipv4Addr, MacAddr),
    /// Remove one of our neighbour entries.
    RemoveNeighbour(Ipv4Addr),
    /// Install or replace our route to a pool.
    SetRoute(Ipv4Net, Ipv4Addr),
    /// Remove one of our routes.
    RemoveRoute(Route),
    /// Remove the bridge and all that is on it.
    DeleteBridge,
}

/// Something of others that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// `network.interface` does not exist.
    #[error("network.interface: there is no interface {0:?}")]
    InterfaceMissing(String),
    /// `network.interface` is switched off.
    #[error("network.interface: {0:?} is down")]
    InterfaceDown(String),
    /// The bridge's name is taken by a device that is no bridge, or by somebody else's bridge.
    #[error(
        "network.bridge: {0:?} exists and was not made by Phalanx; choose another name or remove it \
         (ip link delete {0})"
    )]
    ForeignBridge(String),
    /// Somebody else put an address on our bridge.
    #[error("the bridge {bridge} also has the address {addr}, which is not ours; it is left alone")]
    ForeignAddr {
        /// The bridge.
        bridge: String,
        /// The address.
        addr: Ipv4Net,
    },
    /// Somebody else's route for a peer's pool would win over ours, or be overwritten by it.
    #[error(
        "there already is a route to {dst} that is not ours (protocol {protocol}{}); ours via {wanted} is not \
         installed", via.map_or(String::new(), |via| format!(", via {via}"))
    )]
    ForeignRoute {
        /// The peer's pool.
        dst: Ipv4Net,
        /// Where the foreign route leads.
        via: Option<Ipv4Addr>,
        /// Who made it.
        protocol: u8,
        /// Where ours would lead.
        wanted: Ipv4Addr,
    },
}

/// The steps from `observed` to `desired`, in order, and what stands in the way of the rest.
pub fn plan(desired: &Desired, observed: &Observed) -> (Vec<Change>, Vec<Conflict>) {
    let mut changes = Vec::new();
    let mut conflicts = Vec::new();
    let usable = match &observed.bridge {
        Some(bridge) if !is_ours(desired, bridge) => {
            conflicts.push(Conflict::ForeignBridge(desired.bridge.clone()));
            false
        }
        _ => true,
    };
    if usable {
        plan_bridge(desired, observed, &mut changes, &mut conflicts);
    }
    let interface = match observed.interface {
        None => {
            conflicts.push(Conflict::InterfaceMissing(desired.interface.clone()));
            None
        }
        Some(interface) if !interface.up => {
            conflicts.push(Conflict::InterfaceDown(desired.interface.clone()));
            None
        }
        up => up,
    };
    for sysctl in desired.sysctls() {
        let set = observed.sysctls.get(&sysctl).is_some_and(|value| value == sysctl.wanted());
        let exists = match &sysctl {
            Sysctl::IpForward => true,
            Sysctl::Forwarding(name) | Sysctl::SendRedirects(name) if *name == desired.bridge => usable,
            Sysctl::Forwarding(_) => observed.interface.is_some(),
            Sysctl::SendRedirects(_) => true,
        };
        if exists && !set {
            changes.push(Change::SetSysctl(sysctl));
        }
    }
    if usable {
        plan_neighbours(desired, observed, &mut changes);
    }
    plan_routes(desired, observed, interface, &mut changes, &mut conflicts);
    (changes, conflicts)
}

/// The steps that remove everything of ours.
pub fn plan_teardown(desired: &Desired, observed: &Observed) -> Vec<Change> {
    let ours = observed.routes.iter().filter(|route| route.protocol == ROUTE_PROTOCOL);
    let mut changes: Vec<_> = ours.cloned().map(Change::RemoveRoute).collect();
    if observed.bridge.as_ref().is_some_and(|bridge| is_ours(desired, bridge)) {
        changes.push(Change::DeleteBridge);
    }
    changes
}

/// The alias says so, or, after a crash between making the bridge and naming it, the MAC does.
fn is_ours(desired: &Desired, bridge: &Bridge) -> bool {
    bridge.is_bridge
        && (bridge.alias.as_deref() == Some(BRIDGE_ALIAS) || bridge.mac == Some(desired.bridge_mac))
}

fn plan_bridge(
    desired: &Desired,
    observed: &Observed,
    changes: &mut Vec<Change>,
    conflicts: &mut Vec<Conflict>,
) {
    let bridge = observed.bridge.as_ref();
    if bridge.is_none() {
        changes.push(Change::CreateBridge);
    }
    if bridge.is_some_and(|bridge| bridge.mac != Some(desired.bridge_mac)) {
        changes.push(Change::SetBridgeMac);
    }
    if bridge.is_none_or(|bridge| bridge.alias.as_deref() != Some(BRIDGE_ALIAS)) {
        changes.push(Change::SetBridgeAlias);
    }
    if !observed.addrs.contains_key(&desired.addr) {
        changes.push(Change::AddAddr(desired.addr));
    }
    for (&addr, &ours) in observed.addrs.iter().filter(|(addr, _)| **addr != desired.addr) {
        if ours {
            changes.push(Change::RemoveAddr(addr));
        } else {
            conflicts.push(Conflict::ForeignAddr { bridge: desired.bridge.clone(), addr });
        }
    }
    if bridge.is_none_or(|bridge| !bridge.up) {
        changes.push(Change::SetBridgeUp);
    }
    for (name, mac) in &observed.loose_taps {
        if desired.vms.values().any(|vm| vm.host_side() == *mac) {
            changes.push(Change::AttachTap(name.clone()));
        }
    }
}

fn plan_neighbours(desired: &Desired, observed: &Observed, changes: &mut Vec<Change>) {
    for (&addr, &mac) in &desired.vms {
        if observed.neighbours.get(&addr) != Some(&Neighbour { mac, ours: true }) {
            changes.push(Change::SetNeighbour(addr, mac));
        }
    }
    for (&addr, neighbour) in &observed.neighbours {
        if neighbour.ours && !desired.vms.contains_key(&addr) {
            changes.push(Change::RemoveNeighbour(addr));
        }
    }
}

fn plan_routes(
    desired: &Desired,
    observed: &Observed,
    interface: Option<Interface>,
    changes: &mut Vec<Change>,
    conflicts: &mut Vec<Conflict>,
) {
    let right = |route: &Route| {
        route.metric == 0
            && route.via.is_some()
            && desired.routes.get(&route.dst).copied() == route.via
            && interface.is_none_or(|interface| route.oif == Some(interface.index))
    };
    let ours = |route: &&Route| route.protocol == ROUTE_PROTOCOL;
    for (&dst, &via) in &desired.routes {
        // A foreign route with a metric above zero loses against ours and may stay.
        let same = observed.routes.iter().filter(|route| route.dst == dst && route.metric == 0);
        if let Some(foreign) = same.clone().find(|route| !ours(route)) {
            conflicts.push(Conflict::ForeignRoute {
                dst,
                via: foreign.via,
                protocol: foreign.protocol,
                wanted: via,
            });
        } else if interface.is_some() && !same.clone().any(right) {
            changes.push(Change::SetRoute(dst, via));
        }
    }
    for route in observed.routes.iter().filter(ours) {
        // A wrong route with the same destination and metric is replaced in one step instead, so that no
        // packet falls into a gap.
        let replaced =
            changes.iter().any(|change| matches!(change, Change::SetRoute(dst, _) if *dst == route.dst))
                && route.metric == 0;
        if !right(route) && !replaced {
            changes.push(Change::RemoveRoute(route.clone()));
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateBridge => f.write_str("create the bridge"),
            Self::SetBridgeMac => f.write_str("set the bridge's MAC"),
            Self::SetBridgeAlias => f.write_str("set the bridge's alias"),
            Self::AddAddr(addr) => write!(f, "add the address {addr}"),
            Self::RemoveAddr(addr) => write!(f, "remove the address {addr}"),
            Self::SetBridgeUp => f.write_str("switch the bridge on"),
            Self::AttachTap(name) => write!(f, "attach {name} to the bridge"),
            Self::SetSysctl(sysctl) => write!(f, "set {sysctl}={}", sysctl.wanted()),
            Self::SetNeighbour(addr, mac) => write!(f, "set the neighbour {addr} at {mac}"),
            Self::RemoveNeighbour(addr) => write!(f, "remove the neighbour {addr}"),
            Self::SetRoute(dst, via) => write!(f, "set the route {dst} via {via}"),
            Self::RemoveRoute(route) => write!(f, "remove the route {}", route.dst),
            Self::DeleteBridge => f.write_str("delete the bridge"),
        }
    }
}

#[cfg(test)]
mod tests;
