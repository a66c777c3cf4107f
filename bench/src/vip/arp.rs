//! ARP for IPv4 over Ethernet (RFC 826), as much as a listener and an asker need. Pure.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

#[cfg(test)]
mod tests;

/// A frame of ARP without padding, in bytes: an Ethernet header of 14 and a packet of 28.
pub(super) const FRAME_BYTES: usize = 42;

const ETHERTYPE: [u8; 2] = [0x08, 0x06];
/// Hardware type 1, protocol type 0x0800, address lengths 6 and 4.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    const BROADCAST: Self = Self([0xff; 6]);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let octets: Option<Vec<u8>> = text
            .split(':')
            .map(|part| {
                let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
                digits.then(|| u8::from_str_radix(part, 16).ok()).flatten()
            })
            .collect();
        let octets = octets.and_then(|octets| <[u8; 6]>::try_from(octets).ok());
        octets.map(Self).ok_or_else(|| format!("{text:?} is no hardware address"))
    }
}

/// What a packet asks or says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Request,
    Reply,
}

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arp {
    /// Who sent the frame.
    pub(super) source: Mac,
    /// To whom the frame is addressed.
    pub(super) destination: Mac,
    pub(super) operation: Operation,
    pub(super) sender_mac: Mac,
    pub(super) sender: Ipv4Addr,
    pub(super) target: Ipv4Addr,
}

/// The packet in an Ethernet frame; none if it is cut short or is not ARP for IPv4. What follows it (padding) does not
/// count.
pub(super) fn parse(frame: &[u8]) -> Option<Arp> {
    let frame: &[u8; FRAME_BYTES] = frame.first_chunk()?;
    if frame[12..14] != ETHERTYPE || frame[14..20] != KIND {
        return None;
    }
    let operation = match frame[20..22] {
        [0, 1] => Operation::Request,
        [0, 2] => Operation::Reply,
        _ => return None,
    };
    let mac = |at: usize| Some(Mac(*frame.get(at..)?.first_chunk()?));
    let addr = |at: usize| Some(Ipv4Addr::from(*frame.get(at..)?.first_chunk::<4>()?));
    Some(Arp {
        destination: mac(0)?,
        source: mac(6)?,
        operation,
        sender_mac: mac(22)?,
        sender: addr(28)?,
        target: addr(38)?,
    })
}

/// The frame of a question to all: who has `target`? Asked for one's own address it is an announcement.
pub fn request(from: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> [u8; FRAME_BYTES] {
    let mut frame = [0; FRAME_BYTES];
    frame[0..6].copy_from_slice(&Mac::BROADCAST.0);
    frame[6..12].copy_from_slice(&from.0);
    frame[12..14].copy_from_slice(&ETHERTYPE);
    frame[14..20].copy_from_slice(&KIND);
    frame[20..22].copy_from_slice(&[0, 1]);
    frame[22..28].copy_from_slice(&from.0);
    frame[28..32].copy_from_slice(&sender.octets());
    frame[38..42].copy_from_slice(&target.octets());
    frame
}
