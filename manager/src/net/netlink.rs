//! Looking at the kernel's network and changing it, one netlink request per step. No decisions here.

mod vip;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt;
use ipnet::Ipv4Net;
use nix::errno::Errno;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::{AddressMessageBuilder, Handle, LinkBridge, LinkUnspec, RouteMessageBuilder};

use super::mac::MacAddr;
use super::plan::{
    BRIDGE_ALIAS, Bridge, Change, Desired, Interface, Neighbour, Observed, ROUTE_PROTOCOL, Route,
};

/// Everything that matters for `desired`, as it is now.
pub(super) async fn observe(handle: &Handle, desired: &Desired) -> io::Result<Observed> {
    let mut observed = Observed::default();
    let links: Vec<_> = handle.link().get().execute().try_collect().await.map_err(to_io)?;
    for link in &links {
        let Some(name) = link_name(link) else { continue };
        if name == desired.interface {
            observed.interface = Some(Interface { index: link.header.index, up: is_up(link) });
        }
        if name == desired.bridge {
            observed.bridge = Some(bridge(link));
        }
        if kind(link) == Some(&InfoKind::Tun) && controller(link).is_none() {
            observed.loose_taps.extend(mac(link).map(|mac| (name.to_owned(), mac)));
        }
    }
    if let Some(index) = observed.bridge.as_ref().map(|bridge| bridge.index) {
        let addrs: Vec<_> = handle
            .address()
            .get()
            .set_link_index_filter(index)
            .execute()
            .try_collect()
            .await
            .map_err(to_io)?;
        observed.addrs = addrs.iter().filter(|addr| addr.header.index == index).filter_map(address).collect();
        observed.neighbours = neighbours(handle, index).await?;
    }
    let query = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let routes: Vec<_> = handle.route().get(query).execute().try_collect().await.map_err(to_io)?;
    let main = u32::from(RouteHeader::RT_TABLE_MAIN);
    observed.routes = routes.iter().filter_map(|message| route(message, main)).collect();
    if desired.vip.is_some() || observed.interface.is_some() {
        let index = observed.interface.map(|interface| interface.index);
        vip::observe(handle, desired, index, &routes, &mut observed.vip).await?;
    }
    for sysctl in desired.sysctls() {
        if let Some(value) = sysctl.read()? {
            observed.sysctls.insert(sysctl, value);
        }
    }
    Ok(observed)
}

/// Does one step.
pub(super) async fn apply(handle: &Handle, desired: &Desired, change: &Change) -> io::Result<()> {
    let bridge = || index_of(handle, &desired.bridge);
    let done = match change {
        Change::CreateBridge => {
            let message =
                LinkBridge::new(&desired.bridge).down().address(desired.bridge_mac.octets().to_vec()).build();
            handle.link().add(message).execute().await
        }
        Change::SetBridgeMac => {
            let message = LinkUnspec::new_with_index(bridge().await?)
                .address(desired.bridge_mac.octets().to_vec())
                .build();
            handle.link().set(message).execute().await
        }
        Change::SetBridgeAlias => {
            let message = LinkUnspec::new_with_index(bridge().await?).alias(BRIDGE_ALIAS).build();
            handle.link().set(message).execute().await
        }
        Change::SetBridgeUp => {
            handle.link().set(LinkUnspec::new_with_index(bridge().await?).up().build()).execute().await
        }
        Change::DeleteBridge => handle.link().del(bridge().await?).execute().await,
        Change::AttachTap(name) => {
            let tap = index_of(handle, name).await?;
            let message = LinkUnspec::new_with_index(tap).controller(bridge().await?).build();
            handle.link().set(message).execute().await
        }
        Change::AddAddr(addr) => {
            let mut add = handle.address().add(bridge().await?, addr.addr().into(), addr.prefix_len());
            let mark = AddressAttribute::Protocol(AddressProtocol::Other(ROUTE_PROTOCOL));
            add.message_mut().attributes.push(mark);
            add.execute().await
        }
        Change::RemoveAddr(addr) => {
            let message = AddressMessageBuilder::<Ipv4Addr>::new()
                .index(bridge().await?)
                .address(addr.addr(), addr.prefix_len())
                .build();
            handle.address().del(message).execute().await
        }
        Change::SetNeighbour(addr, mac) => {
            let mut add = handle
                .neighbours()
                .add(bridge().await?, IpAddr::V4(*addr))
                .state(NeighbourState::Permanent)
                .link_layer_address(&mac.octets())
                .replace();
            let mark = NeighbourAttribute::Protocol(RouteProtocol::Other(ROUTE_PROTOCOL));
            add.message_mut().attributes.push(mark);
            add.execute().await
        }
        Change::RemoveNeighbour(addr) => {
            let mut message = NeighbourMessage::default();
            message.header.family = AddressFamily::Inet;
            message.header.ifindex = bridge().await?;
            message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(*addr)));
            handle.neighbours().del(message).execute().await
        }
        Change::SetRoute(dst, via) => {
            let message = our_route(*dst)
                .gateway(*via)
                .output_interface(index_of(handle, &desired.interface).await?)
                .build();
            handle.route().add(message).replace().execute().await
        }
        Change::RemoveRoute(route) => handle.route().del(exactly(route).build()).execute().await,
        Change::SetBridgeRoute(dst, vm) => {
            let message = our_route(*dst).gateway(*vm).output_interface(bridge().await?).build();
            handle.route().add(message).replace().execute().await
        }
        Change::SetSysctl(sysctl) => return sysctl.write(),
        Change::Answer(_)
        | Change::StopAnswering(_)
        | Change::SetMarkedRoute(..)
        | Change::RemoveMarkedRoute(_)
        | Change::AddMarkRule(_)
        | Change::RemoveMarkRule(_) => vip::apply(handle, desired, change).await?,
        // The packet filter's language is no netlink request of this family.
        Change::InstallFilter(_) | Change::RemoveFilter => return Err(io::ErrorKind::Unsupported.into()),
    };
    done.map_err(to_io)
}

/// The permanent IPv4 neighbour entries on the interface with this number.
pub(super) async fn neighbours(handle: &Handle, index: u32) -> io::Result<BTreeMap<Ipv4Addr, Neighbour>> {
    let entries = handle.neighbours().get().set_address_family(AddressFamily::Inet).execute();
    let entries: Vec<_> = entries.try_collect().await.map_err(to_io)?;
    Ok(entries.iter().filter(|entry| entry.header.ifindex == index).filter_map(neighbour).collect())
}

/// The addresses that the kernel has found at `mac` on the interface with this number.
pub(super) async fn stations(handle: &Handle, index: u32, mac: MacAddr) -> io::Result<Vec<Ipv4Addr>> {
    let entries = handle.neighbours().get().set_address_family(AddressFamily::Inet).execute();
    let entries: Vec<_> = entries.try_collect().await.map_err(to_io)?;
    let here = entries.iter().filter(|entry| entry.header.ifindex == index);
    Ok(here.filter_map(station).filter(|(_, at)| *at == mac).map(|(addr, _)| addr).collect())
}

/// The number of the interface with this name.
pub(super) async fn index_of(handle: &Handle, name: &str) -> io::Result<u32> {
    let links: Vec<_> = handle.link().get().match_name(name).execute().try_collect().await.map_err(to_io)?;
    let link = links.first().ok_or_else(|| io::Error::from(Errno::ENODEV))?;
    Ok(link.header.index)
}

/// The kernel's own error number when it sent one, so that callers can tell `ENODEV` from others.
pub(super) fn to_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

fn our_route(dst: Ipv4Net) -> RouteMessageBuilder<Ipv4Addr> {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(dst.network(), dst.prefix_len())
        .protocol(RouteProtocol::Other(ROUTE_PROTOCOL))
}

/// Our route, so precisely that no other one is meant.
fn exactly(route: &Route) -> RouteMessageBuilder<Ipv4Addr> {
    let mut message = our_route(route.dst);
    if let Some(via) = route.via {
        message = message.gateway(via);
    }
    if let Some(oif) = route.oif {
        message = message.output_interface(oif);
    }
    if route.metric != 0 {
        message = message.priority(route.metric);
    }
    message
}

fn link_name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn is_up(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Up)
}

fn mac(link: &LinkMessage) -> Option<MacAddr> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(octets) => Some(MacAddr::new(octets.as_slice().try_into().ok()?)),
        _ => None,
    })
}

fn controller(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) => Some(*index),
        _ => None,
    })
}

fn kind(link: &LinkMessage) -> Option<&InfoKind> {
    let infos = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    })?;
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    })
}

fn bridge(link: &LinkMessage) -> Bridge {
    let alias = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfAlias(alias) => Some(alias.clone()),
        _ => None,
    });
    Bridge {
        index: link.header.index,
        is_bridge: kind(link) == Some(&InfoKind::Bridge),
        up: is_up(link),
        mac: mac(link),
        alias,
    }
}

fn address(message: &AddressMessage) -> Option<(Ipv4Net, bool)> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(addr)) => Some(*addr),
        _ => None,
    })?;
    let mark = AddressAttribute::Protocol(AddressProtocol::Other(ROUTE_PROTOCOL));
    Some((Ipv4Net::new(local, message.header.prefix_len).ok()?, message.attributes.contains(&mark)))
}

fn neighbour(message: &NeighbourMessage) -> Option<(Ipv4Addr, Neighbour)> {
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    let (addr, mac) = station(message)?;
    let mark = NeighbourAttribute::Protocol(RouteProtocol::Other(ROUTE_PROTOCOL));
    Some((addr, Neighbour { mac, ours: message.attributes.contains(&mark) }))
}

/// Which address is at which MAC; none while that is being asked.
fn station(message: &NeighbourMessage) -> Option<(Ipv4Addr, MacAddr)> {
    let addr = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(addr)) => Some(*addr),
        _ => None,
    })?;
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(octets) => octets.as_slice().try_into().ok().map(MacAddr::new),
        _ => None,
    })?;
    Some((addr, mac))
}

/// The unicast route in the message, if it is of this table.
fn route(message: &RouteMessage, of_table: u32) -> Option<Route> {
    let header = &message.header;
    if header.address_family != AddressFamily::Inet || header.kind != RouteType::Unicast {
        return None;
    }
    let mut table = u32::from(header.table);
    let mut dst = Ipv4Addr::UNSPECIFIED;
    let (mut via, mut oif, mut metric) = (None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::Destination(RouteAddress::Inet(addr)) => dst = *addr,
            RouteAttribute::Gateway(RouteAddress::Inet(addr)) => via = Some(*addr),
            RouteAttribute::Oif(index) => oif = Some(*index),
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    let dst = Ipv4Net::new(dst, header.destination_prefix_length).ok()?;
    (table == of_table).then(|| Route { dst, via, oif, protocol: header.protocol.into(), metric })
}
