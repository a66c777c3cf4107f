//! The public address's part of the kernel's network: proxy entries, marked packets' routes and rules.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteMessage, RouteProtocol};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleHeader, RuleMessage};
use rtnetlink::{Handle, IpVersion};

use super::{exactly, index_of, our_route, route, to_io};
use crate::net::mac::MacAddr;
use crate::net::plan::vip::{MARK_TABLE, MarkRule, VipObserved};
use crate::net::plan::{Change, Desired, ROUTE_PROTOCOL};

/// Where Linux says whether connections are tracked whose beginning it did not see; it exists once something tracks.
const LOOSE_TRACKING: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_loose";

/// Looks at everything but the packet filter. `lan` is the LAN interface's number, `routes` are those of all tables.
pub(super) async fn observe(
    handle: &Handle,
    desired: &Desired,
    lan: Option<u32>,
    routes: &[RouteMessage],
    observed: &mut VipObserved,
) -> io::Result<()> {
    if let Some(lan) = lan {
        let query = handle.neighbours().get().set_address_family(AddressFamily::Inet).proxies().execute();
        let proxies: Vec<_> = query.try_collect().await.map_err(to_io)?;
        observed.proxies =
            proxies.iter().filter(|entry| entry.header.ifindex == lan).filter_map(proxy).collect();
    }
    observed.marked_routes = routes
        .iter()
        .filter_map(|message| route(message, MARK_TABLE))
        .filter(|route| route.protocol == ROUTE_PROTOCOL)
        .collect();
    let rules: Vec<_> = handle.rule().get(IpVersion::V4).execute().try_collect().await.map_err(to_io)?;
    observed.rules = rules.iter().filter_map(rule).collect();
    let Some(vip) = desired.vip else { return Ok(()) };
    let addrs: Vec<_> = handle.address().get().execute().try_collect().await.map_err(to_io)?;
    for message in &addrs {
        observed.local.extend(message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(addr)) => Some(*addr),
            _ => None,
        }));
    }
    if let (Some(former), Some(lan)) = (vip.second_chance, lan) {
        observed.former_owner = mac_of(handle, lan, former).await?;
        observed.strict_tracking = match std::fs::read_to_string(LOOSE_TRACKING) {
            Ok(text) => text.trim_end() == "0",
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            Err(e) => return Err(e),
        };
    }
    Ok(())
}

/// Does one step. The outer error is one of looking something up.
pub(super) async fn apply(
    handle: &Handle,
    desired: &Desired,
    change: &Change,
) -> io::Result<Result<(), rtnetlink::Error>> {
    let lan = || index_of(handle, &desired.interface);
    Ok(match change {
        Change::Answer(addr) => {
            let mut add = handle.neighbours().add(lan().await?, IpAddr::V4(*addr));
            add.message_mut().header.state = NeighbourState::None;
            add.message_mut().attributes.push(mark());
            add.flags(NeighbourFlags::Proxy).replace().execute().await
        }
        Change::StopAnswering(addr) => {
            let mut message = NeighbourMessage::default();
            message.header.family = AddressFamily::Inet;
            message.header.ifindex = lan().await?;
            message.header.flags = NeighbourFlags::Proxy;
            message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(*addr)));
            handle.neighbours().del(message).execute().await
        }
        Change::SetMarkedRoute(addr, via) => {
            let message = our_route((*addr).into()).gateway(*via).output_interface(lan().await?);
            handle.route().add(message.table_id(MARK_TABLE).build()).replace().execute().await
        }
        Change::RemoveMarkedRoute(route) => {
            handle.route().del(exactly(route).table_id(MARK_TABLE).build()).execute().await
        }
        Change::AddMarkRule(rule) => {
            let mut add = handle.rule().add();
            *add.message_mut() = rule_message(rule);
            add.execute().await
        }
        Change::RemoveMarkRule(rule) => handle.rule().del(rule_message(rule)).execute().await,
        _ => return Err(io::ErrorKind::Unsupported.into()),
    })
}

/// The MAC that the kernel has for `addr` on the interface `lan`.
async fn mac_of(handle: &Handle, lan: u32, addr: Ipv4Addr) -> io::Result<Option<MacAddr>> {
    let query = handle.neighbours().get().set_address_family(AddressFamily::Inet).execute();
    let entries: Vec<_> = query.try_collect().await.map_err(to_io)?;
    let entry = entries.iter().find(|e| e.header.ifindex == lan && destination(e) == Some(addr));
    Ok(entry.and_then(|entry| {
        entry.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(octets) => {
                octets.as_slice().try_into().ok().map(MacAddr::new)
            }
            _ => None,
        })
    }))
}

fn mark() -> NeighbourAttribute {
    NeighbourAttribute::Protocol(RouteProtocol::Other(ROUTE_PROTOCOL))
}

fn destination(message: &NeighbourMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(addr)) => Some(*addr),
        _ => None,
    })
}

fn proxy(message: &NeighbourMessage) -> Option<(Ipv4Addr, bool)> {
    Some((destination(message)?, message.attributes.contains(&mark())))
}

/// The rule in the message, if it is ours.
fn rule(message: &RuleMessage) -> Option<MarkRule> {
    let ours = RuleAttribute::Protocol(RouteProtocol::Other(ROUTE_PROTOCOL));
    if !message.attributes.contains(&ours) {
        return None;
    }
    let mut rule =
        MarkRule { dst: ipnet::Ipv4Net::default(), mark: 0, table: message.header.table.into(), priority: 0 };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Destination(IpAddr::V4(addr)) => {
                rule.dst = ipnet::Ipv4Net::new(*addr, message.header.dst_len).ok()?;
            }
            RuleAttribute::FwMark(mark) => rule.mark = *mark,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            _ => {}
        }
    }
    Some(rule)
}

fn rule_message(rule: &MarkRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header = RuleHeader {
        family: AddressFamily::Inet,
        dst_len: rule.dst.prefix_len(),
        action: RuleAction::ToTable,
        ..RuleHeader::default()
    };
    message.attributes.extend([
        RuleAttribute::Destination(rule.dst.addr().into()),
        RuleAttribute::FwMark(rule.mark),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Protocol(RouteProtocol::Other(ROUTE_PROTOCOL)),
    ]);
    message
}
