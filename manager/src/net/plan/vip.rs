//! The public address: who gets its packets, and whether this host's kernel answers for it. Pure.
//!
//! The order is what matters here. Taking the address: first the way for old connections, then the route, and only
//! then the answers, so that no packet arrives before there is a way for it. Releasing it: the answers end first.
//!
//! **Second chance.** After a planned move, packets of connections that began at the former owner's load balancer arrive
//! here. Connection tracking tells them apart: they begin without a SYN. They are marked, and marked packets have a
//! route of their own, back to the former owner. What begins here stays here. (GitHub's GLB director does the same
//! between load balancers.)

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{Change, Conflict, Desired, Hop, Interface, Observed, ROUTE_PROTOCOL, Route, is_usable};
use crate::net::mac::MacAddr;

/// On packets, and on the tracked connections they belong to, that go to the former owner.
pub const MARK: u32 = 0x50;

/// The routing table of marked packets.
pub const MARK_TABLE: u32 = 0x50;

/// The priority of the rule that leads there: before the main table (32766), after the local one (0).
pub const MARK_PRIORITY: u32 = 0x50;

/// How this host shall treat the public address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VipDesired {
    /// The address.
    pub addr: Ipv4Addr,
    /// Whether to answer ARP questions for it on the LAN. Only with [`VipRoute::Bridge`]: the kernel answers for
    /// nothing that it would send back into the LAN.
    pub answer: bool,
    /// Where its packets go.
    pub route: VipRoute,
    /// The LAN address of the former owner, who gets the packets of connections that did not begin here.
    pub second_chance: Option<Ipv4Addr>,
}

impl VipDesired {
    /// Neither answers nor a route.
    pub const fn released(addr: Ipv4Addr) -> Self {
        Self { addr, answer: false, route: VipRoute::None, second_chance: None }
    }
}

/// Where packets for the public address go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VipRoute {
    /// Wherever the host's other routes lead: on the LAN, to the owner.
    None,
    /// To the own load balancer's VM, which has this address of the pool.
    Bridge(Ipv4Addr),
    /// To the peer with this LAN address.
    Via(Ipv4Addr),
}

/// What there is of a public address, besides routes of the main table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VipObserved {
    /// Addresses that the kernel answers for on the LAN interface, and whether the entry carries our mark.
    pub proxies: BTreeMap<Ipv4Addr, bool>,
    /// The addresses of this host, on any interface.
    pub local: BTreeSet<Ipv4Addr>,
    /// Routes of ours in [`MARK_TABLE`].
    pub marked_routes: Vec<Route>,
    /// Routing rules of ours.
    pub rules: Vec<MarkRule>,
    /// What marks packets.
    pub filter: Filter,
    /// The MAC of the host that second chances go to, if the kernel knows it.
    pub former_owner: Option<MacAddr>,
    /// Whether connection tracking takes no connection whose beginning it did not see
    /// (`net.netfilter.nf_conntrack_tcp_loose` = 0).
    pub strict_tracking: bool,
}

/// The packet filter's table that marks packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Filter {
    /// There is none.
    #[default]
    Absent,
    /// It is as we made it, for this.
    Is(FilterSpec),
    /// It is of an earlier life, or somebody changed it.
    Unknown,
}

/// Which packets are marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterSpec {
    /// Those to this address,
    pub vip: Ipv4Addr,
    /// unless they come from this station: the former owner itself, which would get them back for ever.
    pub except_from: Option<MacAddr>,
}

/// A routing rule for marked packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkRule {
    /// The destination of the packets it is for.
    pub dst: Ipv4Net,
    /// Their mark.
    pub mark: u32,
    /// The table it leads to.
    pub table: u32,
    /// Its priority.
    pub priority: u32,
}

impl MarkRule {
    /// The rule for this address.
    pub fn of(vip: Ipv4Addr) -> Self {
        Self { dst: vip.into(), mark: MARK, table: MARK_TABLE, priority: MARK_PRIORITY }
    }
}

impl fmt::Display for MarkRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dst, mark, table, priority } = self;
        write!(f, "{priority}: to {dst} fwmark {mark:#x} lookup {table}")
    }
}

/// The address's route in the main table.
pub(super) fn route(desired: &Desired) -> Option<(Ipv4Net, Hop)> {
    let vip = desired.vip?;
    let hop = match vip.route {
        VipRoute::None => return None,
        VipRoute::Bridge(vm) => Hop::Bridge(vm),
        VipRoute::Via(peer) => Hop::Lan(peer),
    };
    Some((vip.addr.into(), hop))
}

/// Ends answers that are not wanted.
pub(super) fn plan_silence(desired: &Desired, observed: &Observed, changes: &mut Vec<Change>) {
    let wanted = desired.vip.filter(|vip| vip.answer).map(|vip| vip.addr);
    let ours = observed.vip.proxies.iter().filter(|(_, ours)| **ours);
    changes.extend(
        ours.filter(|(addr, _)| Some(**addr) != wanted).map(|(&addr, _)| Change::StopAnswering(addr)),
    );
}

/// Begins to answer, if nothing is in the way.
pub(super) fn plan_answer(
    desired: &Desired,
    observed: &Observed,
    interface: Option<Interface>,
    changes: &mut Vec<Change>,
    conflicts: &mut Vec<Conflict>,
) {
    let Some(vip) = desired.vip else { return };
    if observed.vip.local.contains(&vip.addr) {
        conflicts.push(Conflict::VipIsLocal(vip.addr));
        return;
    }
    let installed = observed.vip.proxies.get(&vip.addr);
    if installed == Some(&false) {
        conflicts.push(Conflict::ForeignProxy { interface: desired.interface.clone(), addr: vip.addr });
    }
    let foreign_route = conflicts.iter().any(
        |conflict| matches!(conflict, Conflict::ForeignRoute { dst, .. } if *dst == Ipv4Net::from(vip.addr)),
    );
    let has_way = matches!(vip.route, VipRoute::Bridge(_)) && is_usable(desired, observed) && !foreign_route;
    if vip.answer && installed.is_none() && interface.is_some() && has_way {
        changes.push(Change::Answer(vip.addr));
    }
}

/// Makes the way to the former owner: its end first, and at last what sends packets into it.
pub(super) fn plan_second_chance(
    desired: &Desired,
    observed: &Observed,
    interface: Option<Interface>,
    changes: &mut Vec<Change>,
    conflicts: &mut Vec<Conflict>,
) {
    let Some((vip, via)) = second_chance(desired) else { return };
    let Some(interface) = interface else { return };
    if observed.vip.strict_tracking {
        let reason = "net.netfilter.nf_conntrack_tcp_loose is 0, so they are not recognised".to_owned();
        conflicts.push(Conflict::NoSecondChance { via, reason });
    }
    if !observed.vip.marked_routes.iter().any(|route| is_marked_route(route, vip, via, interface)) {
        changes.push(Change::SetMarkedRoute(vip, via));
    }
    let rule = MarkRule::of(vip);
    if !observed.vip.rules.contains(&rule) {
        changes.push(Change::AddMarkRule(rule));
    }
    let spec = FilterSpec { vip, except_from: observed.vip.former_owner };
    let installed = match observed.vip.filter {
        // A station that the kernel has forgotten since is still the same.
        Filter::Is(is) => is == spec || (spec.except_from.is_none() && is.vip == vip),
        Filter::Absent | Filter::Unknown => false,
    };
    if !installed {
        changes.push(Change::InstallFilter(spec));
    }
}

/// Removes ways to former owners that are not wanted: first what sends packets into them.
pub(super) fn plan_no_second_chance(desired: &Desired, observed: &Observed, changes: &mut Vec<Change>) {
    let wanted = second_chance(desired);
    if wanted.is_none() && observed.vip.filter != Filter::Absent {
        changes.push(Change::RemoveFilter);
    }
    let rule = wanted.map(|(vip, _)| MarkRule::of(vip));
    let rules = observed.vip.rules.iter().filter(|is| Some(**is) != rule);
    changes.extend(rules.copied().map(Change::RemoveMarkRule));
    for route in &observed.vip.marked_routes {
        // One with the same destination is the right one, or was replaced.
        let stays = wanted.is_some_and(|(vip, _)| route.dst == Ipv4Net::from(vip) && route.metric == 0);
        if !stays {
            changes.push(Change::RemoveMarkedRoute(route.clone()));
        }
    }
}

fn second_chance(desired: &Desired) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let vip = desired.vip?;
    Some((vip.addr, vip.second_chance?))
}

fn is_marked_route(route: &Route, vip: Ipv4Addr, via: Ipv4Addr, interface: Interface) -> bool {
    let Route { dst, via: is_via, oif, protocol, metric } = *route;
    dst == Ipv4Net::from(vip)
        && is_via == Some(via)
        && oif == Some(interface.index)
        && protocol == ROUTE_PROTOCOL
        && metric == 0
}

/// What is installed of the address `vip`, so that a restarted process can go on from there.
pub fn installed(vip: Ipv4Addr, observed: &Observed) -> VipDesired {
    let dst = Ipv4Net::from(vip);
    let ours = |route: &&Route| route.dst == dst && route.protocol == ROUTE_PROTOCOL && route.metric == 0;
    let route = match observed.routes.iter().find(ours) {
        Some(Route { via: Some(via), oif: Some(oif), .. }) => {
            if observed.bridge.as_ref().is_some_and(|bridge| bridge.index == *oif) {
                VipRoute::Bridge(*via)
            } else {
                VipRoute::Via(*via)
            }
        }
        _ => VipRoute::None,
    };
    let marked = observed.vip.marked_routes.iter().find(ours).and_then(|route| route.via);
    let led_there = observed.vip.rules.contains(&MarkRule::of(vip));
    VipDesired {
        addr: vip,
        answer: observed.vip.proxies.get(&vip) == Some(&true),
        route,
        second_chance: marked.filter(|_| led_there),
    }
}

#[cfg(test)]
mod tests;
