//! What to change so that the host's network becomes what it should be: a pure comparison.
//!
//! Whatever is not ours is left alone. Ours are: the bridge that carries our alias or our MAC, addresses and
//! neighbour entries on it and routes anywhere that carry [`ROUTE_PROTOCOL`]. Something of others that is in
//! the way is a [`Conflict`], to be reported and not resolved here.

pub mod step;
pub mod vip;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::mac::MacAddr;
use super::sysctl::Sysctl;
pub use step::{Change, Conflict};
use vip::{VipDesired, VipObserved};

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
    /// The public address, if the cluster has one.
    pub vip: Option<VipDesired>,
}

impl Desired {
    /// The switches that matter for it.
    pub fn sysctls(&self) -> Vec<Sysctl> {
        let mut sysctls = vec![
            Sysctl::IpForward,
            Sysctl::SendRedirects("all".to_owned()),
            Sysctl::SendRedirects(self.bridge.clone()),
            Sysctl::Forwarding(self.bridge.clone()),
            Sysctl::Forwarding(self.interface.clone()),
        ];
        if self.vip.is_some() {
            sysctls.push(Sysctl::SendRedirects(self.interface.clone()));
            sysctls.push(Sysctl::ProxyDelay(self.interface.clone()));
        }
        sysctls
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
    /// What there is of the public address, besides its route.
    pub vip: VipObserved,
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

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hop {
    /// To a gateway on the LAN.
    Lan(Ipv4Addr),
    /// To a VM on the bridge.
    Bridge(Ipv4Addr),
}

impl Hop {
    const fn via(self) -> Ipv4Addr {
        match self {
            Self::Lan(via) | Self::Bridge(via) => via,
        }
    }
}

/// A permanent neighbour entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The MAC.
    pub mac: MacAddr,
    /// Whether it carries our mark.
    pub ours: bool,
}

/// The steps from `observed` to `desired`, in order, and what stands in the way of the rest.
pub fn plan(desired: &Desired, observed: &Observed) -> (Vec<Change>, Vec<Conflict>) {
    let mut changes = Vec::new();
    let mut conflicts = Vec::new();
    vip::plan_silence(desired, observed, &mut changes);
    let usable = is_usable(desired, observed);
    if usable {
        plan_bridge(desired, observed, &mut changes, &mut conflicts);
    } else {
        conflicts.push(Conflict::ForeignBridge(desired.bridge.clone()));
    }
    let interface = plan_interface(desired, observed, &mut conflicts);
    plan_sysctls(desired, observed, &mut changes);
    if usable {
        plan_neighbours(desired, observed, &mut changes);
    }
    vip::plan_second_chance(desired, observed, interface, &mut changes, &mut conflicts);
    let lan_routes = desired.routes.iter().map(|(&dst, &via)| (dst, Hop::Lan(via)));
    let wanted = lan_routes.chain(vip::route(desired)).collect();
    plan_routes(&wanted, desired, observed, &observed.routes, &mut changes, &mut conflicts);
    vip::plan_answer(desired, observed, interface, &mut changes, &mut conflicts);
    vip::plan_no_second_chance(desired, observed, &mut changes);
    (changes, conflicts)
}

/// As [`plan`], but only what concerns the public address, and what must not wait. Without its rule and route the
/// filter changes nothing, and to remove it takes longest: that is left to the next [`plan`].
pub fn plan_vip(desired: &Desired, observed: &Observed) -> (Vec<Change>, Vec<Conflict>) {
    let mut changes = Vec::new();
    let mut conflicts = Vec::new();
    vip::plan_silence(desired, observed, &mut changes);
    let interface = plan_interface(desired, observed, &mut conflicts);
    plan_sysctls(desired, observed, &mut changes);
    vip::plan_second_chance(desired, observed, interface, &mut changes, &mut conflicts);
    if let Some(of) = &desired.vip {
        let dst = Ipv4Net::from(of.addr);
        let routes: Vec<_> = observed.routes.iter().filter(|route| route.dst == dst).cloned().collect();
        let wanted = vip::route(desired).into_iter().collect();
        plan_routes(&wanted, desired, observed, &routes, &mut changes, &mut conflicts);
    }
    vip::plan_answer(desired, observed, interface, &mut changes, &mut conflicts);
    vip::plan_no_second_chance(desired, observed, &mut changes);
    changes.retain(|change| *change != Change::RemoveFilter);
    (changes, conflicts)
}

/// The steps that remove everything of ours.
pub fn plan_teardown(desired: &Desired, observed: &Observed) -> Vec<Change> {
    let released = Desired { vip: None, ..desired.clone() };
    let mut changes = Vec::new();
    vip::plan_silence(&released, observed, &mut changes);
    let ours = observed.routes.iter().filter(|route| route.protocol == ROUTE_PROTOCOL);
    changes.extend(ours.cloned().map(Change::RemoveRoute));
    vip::plan_no_second_chance(&released, observed, &mut changes);
    if observed.bridge.as_ref().is_some_and(|bridge| is_ours(desired, bridge)) {
        changes.push(Change::DeleteBridge);
    }
    changes
}

fn is_usable(desired: &Desired, observed: &Observed) -> bool {
    observed.bridge.as_ref().is_none_or(|bridge| is_ours(desired, bridge))
}

/// The LAN interface, if it can be used.
fn plan_interface(
    desired: &Desired,
    observed: &Observed,
    conflicts: &mut Vec<Conflict>,
) -> Option<Interface> {
    match observed.interface {
        None => conflicts.push(Conflict::InterfaceMissing(desired.interface.clone())),
        Some(interface) if !interface.up => {
            conflicts.push(Conflict::InterfaceDown(desired.interface.clone()));
        }
        up => return up,
    }
    None
}

fn plan_sysctls(desired: &Desired, observed: &Observed, changes: &mut Vec<Change>) {
    let usable = is_usable(desired, observed);
    for sysctl in desired.sysctls() {
        let set = observed.sysctls.get(&sysctl).is_some_and(|value| value == sysctl.wanted());
        let exists = match sysctl.interface() {
            Some(name) if name == desired.bridge => usable,
            Some(name) if name == desired.interface => observed.interface.is_some(),
            _ => true,
        };
        if exists && !set {
            changes.push(Change::SetSysctl(sysctl));
        }
    }
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

/// Makes `routes` what is `wanted`. Those of ours among them that are not wanted are removed.
fn plan_routes(
    wanted: &BTreeMap<Ipv4Net, Hop>,
    desired: &Desired,
    observed: &Observed,
    routes: &[Route],
    changes: &mut Vec<Change>,
    conflicts: &mut Vec<Conflict>,
) {
    let lan = observed.interface.filter(|interface| interface.up);
    let bridge = observed.bridge.as_ref().map(|bridge| bridge.index);
    let right = |route: &Route| {
        let hop = wanted.get(&route.dst).copied();
        let oif_is_right = match hop {
            Some(Hop::Lan(_)) => lan.is_none_or(|lan| route.oif == Some(lan.index)),
            Some(Hop::Bridge(_)) => route.oif.is_some() && route.oif == bridge,
            None => false,
        };
        route.metric == 0 && hop.map(Hop::via) == route.via && oif_is_right
    };
    let ours = |route: &&Route| route.protocol == ROUTE_PROTOCOL;
    for (&dst, &hop) in wanted {
        // A foreign route with a metric above zero loses against ours and may stay.
        let same = routes.iter().filter(|route| route.dst == dst && route.metric == 0);
        let way = match hop {
            Hop::Lan(_) => lan.is_some(),
            Hop::Bridge(_) => is_usable(desired, observed),
        };
        if let Some(foreign) = same.clone().find(|route| !ours(route)) {
            let Route { via, protocol, .. } = *foreign;
            conflicts.push(Conflict::ForeignRoute { dst, via, protocol, wanted: hop.via() });
        } else if way && !same.clone().any(right) {
            changes.push(match hop {
                Hop::Lan(via) => Change::SetRoute(dst, via),
                Hop::Bridge(via) => Change::SetBridgeRoute(dst, via),
            });
        }
    }
    for route in routes.iter().filter(ours) {
        // A wrong route with the same destination and metric is replaced in one step instead, so that no
        // packet falls into a gap.
        let is_set = |change: &Change| match change {
            Change::SetRoute(dst, _) | Change::SetBridgeRoute(dst, _) => *dst == route.dst,
            _ => false,
        };
        let replaced = route.metric == 0 && changes.iter().any(is_set);
        if !right(route) && !replaced {
            changes.push(Change::RemoveRoute(route.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
