//! The five rtnetlink requests that give the VM its network, as bytes.
//!
//! No more than that: a library for all of rtnetlink would be the larger part of PID 1.

use std::net::Ipv4Addr;

const AF_INET: u8 = 2;
const REQUEST_ACK: u16 = 0x1 | 0x4;
const CREATE_REPLACE: u16 = 0x400 | 0x100;

/// A request to set the link `index` up.
pub(crate) fn link_up(index: u32) -> Vec<u8> {
    const RTM_NEWLINK: u16 = 16;
    const IFF_UP: u32 = 1;
    // struct ifinfomsg: family, pad, type, index, flags, change mask.
    let mut body = vec![0; 4];
    for field in [index, IFF_UP, IFF_UP] {
        body.extend_from_slice(&field.to_ne_bytes());
    }
    request(RTM_NEWLINK, REQUEST_ACK, &body, &[])
}

/// A request to give the link `index` the address `addr`/32.
pub(crate) fn add_address(index: u32, addr: Ipv4Addr) -> Vec<u8> {
    const RTM_NEWADDR: u16 = 20;
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    // struct ifaddrmsg: family, prefix length, flags, scope (universe), index.
    let mut body = vec![AF_INET, 32, 0, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    let attributes = [(IFA_LOCAL, &addr.octets()[..]), (IFA_ADDRESS, &addr.octets()[..])];
    request(RTM_NEWADDR, REQUEST_ACK | CREATE_REPLACE, &body, &attributes)
}

/// A request for a permanent neighbour entry: `addr` is `mac` on link `index`.
pub(crate) fn add_neighbour(index: u32, addr: Ipv4Addr, mac: [u8; 6]) -> Vec<u8> {
    const RTM_NEWNEIGH: u16 = 28;
    const NUD_PERMANENT: u16 = 0x80;
    const NDA_DST: u16 = 1;
    const NDA_LLADDR: u16 = 2;
    // struct ndmsg: family, pads, index, state, flags, type.
    let mut body = vec![AF_INET, 0, 0, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    body.extend_from_slice(&NUD_PERMANENT.to_ne_bytes());
    body.extend_from_slice(&[0, 0]);
    let attributes = [(NDA_DST, &addr.octets()[..]), (NDA_LLADDR, &mac[..])];
    request(RTM_NEWNEIGH, REQUEST_ACK | CREATE_REPLACE, &body, &attributes)
}

/// A request for the route "`to` is on link `index`", with `from` as the source address.
pub(crate) fn add_link_route(index: u32, to: Ipv4Addr, from: Ipv4Addr) -> Vec<u8> {
    const SCOPE_LINK: u8 = 253;
    const RTA_DST: u16 = 1;
    route(index, 32, SCOPE_LINK, from, (RTA_DST, to))
}

/// A request for the default route through `gateway` on link `index`, with `from` as the source address.
pub(crate) fn add_default_route(index: u32, gateway: Ipv4Addr, from: Ipv4Addr) -> Vec<u8> {
    const SCOPE_UNIVERSE: u8 = 0;
    const RTA_GATEWAY: u16 = 5;
    route(index, 0, SCOPE_UNIVERSE, from, (RTA_GATEWAY, gateway))
}

fn route(index: u32, prefix: u8, scope: u8, from: Ipv4Addr, target: (u16, Ipv4Addr)) -> Vec<u8> {
    const RTM_NEWROUTE: u16 = 24;
    const RTA_OIF: u16 = 4;
    const RTA_PREFSRC: u16 = 7;
    const TABLE_MAIN: u8 = 254;
    const PROTOCOL_BOOT: u8 = 3;
    const UNICAST: u8 = 1;
    // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags.
    let body = [AF_INET, prefix, 0, 0, TABLE_MAIN, PROTOCOL_BOOT, scope, UNICAST, 0, 0, 0, 0];
    let attributes = [
        (target.0, &target.1.octets()[..]),
        (RTA_OIF, &index.to_ne_bytes()[..]),
        (RTA_PREFSRC, &from.octets()[..]),
    ];
    request(RTM_NEWROUTE, REQUEST_ACK | CREATE_REPLACE, &body, &attributes)
}

fn request(kind: u16, flags: u16, body: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    // struct nlmsghdr: length (set last), type, flags, sequence, port.
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(body);
    for (kind, value) in attributes {
        bytes.extend_from_slice(&len16(4 + value.len()).to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let length = u32::from(len16(bytes.len())).to_ne_bytes();
    bytes[..4].copy_from_slice(&length);
    bytes
}

/// Every request here is of a fixed size well below the limit.
fn len16(length: usize) -> u16 {
    u16::try_from(length).expect("a request of under 100 bytes")
}

/// What the kernel answered: 0, or an errno.
///
/// # Errors
/// The bytes are not an acknowledgement.
pub(crate) fn parse_ack(answer: &[u8]) -> Result<i32, NotAnAck> {
    const NLMSG_ERROR: u16 = 2;
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let error = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, error) {
        (Some(NLMSG_ERROR), Some(error)) => Ok(error.saturating_neg()),
        _ => Err(NotAnAck),
    }
}

/// The kernel's answer is something else.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's answer is not an acknowledgement")]
pub(crate) struct NotAnAck;

#[cfg(test)]
mod tests;
