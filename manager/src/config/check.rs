//! What values a configuration may have. Each error names the key at fault; what only a running host can tell is checked
//! elsewhere.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use manager_core::pool::Pool;

use super::{CLUSTER_MAX_BYTES, Config, Error, NODE_MAX_BYTES, invalid, is_label};
use crate::capacity;

impl Config {
    /// The first value that cannot be.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.pool()?;
        label("node", &self.node)?;
        interface("network.interface", &self.network.interface)?;
        interface("network.bridge", &self.network.bridge)?;
        if self.network.interface == self.network.bridge {
            return Err(invalid("network.bridge", "must differ from network.interface"));
        }
        unicast("api.listen", *self.api.listen.ip())?;
        port("api.listen", self.api.listen.port())?;
        let hypervisor = &self.hypervisor;
        range("hypervisor.memory_mib", u64::from(hypervisor.memory_mib), 96..=65_536)?;
        range("hypervisor.vcpus", u64::from(hypervisor.vcpus), 1..=16)?;
        range("hypervisor.max_boots", u64::from(hypervisor.max_boots), 1..=64)?;
        range("hypervisor.call_timeout_ms", hypervisor.call_timeout_ms, 1_000..=120_000)?;
        range("heartbeat.timeout_ms", self.heartbeat.timeout_ms, 200..=60_000)?;
        range("heartbeat.retries", u64::from(self.heartbeat.retries), 0..=10)?;
        range("heartbeat.boot_timeout_ms", self.heartbeat.boot_timeout_ms, 1_000..=600_000)?;
        range("service.drain_ms", self.service.drain_ms, 0..=600_000)?;
        range("service.stop_ms", self.service.stop_ms, 0..=600_000)?;
        range("service.max_vms", u64::from(self.service.max_vms), 0..=u64::from(capacity::MOST))?;
        port("service.port", self.service.port)?;
        port("lb.port", self.lb.port)?;
        port("lb.admin_port", self.lb.admin_port)?;
        if self.lb.port == self.lb.admin_port {
            return Err(invalid("lb.admin_port", "must differ from lb.port"));
        }
        name("cluster.name", &self.cluster.name, CLUSTER_MAX_BYTES)?;
        port("cluster.gossip_port", self.cluster.gossip_port)?;
        self.check_vip()?;
        self.check_peers()
    }

    fn check_vip(&self) -> Result<(), Error> {
        let Some(vip) = &self.vip else { return Ok(()) };
        unicast("vip.addr", vip.addr)?;
        if vip.addr.is_loopback() || vip.addr.is_link_local() {
            return Err(invalid("vip.addr", format!("{} is not an address that a LAN can share", vip.addr)));
        }
        let pools = self.peers.iter().map(|peer| (peer.node.as_str(), peer.pool));
        for (node, pool) in pools.chain([(self.node.as_str(), self.network.pool)]) {
            if pool.contains(&vip.addr) {
                return Err(invalid("vip.addr", format!("{} is of {node}'s pool {pool}", vip.addr)));
            }
        }
        let hosts = self.peers.iter().map(|peer| (peer.node.as_str(), *peer.api.ip()));
        for (node, addr) in hosts.chain([(self.node.as_str(), *self.api.listen.ip())]) {
            if addr == vip.addr {
                return Err(invalid("vip.addr", format!("{addr} is {node}'s own address")));
            }
        }
        range("vip.check_interval_ms", vip.check_interval_ms, 20..=10_000)?;
        range("vip.check_timeout_ms", vip.check_timeout_ms, 20..=10_000)?;
        range("vip.check_failures", u64::from(vip.check_failures), 1..=20)?;
        range("vip.silence_ms", vip.silence_ms, 200..=60_000)?;
        range("vip.hold_down_ms", vip.hold_down_ms, 0..=60_000)?;
        range("vip.release_ms", vip.release_ms, 0..=600_000)
    }

    fn check_peers(&self) -> Result<(), Error> {
        if self.network.pool.contains(self.api.listen.ip()) {
            return Err(invalid(
                "network.pool",
                format!("must not contain api.listen ({})", self.api.listen.ip()),
            ));
        }
        let mut names = BTreeSet::from([self.node.as_str()]);
        let mut pools = vec![("network.pool".to_owned(), self.network.pool)];
        for (index, peer) in self.peers.iter().enumerate() {
            let field = |name: &str| format!("peers[{index}].{name}");
            label(&field("node"), &peer.node)?;
            if !names.insert(&peer.node) {
                return Err(invalid(field("node"), format!("{} stands twice", peer.node)));
            }
            unicast(&field("api"), *peer.api.ip())?;
            port(&field("api"), peer.api.port())?;
            if peer.api == self.api.listen {
                return Err(invalid(field("api"), "is this node's own api.listen"));
            }
            Pool::new(peer.pool).map_err(|error| invalid(field("pool"), error.to_string()))?;
            for (other, pool) in &pools {
                if pool.contains(&peer.pool) || peer.pool.contains(pool) {
                    return Err(invalid(field("pool"), format!("{} overlaps {other} ({pool})", peer.pool)));
                }
            }
            pools.push((field("pool"), peer.pool));
        }
        Ok(())
    }
}

fn range(field: &str, value: u64, allowed: std::ops::RangeInclusive<u64>) -> Result<(), Error> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(invalid(field, format!("{value} is not within {} to {}", allowed.start(), allowed.end())))
}

fn port(field: &str, port: u16) -> Result<(), Error> {
    range(field, u64::from(port), 1..=65_535)
}

fn unicast(field: &str, addr: Ipv4Addr) -> Result<(), Error> {
    if addr.is_unspecified() || addr.is_multicast() || addr.is_broadcast() {
        return Err(invalid(
            field,
            format!("{addr} is not one host's address; peers must be able to reach it"),
        ));
    }
    Ok(())
}

fn name(field: &str, text: &str, max: usize) -> Result<(), Error> {
    if is_label(text, max) {
        return Ok(());
    }
    Err(invalid(field, format!("{text:?} must be 1 to {max} of a-z, 0-9 and '-'")))
}

fn label(field: &str, text: &str) -> Result<(), Error> {
    if is_label(text, NODE_MAX_BYTES) && !text.starts_with('-') && !text.ends_with('-') {
        return Ok(());
    }
    Err(invalid(
        field,
        format!(
            "{text:?} must be 1 to {NODE_MAX_BYTES} of a-z, 0-9 and '-', which it neither begins nor ends with"
        ),
    ))
}

fn interface(field: &str, name: &str) -> Result<(), Error> {
    // IFNAMSIZ is 16 with the closing zero byte.
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
    if plain && (1..=15).contains(&name.len()) {
        return Ok(());
    }
    Err(invalid(field, format!("{name:?} is not an interface name (1 to 15 characters)")))
}
