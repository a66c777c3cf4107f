//! What the announcer has to know of the LAN, asked of the kernel: the interface, and who is there to be told.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::core::Lan;
use crate::net::mac::MacAddr;
use crate::net::netlink::to_io;

/// Announcements to single stations, at most: gateways first, then who was heard of most recently.
pub(super) const MAX_TOLD: usize = 64;

/// A station the kernel knows on the LAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Station {
    pub(super) addr: Ipv4Addr,
    pub(super) mac: MacAddr,
    /// Heard of within the last half minute or so.
    pub(super) recent: bool,
}

/// The interface as it is now; none if it does not exist. Its address is the one that shares a network with `vip`,
/// otherwise the first one.
pub(super) async fn look(handle: &Handle, interface: &str, vip: Ipv4Addr) -> io::Result<Option<Lan>> {
    let links: Vec<_> = match handle.link().get().match_name(interface).execute().try_collect().await {
        Ok(links) => links,
        Err(error) => match to_io(error) {
            error if error.raw_os_error() == Some(nix::libc::ENODEV) => return Ok(None),
            error => return Err(error),
        },
    };
    let Some(link) = links.first() else { return Ok(None) };
    let mac = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(octets) => Some(MacAddr::new(octets.as_slice().try_into().ok()?)),
        _ => None,
    });
    // Without an Ethernet address there is no ARP.
    let Some(mac) = mac else { return Ok(None) };
    let index = link.header.index;
    let query = handle.address().get().set_link_index_filter(index).execute();
    let found: Vec<_> = query.try_collect().await.map_err(to_io)?;
    let mut addrs = Vec::new();
    for message in found.iter().filter(|message| message.header.index == index) {
        addrs.extend(message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(addr)) => Ipv4Net::new(*addr, message.header.prefix_len).ok(),
            _ => None,
        }));
    }
    let carrier = link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    Ok(Some(Lan { index, mac, addr: own_addr(&addrs, vip), carrier }))
}

/// The address to ask from. `vip` itself is none of ours, even if somebody put it on the interface.
fn own_addr(addrs: &[Ipv4Net], vip: Ipv4Addr) -> Option<Ipv4Addr> {
    let mut own = addrs.iter().filter(|net| net.addr() != vip);
    let first = own.clone().next();
    own.find(|net| net.contains(&vip)).or(first).map(Ipv4Net::addr)
}

/// Who shall be told of an announcement in person.
pub(super) async fn stations(handle: &Handle, lan: &Lan, vip: Ipv4Addr) -> io::Result<Vec<Station>> {
    let query = handle.neighbours().get().set_address_family(AddressFamily::Inet).execute();
    let entries: Vec<_> = query.try_collect().await.map_err(to_io)?;
    let known = entries.iter().filter(|entry| entry.header.ifindex == lan.index).filter_map(station);
    let query = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let routes: Vec<_> = handle.route().get(query).execute().try_collect().await.map_err(to_io)?;
    let mut gateways = BTreeSet::new();
    for route in routes.iter().filter(|route| route.header.destination_prefix_length == 0) {
        gateways.extend(route.attributes.iter().filter_map(|attribute| match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(addr)) => Some(*addr),
            _ => None,
        }));
    }
    Ok(choose(known.collect(), &gateways, lan, vip))
}

/// Gateways first, then recent ones, [`MAX_TOLD`] at most; neither ourselves nor what was taken for the owner.
fn choose(mut known: Vec<Station>, gateways: &BTreeSet<Ipv4Addr>, lan: &Lan, vip: Ipv4Addr) -> Vec<Station> {
    known.retain(|station| station.mac.is_station() && station.mac != lan.mac && station.addr != vip);
    known.sort_by_key(|station| (!gateways.contains(&station.addr), !station.recent, station.addr));
    known.truncate(MAX_TOLD);
    known
}

fn station(message: &NeighbourMessage) -> Option<Station> {
    let recent = match message.header.state {
        NeighbourState::Reachable
        | NeighbourState::Delay
        | NeighbourState::Probe
        | NeighbourState::Permanent => true,
        NeighbourState::Stale => false,
        _ => return None,
    };
    let (mut addr, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(of)) => addr = Some(*of),
            NeighbourAttribute::LinkLayerAddress(octets) => {
                mac = octets.as_slice().try_into().ok().map(MacAddr::new);
            }
            _ => {}
        }
    }
    Some(Station { addr: addr?, mac: mac?, recent })
}

#[cfg(test)]
mod tests;
