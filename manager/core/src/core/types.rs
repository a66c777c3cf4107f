//! What the core is told, and what it asks for.

use std::net::Ipv4Addr;
use std::time::Duration;

use wire::{PeerService, Role, Status, VmState};

use crate::desired::Desired;
use crate::heartbeat;
use crate::peers::PeerConfig;
use crate::pool::Pool;
use crate::slot::DomainRef;

/// What the core needs to know once.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node's name.
    pub node: String,
    /// This node's addresses.
    pub pool: Pool,
    /// The other nodes.
    pub peers: Vec<PeerConfig>,
    /// When a VM counts as dead.
    pub heartbeat: heartbeat::Config,
    /// Where services listen.
    pub service_port: u16,
    /// Where the load balancer takes traffic.
    pub lb_port: u16,
    /// Between a removal's acceptance and the order to the VM to stop.
    pub drain: Duration,
    /// Between that order and the VM's destruction, if it has not stopped by itself.
    pub stop: Duration,
    /// VMs that may boot at the same time: more of them would only make each other late.
    pub max_boots: usize,
    /// Service VMs this node may have, if its pool has as many addresses; see [`Core::capacity`](super::Core::capacity).
    pub max_vms: u32,
}

impl Config {
    /// The id of the VM at `addr`.
    pub(super) fn id_of(&self, role: Role, addr: Ipv4Addr) -> String {
        let prefix = match role {
            Role::Lb => "lb",
            Role::Service => "svc",
        };
        format!("{}/{prefix}-{}", self.node, self.pool.offset(addr))
    }
}

/// A domain of ours that libvirt knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The domain.
    pub domain: DomainRef,
    /// From its metadata: whose life it is.
    pub id: String,
    /// From its metadata.
    pub role: Role,
    /// From its metadata.
    pub addr: Ipv4Addr,
    /// From its metadata: which life.
    pub incarnation: u64,
    /// How long its QEMU has been running.
    pub age: Duration,
}

/// A VM that was not made by this node as it is configured now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "VM {id} at {addr} does not fit this node's name or its pool {pool}: was `node` or `network.pool` changed? \
     Restore them, or remove the VM and state_dir first"
)]
pub struct ForeignVm {
    /// Its id.
    pub id: String,
    /// Its address.
    pub addr: Ipv4Addr,
    /// The pool as it is configured now.
    pub pool: ipnet::Ipv4Net,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The first look at libvirt and the disk after the start. Nothing is decided before it.
    Inventory {
        /// What runs.
        running: Vec<Observed>,
        /// What should.
        desired: Desired,
    },
    /// A later look at libvirt, for domains that nobody knows of any more.
    Seen(Vec<Observed>),
    /// [`Action::Create`] succeeded.
    Created {
        /// Of which slot.
        id: String,
        /// Which life.
        incarnation: u64,
        /// As what.
        domain: DomainRef,
    },
    /// [`Action::Create`] failed. If it left something behind all the same, [`Event::Seen`] will show it.
    CreateFailed {
        /// Of which slot.
        id: String,
        /// Which life.
        incarnation: u64,
        /// Why.
        error: String,
    },
    /// QEMU's process has ended.
    Exited {
        /// Which domain.
        domain: String,
    },
    /// [`Action::Destroy`] is done.
    Destroyed {
        /// Which domain.
        domain: String,
    },
    /// [`Action::Destroy`] failed; it will be asked for again.
    DestroyFailed {
        /// Which domain.
        domain: String,
    },
    /// The VM says that its program has been started.
    GuestStarted {
        /// Of which slot.
        id: String,
        /// Which life.
        incarnation: u64,
    },
    /// The VM refused its identity: it will never be of use.
    GuestRefused {
        /// Of which slot.
        id: String,
        /// Which life.
        incarnation: u64,
        /// Why.
        error: String,
    },
    /// An event of the heartbeat stream.
    Beat {
        /// Of which slot.
        id: String,
        /// Which life.
        incarnation: u64,
        /// What the VM says of itself.
        status: Status,
    },
    /// The heartbeat connection could not be opened, or broke.
    StreamLost {
        /// Of which slot.
        id: String,
        /// Which life.
        incarnation: u64,
    },
    /// A load balancer serves nobody although its heartbeat goes on: its checks say so.
    LbMute {
        /// Of which slot.
        id: String,
        /// Which life.
        incarnation: u64,
        /// What the checks found.
        reason: String,
    },
    /// Whether the public address leaves this node when its load balancer dies. Then there is time to build the next one
    /// at another address; otherwise it takes the dead one's place.
    LbMoves(bool),
    /// A peer was given up: an administrator said so.
    Forgotten {
        /// Its name.
        node: String,
    },
    /// The other nodes are these from now on: the configuration was read again. Services of one that is no more leave the
    /// upstream set.
    Peers(Vec<PeerConfig>),
    /// What the own load balancer routed to before this manager started.
    LbRoutes(Vec<PeerService>),
    /// The desired state is on disk, up to and including this revision.
    Persisted {
        /// Of [`Core::desired`](super::Core::desired).
        revision: u64,
    },
    /// The desired state of this revision could not be written.
    PersistFailed {
        /// Of [`Core::desired`](super::Core::desired).
        revision: u64,
    },
    /// Time has passed.
    Tick,
}

/// What shall be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a VM. Answered by [`Event::Created`] or [`Event::CreateFailed`].
    Create {
        /// `<node>/<name>`.
        id: String,
        /// What it is for.
        role: Role,
        /// Its address.
        addr: Ipv4Addr,
        /// Which life.
        incarnation: u64,
    },
    /// Make sure a domain is gone. Answered by [`Event::Destroyed`] or [`Event::DestroyFailed`].
    Destroy {
        /// Which one.
        domain: DomainRef,
        /// Why.
        reason: &'static str,
    },
    /// Tell a VM to end its program and to power off.
    Stop {
        /// Which domain.
        domain: DomainRef,
        /// How long its program may take.
        timeout: Duration,
    },
    /// Watch a running domain: its process, and its talk on the virtio-serial port.
    Watch {
        /// Which domain.
        domain: DomainRef,
        /// Of which slot.
        id: String,
        /// Which life.
        incarnation: u64,
        /// It was created just now and needs its identity; otherwise it has one.
        fresh: bool,
    },
    /// Open a heartbeat connection, in place of any there is for this id.
    Connect {
        /// To which slot's VM.
        id: String,
        /// Which life.
        incarnation: u64,
        /// What it is.
        role: Role,
        /// Its address.
        addr: Ipv4Addr,
    },
    /// Close the heartbeat connection to a VM that is no more.
    Disconnect {
        /// Of which slot.
        id: String,
    },
    /// Write a line: a slot has changed its state.
    Log(Transition),
}

/// A change of a VM's state, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Of which slot.
    pub id: String,
    /// Which life.
    pub incarnation: u64,
    /// The state before; none for a new slot.
    pub from: Option<VmState>,
    /// The state now; none for a slot that is gone.
    pub to: Option<VmState>,
    /// Why.
    pub reason: String,
}
