//! The manager's API: VMs and the cluster.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::upstream::UpstreamState;

/// What a VM is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It runs the load balancer.
    Lb,
    /// It runs the service.
    Service,
}

impl Role {
    /// The word used in JSON, file names and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lb => "lb",
            Self::Service => "service",
        }
    }
}

/// Body of `POST /v1/vms`. Only service VMs are made on request; the manager sees to its LB by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateVm {
    /// An address of the node's pool; without one the lowest free address is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addr: Option<Ipv4Addr>,
}

/// Where a VM is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// QEMU is being started, or the VM boots; no heartbeat yet.
    Starting,
    /// Its heartbeat arrives in time.
    Up,
    /// Its heartbeat is late; reconnecting.
    Suspect,
    /// It says so itself, or it is being removed.
    Draining,
    /// It is dead; its successor waits for its turn or for a resource.
    Down,
}

impl VmState {
    /// The word used in JSON, listings and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }
}

/// One VM, as the manager of its host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// `<node>/<name>`.
    pub id: String,
    /// What it is for.
    pub role: Role,
    /// Its address, the same over all incarnations.
    pub addr: Ipv4Addr,
    /// Where it is in its life.
    pub state: VmState,
    /// Which life this is, from 1.
    pub incarnation: u64,
    /// The libvirt domain, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// QEMU's process id on the host, once it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu_pid: Option<u32>,
    /// Why the last life ended or the next cannot begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Answer of `GET /v1/vms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmList {
    /// Ordered by address.
    pub vms: Vec<Vm>,
}

/// Answer of `GET /v1/cluster`: the cluster as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterView {
    /// The answering node.
    pub node: String,
    /// Its boot counter.
    pub boot: u64,
    /// How VMs run here: `kvm` or `tcg`.
    pub accel: String,
    /// Where this node's load balancer takes traffic, while it is healthy.
    pub lb: Option<SocketAddr>,
    /// The generation of the upstream set last accepted by this node's load balancer.
    pub lb_generation: u64,
    /// The VMs of this node.
    pub vms: Vec<Vm>,
    /// What each peer last said.
    pub peers: Vec<PeerView>,
    /// The public address, as this node sees it; none if the cluster has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<crate::VipStatus>,
}

/// A peer, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its name.
    pub node: String,
    /// Where its API is.
    pub api: SocketAddr,
    /// Milliseconds since its last account arrived; none if it never did.
    pub heard_ms_ago: Option<u64>,
    /// The boot of that account.
    pub boot: u64,
    /// The revision of that account.
    pub revision: u64,
    /// Where its load balancer takes traffic, by its account.
    pub lb: Option<SocketAddr>,
    /// Its services, by its account.
    pub services: Vec<PeerServiceView>,
}

/// A service of a peer in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerServiceView {
    /// `<node>/<name>`.
    pub id: String,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Which life this is.
    pub incarnation: u64,
    /// Whether it gets new requests.
    pub state: UpstreamState,
}
