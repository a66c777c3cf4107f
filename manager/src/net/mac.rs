//! Ethernet addresses: the type, and which one a bridge or a VM gets.
//!
//! The addresses are computed, never drawn: a manager that restarts, and an administrator who reads a packet
//! dump, can both tell from a MAC whose it is. All are locally administered unicast addresses (`02:…`).

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An Ethernet address, written `02:00:0a:4d:0b:01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// The address with these octets.
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// Its octets.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Every station's address: what a request to all is sent to.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it can be one station's: neither a group's nor all zeros.
    pub const fn is_station(self) -> bool {
        let [a, b, c, d, e, f] = self.0;
        a & 1 == 0 && (a | b | c | d | e | f) != 0
    }

    /// The address libvirt gives to the host's end of a VM's cable: the VM's, with the first octet `fe`, so
    /// that a bridge never takes it for its own.
    pub(crate) const fn host_side(self) -> Self {
        let [_, b, c, d, e, f] = self.0;
        Self([0xfe, b, c, d, e, f])
    }
}

/// The bridge's address on the host whose pool begins with `host_addr`.
pub const fn bridge_mac(host_addr: Ipv4Addr) -> MacAddr {
    let [a, b, c, d] = host_addr.octets();
    MacAddr([0x02, 0x00, a, b, c, d])
}

/// The address of the VM with `addr` in its life number `incarnation`.
///
/// It differs between any two addresses, and between any two of 256 successive incarnations of one: a VM that
/// was given up but still twitches never gets the frames of its successor.
pub const fn vm_mac(addr: Ipv4Addr, incarnation: u64) -> MacAddr {
    let [a, b, c, d] = addr.octets();
    let [low, ..] = incarnation.to_le_bytes();
    MacAddr([0x02, low, a, b, c, d])
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The text is not six two-digit hexadecimal numbers separated by colons.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address such as 02:00:0a:4d:0b:01")]
pub struct ParseMacError(String);

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseMacError(text.chars().take(40).collect());
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or_else(bad)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(octets)) }
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
