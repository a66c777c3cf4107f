//! The manager's configuration: one TOML file, checked as a whole before anything is done.
//!
//! Unknown keys are refused and every error names its field. What a VM's program is configured with beyond
//! the manager's own needs (`[lb.config]`, `[service.config]`) is passed on unread: those programs check it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv4Net;
use manager_core::heartbeat;
use manager_core::peers::PeerConfig;
use manager_core::pool::Pool;
use serde::{Deserialize, Serialize};

use crate::capacity;
use crate::cluster::seal::{CLUSTER_MAX_BYTES, is_label};
use crate::hypervisor::{AccelChoice, Machine};

/// With a VM's number and incarnation behind it, a node's name must still be a name for libvirt.
const NODE_MAX_BYTES: usize = 20;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not TOML of the right shape; the message names line and field.
    #[error("{path}: {message}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong and where.
        message: String,
    },
    /// A value is out of its range, or contradicts another.
    #[error("{field}: {message}")]
    Invalid {
        /// The field, as a dotted path.
        field: String,
        /// What is wrong.
        message: String,
    },
}

/// Everything in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This node's name, an RFC 1123 label, unique in the cluster.
    pub node: String,
    /// The cluster's secret: at least 32 bytes of any text, the same on all nodes.
    #[serde(default = "default_secret_file")]
    pub secret_file: PathBuf,
    /// What must survive a restart of the host.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// Sockets, console logs and the lock; emptied by a restart of the host.
    #[serde(default = "default_runtime_dir")]
    pub runtime_dir: PathBuf,
    /// The API.
    pub api: Api,
    /// The host's side of the network.
    pub network: Network,
    /// How VMs are run.
    #[serde(default)]
    pub hypervisor: Hypervisor,
    /// What VMs are booted from.
    #[serde(default)]
    pub image: Image,
    /// When a VM counts as dead.
    #[serde(default)]
    pub heartbeat: Heartbeat,
    /// The load balancer's VM.
    #[serde(default)]
    pub lb: Lb,
    /// The service VMs.
    #[serde(default)]
    pub service: Service,
    /// How managers know each other.
    #[serde(default)]
    pub cluster: Cluster,
    /// The public address; without it the cluster has none.
    #[serde(default)]
    pub vip: Option<Vip>,
    /// The other nodes.
    #[serde(default)]
    pub peers: Vec<Peer>,
}

/// `[api]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Where peers and administrators reach this manager, on the LAN.
    pub listen: SocketAddrV4,
}

/// `[network]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The LAN's interface.
    pub interface: String,
    /// The bridge the VMs are attached to; made by the manager.
    #[serde(default = "default_bridge")]
    pub bridge: String,
    /// This node's addresses: the first for the host, the rest for VMs.
    pub pool: Ipv4Net,
}

/// `[hypervisor]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hypervisor {
    /// libvirt's connection URI.
    pub uri: String,
    /// KVM or emulation.
    pub accel: AccelChoice,
    /// QEMU's machine type.
    pub machine: Machine,
    /// Memory of each VM, 96 to 65536.
    pub memory_mib: u32,
    /// Processors of each VM, 1 to 16.
    pub vcpus: u32,
    /// VMs that may boot at the same time, 1 to 64; by default as many as there are processors: more would only make
    /// each other late.
    pub max_boots: u32,
    /// The longest a call of libvirt may take, 1000 to 120000.
    pub call_timeout_ms: u64,
}

impl Default for Hypervisor {
    fn default() -> Self {
        Self {
            uri: "qemu:///system".to_owned(),
            accel: AccelChoice::default(),
            machine: Machine::default(),
            memory_mib: 192,
            vcpus: 1,
            max_boots: processors(),
            call_timeout_ms: 20_000,
        }
    }
}

/// `[image]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Image {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            kernel: PathBuf::from("/usr/lib/phalanx/image/vmlinuz"),
            initramfs: PathBuf::from("/usr/lib/phalanx/image/initramfs"),
        }
    }
}

/// `[heartbeat]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Heartbeat {
    /// An event is expected within this time; also the length of a reconnect. 200 to 60000: services send an event
    /// every 100 ms unless they are told otherwise.
    pub timeout_ms: u64,
    /// Reconnects before a VM is dead, 0 to 10.
    pub retries: u32,
    /// From creation to the first event, 1000 to 600000.
    pub boot_timeout_ms: u64,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { timeout_ms: 1_000, retries: 2, boot_timeout_ms: 30_000 }
    }
}

/// `[lb]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lb {
    /// Where the load balancer takes traffic.
    pub port: u16,
    /// Where it takes orders, from its own host only.
    pub admin_port: u16,
    /// Added to the load balancer's configuration file.
    pub config: toml::Table,
}

impl Default for Lb {
    fn default() -> Self {
        Self { port: 80, admin_port: 9000, config: toml::Table::new() }
    }
}

/// `[service]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Where services listen, for requests and for heartbeats.
    pub port: u16,
    /// Between the acceptance of a removal and the order to stop, 0 to 600000: every load balancer has heard by then.
    pub drain_ms: u64,
    /// What the service may take to finish its requests after that order, 0 to 600000.
    pub stop_ms: u64,
    /// The most service VMs of this node, 0 to 512. 0 leaves it to the host's memory: as many as fit, each of
    /// `hypervisor.memory_mib` and beside the load balancer's, into what remains when a quarter of the memory, and at
    /// least 1 GiB, is left to everything else. The pool is a limit of its own.
    pub max_vms: u32,
    /// Added to the service's configuration file.
    pub config: toml::Table,
}

impl Default for Service {
    fn default() -> Self {
        Self { port: 8080, drain_ms: 1_000, stop_ms: 10_000, max_vms: 0, config: toml::Table::new() }
    }
}

/// `[cluster]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// Its name, the same on all nodes: 1 to 32 of a-z, 0-9 and '-'. Two clusters on one LAN need two names.
    pub name: String,
    /// The UDP port of all managers, on the addresses of their APIs.
    pub gossip_port: u16,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { name: "phalanx".to_owned(), gossip_port: 7701 }
    }
}

/// `[vip]`: the public address. All times but the check's must be the same on all nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vip {
    /// The address, on the LAN, of no host and of no pool.
    pub addr: Ipv4Addr,
    /// Between two checks of the own load balancer, 20 to 10000.
    #[serde(default = "default_check_interval")]
    pub check_interval_ms: u64,
    /// How long such a check may take, 20 to 10000.
    #[serde(default = "default_check_timeout")]
    pub check_timeout_ms: u64,
    /// Checks that fail before the address is handed over, 1 to 20. A refused connection counts for all of them.
    #[serde(default = "default_check_failures")]
    pub check_failures: u32,
    /// A manager that says nothing for this long is silent, 200 to 60000. Managers speak every 100 ms.
    #[serde(default = "default_silence")]
    pub silence_ms: u64,
    /// How long a node whose load balancer failed is the last to get the address again, 0 to 60000; it doubles with each
    /// failure up to a minute.
    #[serde(default = "default_hold_down")]
    pub hold_down_ms: u64,
    /// How long connections that began elsewhere, and clients that missed a move, are served after it, 0 to 600000.
    #[serde(default = "default_release")]
    pub release_ms: u64,
}

impl Vip {
    /// How the load balancer is checked.
    pub const fn checks(&self) -> crate::vip::Checks {
        crate::vip::Checks {
            interval: Duration::from_millis(self.check_interval_ms),
            timeout: Duration::from_millis(self.check_timeout_ms),
            failures: self.check_failures,
        }
    }
}

/// `[[peers]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its name.
    pub node: String,
    /// Its API.
    pub api: SocketAddrV4,
    /// Its pool.
    pub pool: Ipv4Net,
}

const fn default_check_interval() -> u64 {
    100
}

const fn default_check_timeout() -> u64 {
    300
}

const fn default_check_failures() -> u32 {
    2
}

const fn default_silence() -> u64 {
    300
}

const fn default_hold_down() -> u64 {
    5_000
}

const fn default_release() -> u64 {
    30_000
}

fn processors() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(processors).unwrap_or(64).min(64)
}

fn default_secret_file() -> PathBuf {
    PathBuf::from("/etc/phalanx/secret")
}

fn default_state_dir() -> PathBuf {
    PathBuf::from("/var/lib/phalanx")
}

fn default_runtime_dir() -> PathBuf {
    PathBuf::from("/run/phalanx")
}

fn default_bridge() -> String {
    "phx0".to_owned()
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read, is not of the right shape, or holds an impossible value.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let config: Self = toml::from_str(&text)
            .map_err(|error| Error::Parse { path: path.to_owned(), message: error.to_string() })?;
        config.check()?;
        Ok(config)
    }

    /// This configuration with other peers.
    ///
    /// # Errors
    /// If they do not fit the rest of it.
    pub fn with_peers(&self, peers: Vec<Peer>) -> Result<Self, Error> {
        let config = Self { peers, ..self.clone() };
        config.check()?;
        Ok(config)
    }

    /// The peers, as the core knows them.
    pub fn core_peers(&self) -> Vec<PeerConfig> {
        let peer = |peer: &Peer| PeerConfig { node: peer.node.clone(), pool: peer.pool };
        self.peers.iter().map(peer).collect()
    }

    /// This node's addresses.
    ///
    /// # Errors
    /// If `network.pool` cannot be a pool.
    pub fn pool(&self) -> Result<Pool, Error> {
        Pool::new(self.network.pool).map_err(|error| invalid("network.pool", error.to_string()))
    }

    /// What the core needs.
    ///
    /// # Errors
    /// If `network.pool` cannot be a pool.
    pub fn core(&self) -> Result<manager_core::Config, Error> {
        let timeout = Duration::from_millis(self.heartbeat.timeout_ms);
        Ok(manager_core::Config {
            node: self.node.clone(),
            pool: self.pool()?,
            peers: self.core_peers(),
            heartbeat: heartbeat::Config {
                boot_timeout: Duration::from_millis(self.heartbeat.boot_timeout_ms),
                timeout,
                retries: self.heartbeat.retries,
                pause: Duration::from_millis(50).min(timeout / 2),
            },
            service_port: self.service.port,
            lb_port: self.lb.port,
            drain: Duration::from_millis(self.service.drain_ms),
            stop: Duration::from_millis(self.service.stop_ms),
            max_boots: usize::try_from(self.hypervisor.max_boots).unwrap_or(usize::MAX),
            max_vms: match self.service.max_vms {
                0 => capacity::of_this_host(self.hypervisor.memory_mib),
                most => most,
            },
        })
    }

    /// What the public address's machine needs, if there is such an address.
    pub fn vip_core(&self) -> Option<manager_core::vip::Config> {
        let vip = self.vip.as_ref()?;
        let ms = Duration::from_millis;
        let timing = manager_core::vip::Timing {
            silence: ms(vip.silence_ms),
            hold_down: ms(vip.hold_down_ms),
            release: ms(vip.release_ms),
            ..manager_core::vip::Timing::default()
        };
        let peers = self.peers.iter().map(|peer| peer.node.clone()).collect();
        Some(manager_core::vip::Config { node: self.node.clone(), peers, addr: vip.addr, timing })
    }

    fn check(&self) -> Result<(), Error> {
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

fn invalid(field: impl Into<String>, message: impl Into<String>) -> Error {
    Error::Invalid { field: field.into(), message: message.into() }
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

#[cfg(test)]
mod tests;
