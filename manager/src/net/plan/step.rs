//! What a plan consists of: the steps, and what of others is in the way.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::vip::{FilterSpec, MARK, MARK_TABLE, MarkRule};
use super::{Route, Sysctl};
use crate::net::mac::MacAddr;

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
    /// Install or replace our route to the public address through a VM on the bridge.
    SetBridgeRoute(Ipv4Net, Ipv4Addr),
    /// Remove one of our routes.
    RemoveRoute(Route),
    /// Answer ARP questions for the public address on the LAN.
    Answer(Ipv4Addr),
    /// Answer them no more.
    StopAnswering(Ipv4Addr),
    /// Install or replace the route of marked packets to the public address through a peer.
    SetMarkedRoute(Ipv4Addr, Ipv4Addr),
    /// Remove a route of marked packets.
    RemoveMarkedRoute(Route),
    /// Send marked packets for the public address by their own routes.
    AddMarkRule(MarkRule),
    /// Remove a rule of ours for marked packets.
    RemoveMarkRule(MarkRule),
    /// Mark the packets of connections that did not begin here.
    InstallFilter(FilterSpec),
    /// Mark no packets.
    RemoveFilter,
    /// Remove the bridge and all that is on it.
    DeleteBridge,
}

impl Change {
    /// Whether it takes a process of its own, which may be slow.
    pub const fn is_filter(&self) -> bool {
        matches!(self, Self::InstallFilter(_) | Self::RemoveFilter)
    }

    /// Whether it only serves connections that began at the public address's former owner: new ones work without.
    pub fn is_second_chance(&self) -> bool {
        match self {
            Self::SetMarkedRoute(..)
            | Self::RemoveMarkedRoute(_)
            | Self::AddMarkRule(_)
            | Self::RemoveMarkRule(_)
            | Self::InstallFilter(_)
            | Self::RemoveFilter => true,
            Self::CreateBridge
            | Self::SetBridgeMac
            | Self::SetBridgeAlias
            | Self::AddAddr(_)
            | Self::RemoveAddr(_)
            | Self::SetBridgeUp
            | Self::AttachTap(_)
            | Self::SetSysctl(_)
            | Self::SetNeighbour(..)
            | Self::RemoveNeighbour(_)
            | Self::SetRoute(..)
            | Self::SetBridgeRoute(..)
            | Self::RemoveRoute(_)
            | Self::Answer(_)
            | Self::StopAnswering(_)
            | Self::DeleteBridge => false,
        }
    }
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
    /// Somebody made the kernel answer ARP questions for the public address.
    #[error(
        "{interface} has a proxy entry for the public address {addr} that is not ours; it is left alone \
         (ip neigh delete proxy {addr} dev {interface})"
    )]
    ForeignProxy {
        /// The LAN interface.
        interface: String,
        /// The public address.
        addr: Ipv4Addr,
    },
    /// This host itself has the public address, so nothing reaches a load balancer through it.
    #[error("this host has the public address {0} on an interface of its own; remove it there (ip addr)")]
    VipIsLocal(Ipv4Addr),
    /// Connections that began at the former owner break.
    #[error("connections that began at {via} cannot be sent there: {reason}")]
    NoSecondChance {
        /// The former owner's LAN address.
        via: Ipv4Addr,
        /// Why not.
        reason: String,
    },
    /// Something of the public address that nobody waits for.
    #[error("not all of the public address is as it should be, which is tried again: {0}")]
    Undone(String),
}

impl Conflict {
    /// Whether it keeps the public address from being answered for, or from being silent about.
    pub fn is_about_vip(&self) -> bool {
        matches!(self, Self::ForeignProxy { .. } | Self::VipIsLocal(_))
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
            Self::SetBridgeRoute(dst, vm) => write!(f, "set the route {dst} via the VM {vm}"),
            Self::RemoveRoute(route) => write!(f, "remove the route {}", route.dst),
            Self::Answer(addr) => write!(f, "answer ARP for {addr}"),
            Self::StopAnswering(addr) => write!(f, "stop answering ARP for {addr}"),
            Self::SetMarkedRoute(addr, via) => {
                write!(f, "set the route {addr} via {via} in table {MARK_TABLE}")
            }
            Self::RemoveMarkedRoute(route) => {
                write!(f, "remove the route {} of table {MARK_TABLE}", route.dst)
            }
            Self::AddMarkRule(rule) => write!(f, "add the rule {rule}"),
            Self::RemoveMarkRule(rule) => write!(f, "remove the rule {rule}"),
            Self::InstallFilter(spec) => {
                write!(f, "mark connections to {} that began elsewhere with {MARK:#x}", spec.vip)
            }
            Self::RemoveFilter => f.write_str("mark no connections"),
            Self::DeleteBridge => f.write_str("delete the bridge"),
        }
    }
}
