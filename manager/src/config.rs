//! The manager's configuration: one TOML file, checked as a whole before anything is done.
//!
//! Unknown keys are refused and every error names its field. What a VM's program is configured with beyond
//! the manager's own needs (`[lb.config]`, `[service.config]`) is passed on unread: those programs check it.

mod check;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv4Net;
use manager_core::heartbeat;
use manager_core::peers::PeerConfig;
use manager_core::pool::Pool;
use manager_core::vip::Timing;
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
    /// How long it may answer none of them, 20 to 10000.
    #[serde(default = "default_check_timeout")]
    pub check_timeout_ms: u64,
    /// Checks that must be open for so long, or fail in a row, before it counts as broken, 1 to 20. A refused connection
    /// counts for all of them.
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

    /// How long the machine waits for what.
    pub fn timing(&self) -> Timing {
        let ms = Duration::from_millis;
        Timing {
            silence: ms(self.silence_ms),
            hold_down: ms(self.hold_down_ms),
            release: ms(self.release_ms),
            ..Timing::default()
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

    /// What the machine of this public address needs.
    pub fn vip_core(&self, vip: &Vip) -> manager_core::vip::Config {
        let peers = self.peers.iter().map(|peer| peer.node.clone()).collect();
        manager_core::vip::Config { node: self.node.clone(), peers, addr: vip.addr, timing: vip.timing() }
    }
}

fn invalid(field: impl Into<String>, message: impl Into<String>) -> Error {
    Error::Invalid { field: field.into(), message: message.into() }
}

#[cfg(test)]
pub(crate) mod tests;
