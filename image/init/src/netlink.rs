//! The rtnetlink requests that give the VM its network, and the socket that asks the kernel for them.
//!
//! One request at a time, each acknowledged before the next. Nothing is read back from the kernel.

use std::io;
use std::net::Ipv4Addr;

use netlink_packet_core::{ErrorBuffer, NLMSG_ERROR, NetlinkBuffer, NetlinkMessage};
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage};
use netlink_packet_route::route::{RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike};

/// The longest wait for an answer. The kernel answers while it takes the request, so a sound one is never waited for.
const ANSWER_SECONDS: i64 = 5;
/// An answer is an errno and, after a refusal, the request: about 100 bytes.
const ANSWER_BYTES: usize = 1024;

/// A request to set the link `index` up.
pub(crate) fn link_up(index: u32) -> RouteNetlinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    RouteNetlinkMessage::SetLink(link)
}

/// A request to give the link `index` the address `addr`/32.
pub(crate) fn add_address(index: u32, addr: Ipv4Addr) -> RouteNetlinkMessage {
    let mut address = AddressMessage::default();
    address.header.family = AddressFamily::Inet;
    address.header.prefix_len = 32;
    address.header.index = index;
    address.attributes = vec![AddressAttribute::Local(addr.into()), AddressAttribute::Address(addr.into())];
    RouteNetlinkMessage::NewAddress(address)
}

/// A request for a permanent neighbour entry: `addr` is `mac` on link `index`.
pub(crate) fn add_neighbour(index: u32, addr: Ipv4Addr, mac: [u8; 6]) -> RouteNetlinkMessage {
    let mut neighbour = NeighbourMessage::default();
    neighbour.header.family = AddressFamily::Inet;
    neighbour.header.ifindex = index;
    neighbour.header.state = NeighbourState::Permanent;
    neighbour.attributes =
        vec![NeighbourAttribute::Destination(addr.into()), NeighbourAttribute::LinkLayerAddress(mac.into())];
    RouteNetlinkMessage::NewNeighbour(neighbour)
}

/// A request for the route "`to` is on link `index`", with `from` as the source address.
pub(crate) fn add_link_route(index: u32, to: Ipv4Addr, from: Ipv4Addr) -> RouteNetlinkMessage {
    route(index, 32, RouteScope::Link, from, RouteAttribute::Destination(to.into()))
}

/// A request for the default route through `gateway` on link `index`, with `from` as the source address.
pub(crate) fn add_default_route(index: u32, gateway: Ipv4Addr, from: Ipv4Addr) -> RouteNetlinkMessage {
    route(index, 0, RouteScope::Universe, from, RouteAttribute::Gateway(gateway.into()))
}

fn route(
    index: u32,
    prefix: u8,
    scope: RouteScope,
    from: Ipv4Addr,
    to: RouteAttribute,
) -> RouteNetlinkMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = AddressFamily::Inet;
    route.header.destination_prefix_length = prefix;
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = RouteProtocol::Boot;
    route.header.scope = scope;
    route.header.kind = RouteType::Unicast;
    route.attributes = vec![to, RouteAttribute::Oif(index), RouteAttribute::PrefSource(from.into())];
    RouteNetlinkMessage::NewRoute(route)
}

/// A connection to the kernel's rtnetlink.
pub(crate) struct Kernel {
    socket: Socket,
    sequence: u32,
}

impl Kernel {
    /// # Errors
    /// The kernel has no rtnetlink, or no file descriptor is left.
    pub(crate) fn connect() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Has `request` done.
    ///
    /// # Errors
    /// The kernel's refusal, no answer in time, or an answer to something else.
    pub(crate) fn ask(&mut self, request: RouteNetlinkMessage) -> io::Result<()> {
        self.sequence += 1;
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answer = Vec::with_capacity(ANSWER_BYTES);
        self.socket.recv(&mut answer, 0)?;
        check(&answer, self.sequence)
    }
}

/// Whether `answer` acknowledges the request `sequence`.
fn check(answer: &[u8], sequence: u32) -> io::Result<()> {
    // Not `NetlinkMessage::deserialize`: it brings the parsers of all that rtnetlink can say into PID 1.
    let answer = NetlinkBuffer::new_checked(answer).map_err(io::Error::other)?;
    if answer.message_type() != NLMSG_ERROR || answer.sequence_number() != sequence {
        return Err(io::Error::other("the kernel's answer is not an acknowledgement"));
    }
    let ack = ErrorBuffer::new_checked(answer.payload()).map_err(io::Error::other)?;
    ack.code().map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code.get().saturating_neg())))
}

#[cfg(test)]
mod tests;
