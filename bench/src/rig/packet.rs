//! A socket that sees every packet of one protocol on one interface, with the kernel's own time of each, and sends such.
//!
//! `AF_PACKET` (packet(7)). The kernel hands over a copy of what arrives; nothing is held back or changed.
#![allow(unsafe_code, reason = "binding a packet socket has no safe wrapper")]

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::sockopt::{ReceiveTimeout, ReceiveTimestampns};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, send, setsockopt, socket,
};
use nix::sys::time::{TimeSpec, TimeVal, TimeValLike as _};

/// What a socket sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// ARP.
    Arp,
    /// IPv4.
    Ipv4,
}

/// A socket bound to one interface of the namespace in which it was made.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
}

impl PacketSocket {
    /// Opens one on `interface`. A [`Self::receive`] waits for `patience` at most, which must be a whole number of
    /// milliseconds.
    ///
    /// # Errors
    /// When there is no such interface, or this is not root.
    pub fn open(interface: &str, protocol: Protocol, patience: Duration) -> io::Result<Self> {
        let index = if_nametoindex(interface)?;
        // Protocol 0 receives nothing, so no packet of another interface gets in before it is bound.
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        let patience = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX);
        setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(patience))?;
        setsockopt(&socket, ReceiveTimestampns, &true)?;
        bind(&socket, index, protocol)?;
        Ok(Self { socket })
    }

    /// The next packet: its length in `buffer` (at most that of the buffer), and when it came, since 1970. None
    /// if none came in time.
    ///
    /// # Errors
    /// What the kernel says, such as that the interface is gone.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Duration)>> {
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut parts = [IoSliceMut::new(buffer)];
        let fd = self.socket.as_fd().as_raw_fd();
        let received = match recvmsg::<()>(fd, &mut parts, Some(&mut control), MsgFlags::empty()) {
            Ok(received) => received,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let stamp = received.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
            _ => None,
        });
        let stamp = stamp.ok_or_else(|| io::Error::other("a packet came without its time"))?;
        Ok(Some((received.bytes, stamp)))
    }

    /// Sends a whole Ethernet frame.
    ///
    /// # Errors
    /// What the kernel says, such as that the interface is down.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.socket.as_fd().as_raw_fd(), frame, MsgFlags::empty()).map(drop).map_err(io::Error::from)
    }
}

/// Binds a packet socket to an interface and to a protocol.
fn bind(socket: &OwnedFd, index: u32, protocol: Protocol) -> io::Result<()> {
    let protocol = match protocol {
        Protocol::Arp => libc::ETH_P_ARP,
        Protocol::Ipv4 => libc::ETH_P_IP,
    };
    let protocol = u16::try_from(protocol).map_err(io::Error::other)?;
    // SAFETY: all bytes zero is a valid `sockaddr_ll`: it has numbers and an array of them only.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    let length = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    // SAFETY: the pointer is to a live `sockaddr_ll` of the length given, which the kernel only reads; the descriptor
    // is open, because it is borrowed.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
