//! ARP for IPv4 on Ethernet (RFC 826): frames to bytes and back, and what a frame says about an address.
//!
//! Pure. It does not decide whom to believe: any station may claim any address in ARP. Frames are taken without a
//! VLAN tag; the kernel removes it before a socket sees the frame.

use std::net::Ipv4Addr;

use super::mac::MacAddr;

/// The bytes of a frame: an Ethernet header of 14 and an ARP packet of 28. Drivers pad it to what the wire wants.
pub const FRAME_LEN: usize = 42;

const ETHERTYPE: [u8; 2] = [0x08, 0x06];
/// Hardware type Ethernet, protocol type IPv4, address lengths 6 and 4.
const KIND: [u8; 6] = [0x00, 0x01, 0x08, 0x00, 6, 4];

/// What a packet wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `ares_op$REQUEST`: who has the target address?
    Request,
    /// `ares_op$REPLY`: the sender address is at the sender's MAC.
    Reply,
}

/// An ARP packet with its Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Whom the frame is sent to.
    pub to: MacAddr,
    /// Who sent the frame.
    pub from: MacAddr,
    /// What it wants.
    pub operation: Operation,
    /// `ar$sha`: where the sender address is.
    pub sender_mac: MacAddr,
    /// `ar$spa`.
    pub sender: Ipv4Addr,
    /// `ar$tha`: of no meaning in a request.
    pub target_mac: MacAddr,
    /// `ar$tpa`.
    pub target: Ipv4Addr,
}

/// Why bytes are no such frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Shorter than [`FRAME_LEN`].
    #[error("an ARP frame has {FRAME_LEN} bytes, not {0}")]
    Truncated(usize),
    /// Another protocol than ARP.
    #[error("ethertype {0:#06x} is not ARP")]
    NotArp(u16),
    /// ARP for other addresses than IPv4's on Ethernet.
    #[error("not ARP for IPv4 on Ethernet")]
    OtherAddresses,
    /// Neither request nor reply.
    #[error("ARP operation {0} is neither request nor reply")]
    Operation(u16),
}

impl Frame {
    /// Asks everybody (`to` = [`MacAddr::BROADCAST`]) or one station who has `target`. `sender` is an address of the
    /// asking host's own: a question from 0.0.0.0 (an ARP probe, RFC 5227 2.1.1) is not answered by proxies.
    pub const fn question(to: MacAddr, mac: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        let target_mac = MacAddr::new([0; 6]);
        Self { to, from: mac, operation: Operation::Request, sender_mac: mac, sender, target_mac, target }
    }

    /// Says that `addr` is at `mac` (RFC 5227 2.3; the reply form for stations that only learn from replies).
    ///
    /// A reply carries `mac` as the target's too: only then does Linux take it for gratuitous, and overrides what it
    /// learnt less than a second ago.
    pub const fn announcement(operation: Operation, to: MacAddr, mac: MacAddr, addr: Ipv4Addr) -> Self {
        let target_mac = match operation {
            Operation::Request => MacAddr::new([0; 6]),
            Operation::Reply => mac,
        };
        Self { to, from: mac, operation, sender_mac: mac, sender: addr, target_mac, target: addr }
    }

    /// Whether it announces its sender's address rather than asking or answering somebody.
    pub fn is_announcement(&self) -> bool {
        self.sender == self.target
    }

    /// The bytes to send.
    pub fn encode(&self) -> [u8; FRAME_LEN] {
        let operation: u16 = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        let parts: [&[u8]; 9] = [
            &self.to.octets(),
            &self.from.octets(),
            &ETHERTYPE,
            &KIND,
            &operation.to_be_bytes(),
            &self.sender_mac.octets(),
            &self.sender.octets(),
            &self.target_mac.octets(),
            &self.target.octets(),
        ];
        let mut bytes = [0; FRAME_LEN];
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        bytes
    }

    /// Reads a frame; what follows the packet is padding.
    ///
    /// # Errors
    /// If it is too short or not ARP for IPv4 on Ethernet.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let frame: &[u8; FRAME_LEN] = bytes.first_chunk().ok_or(Error::Truncated(bytes.len()))?;
        let [a, b] = [frame[12], frame[13]];
        if [a, b] != ETHERTYPE {
            return Err(Error::NotArp(u16::from_be_bytes([a, b])));
        }
        if frame[14..20] != KIND {
            return Err(Error::OtherAddresses);
        }
        let operation = match u16::from_be_bytes([frame[20], frame[21]]) {
            1 => Operation::Request,
            2 => Operation::Reply,
            other => return Err(Error::Operation(other)),
        };
        Ok(Self {
            to: mac(frame, 0),
            from: mac(frame, 6),
            operation,
            sender_mac: mac(frame, 22),
            sender: addr(frame, 28),
            target_mac: mac(frame, 32),
            target: addr(frame, 38),
        })
    }
}

fn mac(frame: &[u8; FRAME_LEN], at: usize) -> MacAddr {
    let mut octets = [0; 6];
    octets.copy_from_slice(&frame[at..at + 6]);
    MacAddr::new(octets)
}

fn addr(frame: &[u8; FRAME_LEN], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3])
}

#[cfg(test)]
mod tests;
