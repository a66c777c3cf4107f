//! A station on the LAN that is no part of the cluster, in a namespace of its own. Dropped, it is gone.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bench::rig::namespace;
use bench::rig::packet::{PacketSocket, Protocol};
use bench::vip::{Mac, arp_request, mac_of};

use crate::ip::ip;
use crate::network::cable;
use crate::plan::{LAN_NETNS, Plan, STRANGER, STRANGER_NETNS};

/// The last number of its own address.
const NUMBER: u8 = 50;
const INTERFACE: &str = "eth0";

#[derive(Debug)]
pub(super) struct Station {
    /// Its own address.
    pub(super) addr: Ipv4Addr,
    /// Its hardware address.
    pub(super) mac: Mac,
}

impl Station {
    /// Plugs one in. There is one at a time.
    pub(super) fn arrive(plan: &Plan) -> Result<Self> {
        ip(&["netns", "add", STRANGER_NETNS])?;
        // From here on it is removed, however far it came.
        let mut station = Self { addr: plan.nobodys(NUMBER), mac: Mac([0; 6]) };
        ip(&["-n", STRANGER_NETNS, "link", "set", "lo", "up"])?;
        cable(plan, STRANGER, STRANGER_NETNS, station.addr)?;
        station.mac = mac_of(STRANGER_NETNS, INTERFACE)?;
        Ok(station)
    }

    /// Takes an address, as an administrator would by mistake: its kernel answers for it from now on.
    pub(super) fn take(&self, addr: Ipv4Addr) -> Result<()> {
        ip(&["-n", STRANGER_NETNS, "addr", "add", &format!("{addr}/32"), "dev", INTERFACE]).map(drop)
    }

    /// Says so to all, once (RFC 5227 section 2.3).
    pub(super) fn announce(&self, addr: Ipv4Addr) -> Result<()> {
        let frame = arp_request(self.mac, addr, addr);
        namespace::enter(STRANGER_NETNS, || {
            let socket = PacketSocket::open(INTERFACE, Protocol::Arp, Duration::from_millis(1))?;
            socket.send(&frame).context("cannot announce")
        })
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        // The port first: a namespace is taken apart at leisure. What is left goes with the lab.
        let _ = ip(&["-n", LAN_NETNS, "link", "del", STRANGER]);
        let _ = ip(&["netns", "del", STRANGER_NETNS]);
    }
}
