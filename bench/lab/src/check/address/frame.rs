//! UDP in IPv4 in Ethernet (RFC 768, RFC 791): read from a wire, and written with whatever sender one likes. Pure.

use std::net::{Ipv4Addr, SocketAddrV4};

use bench::vip::Mac;

#[cfg(test)]
mod tests;

const ETHERNET_BYTES: usize = 14;
const IP_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
const UDP: u8 = 17;
/// Hops that a packet may make: it stays on the LAN.
const TTL: u8 = 64;

/// A datagram, with those who send and receive it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Datagram {
    pub(super) macs: (Mac, Mac),
    pub(super) from: SocketAddrV4,
    pub(super) to: SocketAddrV4,
    pub(super) payload: Vec<u8>,
}

impl Datagram {
    /// The datagram in a frame; none if it is something else, or a fragment.
    pub(super) fn parse(frame: &[u8]) -> Option<Self> {
        let (ethernet, packet) = frame.split_at_checked(ETHERNET_BYTES)?;
        let mac = |at: usize| Some(Mac(*ethernet.get(at..)?.first_chunk()?));
        let header = usize::from(packet.first()? & 0x0f) * 4;
        let is_v4 = ethernet[12..14] == [0x08, 0x00] && packet.first()? >> 4 == 4;
        let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff;
        if !is_v4 || header < IP_BYTES || fragment != 0 || *packet.get(9)? != UDP {
            return None;
        }
        let addr = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?));
        let udp = packet.get(header..)?;
        let number = |at: usize| Some(u16::from_be_bytes(*udp.get(at..)?.first_chunk()?));
        // What follows it in the frame is padding.
        let payload = udp.get(UDP_BYTES..usize::from(number(4)?))?.to_vec();
        Some(Self {
            macs: (mac(6)?, mac(0)?),
            from: SocketAddrV4::new(addr(12)?, number(0)?),
            to: SocketAddrV4::new(addr(16)?, number(2)?),
            payload,
        })
    }

    /// Its frame; none if it is longer than a packet can be. UDP's check sum is left out, as IPv4 permits.
    pub(super) fn frame(&self) -> Option<Vec<u8>> {
        let udp_length = u16::try_from(UDP_BYTES + self.payload.len()).ok()?;
        let length = udp_length.checked_add(20)?;
        let mut ip = [0; IP_BYTES];
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&length.to_be_bytes());
        ip[8] = TTL;
        ip[9] = UDP;
        ip[12..16].copy_from_slice(&self.from.ip().octets());
        ip[16..20].copy_from_slice(&self.to.ip().octets());
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut frame = Vec::with_capacity(ETHERNET_BYTES + usize::from(length));
        frame.extend_from_slice(&self.macs.1.0);
        frame.extend_from_slice(&self.macs.0.0);
        frame.extend_from_slice(&[0x08, 0x00]);
        frame.extend_from_slice(&ip);
        for number in [self.from.port(), self.to.port(), udp_length, 0] {
            frame.extend_from_slice(&number.to_be_bytes());
        }
        frame.extend_from_slice(&self.payload);
        Some(frame)
    }
}

/// The Internet check sum of a header whose own field is zero (RFC 1071).
fn checksum(header: &[u8; IP_BYTES]) -> u16 {
    let words = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}
