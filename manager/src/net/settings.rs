//! What the host's network shall be, as the configuration says, and whether that can work.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Error;

/// The kernel's limit for an interface's name, in bytes.
const MAX_INTERFACE_NAME: usize = 15;

/// What the host's network shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The LAN interface, through which the peers are reached.
    pub interface: String,
    /// The name of the bridge to make.
    pub bridge: String,
    /// The addresses of this host's VMs.
    pub pool: Ipv4Net,
    /// The host's address on the bridge: one of the pool's.
    pub host_addr: Ipv4Addr,
    /// The peers' pools.
    pub peers: Vec<PeerRoute>,
    /// The cluster's public address, if it has one.
    pub vip: Option<Ipv4Addr>,
}

/// Where a peer's VMs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerRoute {
    /// The peer's pool.
    pub pool: Ipv4Net,
    /// The peer's address on the LAN.
    pub via: Ipv4Addr,
}

impl Settings {
    /// Checks what can be checked without the kernel.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the setting.
    pub fn check(&self) -> Result<(), Error> {
        let invalid = |field: &str, message| Err(Error::Invalid { field: field.to_owned(), message });
        for (field, name) in [("network.interface", &self.interface), ("network.bridge", &self.bridge)] {
            let letters = name.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
            if name.is_empty() || name.len() > MAX_INTERFACE_NAME || !letters || name == "." || name == ".." {
                return invalid(
                    field,
                    format!(
                        "{name:?} is no interface name: 1 to {MAX_INTERFACE_NAME} bytes of printable ASCII without /"
                    ),
                );
            }
        }
        if self.interface == self.bridge {
            return invalid("network.bridge", format!("{:?} is the LAN interface", self.bridge));
        }
        let Settings { pool, host_addr, .. } = self;
        if pool.prefix_len() > 30 {
            return invalid(
                "network.pool",
                format!("{pool} is too small: /30 is the smallest that holds a VM"),
            );
        }
        if !pool.contains(host_addr) || [pool.network(), pool.broadcast()].contains(host_addr) {
            return invalid("network.pool", format!("{host_addr} is not a host address of {pool}"));
        }
        for (i, peer) in self.peers.iter().enumerate() {
            let before = self.peers.iter().take(i).map(|peer| &peer.pool);
            for other in before.chain([pool]) {
                if other.contains(&peer.pool.network()) || peer.pool.contains(&other.network()) {
                    let field = format!("peers[{i}].pool");
                    return invalid(&field, format!("the pools {} and {other} overlap", peer.pool));
                }
            }
            if peer.pool.contains(&peer.via) || pool.contains(&peer.via) {
                return invalid(
                    &format!("peers[{i}].api"),
                    format!("{} is not an address on the LAN: a pool contains it", peer.via),
                );
            }
        }
        self.vip.map_or(Ok(()), |vip| self.check_vip(vip))
    }

    fn check_vip(&self, vip: Ipv4Addr) -> Result<(), Error> {
        let invalid = |message| Err(Error::Invalid { field: "vip.addr".to_owned(), message });
        let unusual = vip.is_unspecified() || vip.is_loopback() || vip.is_multicast() || vip.is_broadcast();
        if unusual || vip.is_link_local() {
            return invalid(format!("{vip} is not an address of one host"));
        }
        let mut pools = self.peers.iter().map(|peer| peer.pool).chain([self.pool]);
        if let Some(pool) = pools.find(|pool| pool.contains(&vip)) {
            return invalid(format!("{vip} belongs to the pool {pool}; the public address is of no pool"));
        }
        if self.peers.iter().any(|peer| peer.via == vip) {
            return invalid(format!("{vip} is a peer's own LAN address"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
