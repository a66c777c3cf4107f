//! Who is refused, and why, in words that name both sides.
//!
//! A refusal is what an administrator must put right: a name given twice, a pool that overlaps, another
//! secret. Each is said once and then again every so often while it lasts; what reads them can be slow or
//! absent. Losses and attacks are only counted, by `transport`.
//!
//! Most are proven: who is accused holds the secret and runs now. Anybody can forge the others, so these have a small
//! budget of their own, and no number of them keeps a proven one from being said.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use tokio::sync::mpsc;

/// The same refusal is said again after this time.
const AGAIN: Duration = Duration::from_secs(30);
/// Proven refusals remembered, and waiting to be read.
const MAX: usize = 32;
/// The same of those that are not proven.
const UNPROVEN_MAX: usize = 4;

/// Somebody is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another process has this node's name. Proven: it holds the secret and runs now.
    #[error(
        "node name {node} is used twice: by this manager at {here} (boot {boot}) and by another at {there} (boot \
         {other_boot}); give one of them another name"
    )]
    SameName {
        /// The name.
        node: String,
        /// This manager's address.
        here: SocketAddr,
        /// Its boot.
        boot: u64,
        /// The other's address.
        there: SocketAddr,
        /// Its boot.
        other_boot: u64,
    },
    /// A peer's name is spoken from another address than the configured one. Proven.
    #[error(
        "node {node} speaks from {there}, but is configured here at {configured}: either the address is wrong, or two \
         nodes have that name"
    )]
    Address {
        /// The peer's name.
        node: String,
        /// Its address, by this node's configuration.
        configured: SocketAddr,
        /// Where it was heard from.
        there: SocketAddr,
    },
    /// A member that is not among the configured peers. Proven.
    #[error("node {node} at {there} takes part in the cluster, but is not among the peers of {here}")]
    Unknown {
        /// Its name.
        node: String,
        /// Its address.
        there: SocketAddr,
        /// This node's name.
        here: String,
    },
    /// Datagrams of another cluster arrive. Whether they are what they say cannot be known.
    #[error(
        "{there} says that it is node {node} of cluster {theirs}; this node, {here}, is of cluster {ours}"
    )]
    Cluster {
        /// The name it gives.
        node: String,
        /// Where it was heard from.
        there: SocketAddr,
        /// The cluster it names.
        theirs: String,
        /// This node's name.
        here: String,
        /// This node's cluster.
        ours: String,
    },
    /// What comes from a peer's address in its name does not open. Anybody can send such a thing.
    #[error(
        "what comes from {there} as node {node} does not open with the secret of {here}: the two may have different \
         secrets, or somebody else sends in that name"
    )]
    Secret {
        /// The peer's name.
        node: String,
        /// Its address.
        there: SocketAddr,
        /// This node's name.
        here: String,
    },
    /// Two nodes claim addresses of each other.
    #[error("pool {pool} of node {node} overlaps pool {other_pool} of node {other}; its table is not used")]
    Pool {
        /// The node that is refused.
        node: String,
        /// Its pool, by its own account.
        pool: Ipv4Net,
        /// Whose pool it overlaps.
        other: String,
        /// That pool.
        other_pool: Ipv4Net,
    },
    /// A peer has another pool than it is configured with here.
    #[error(
        "node {node} has pool {pool}, but is configured with {configured} on {here}; its table is not used"
    )]
    PoolDiffers {
        /// The peer's name.
        node: String,
        /// Its pool, by its own account.
        pool: Ipv4Net,
        /// Its pool, by this node's configuration.
        configured: Ipv4Net,
        /// This node's name.
        here: String,
    },
    /// A peer's table cannot be understood.
    #[error("the table of node {node} cannot be understood: {reason}; the one before stays")]
    Table {
        /// The peer's name.
        node: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A peer started anew with a lower boot than before: its clock or its disk went back.
    #[error("node {node} started with boot {boot}, after boot {before}: its disk or its clock has gone back")]
    BootWentBack {
        /// The peer's name.
        node: String,
        /// Its boot now.
        boot: u64,
        /// Its boot before.
        before: u64,
    },
}

impl Refusal {
    /// Whether who is accused has proved that it holds the secret and runs now.
    pub const fn is_proven(&self) -> bool {
        match self {
            Self::Cluster { .. } | Self::Secret { .. } => false,
            Self::SameName { .. }
            | Self::Address { .. }
            | Self::Unknown { .. }
            | Self::Pool { .. }
            | Self::PoolDiffers { .. }
            | Self::Table { .. }
            | Self::BootWentBack { .. } => true,
        }
    }

    /// A word for the kind of it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::SameName { .. } => "same_name",
            Self::Address { .. } => "address",
            Self::Unknown { .. } => "unknown",
            Self::Cluster { .. } => "cluster",
            Self::Secret { .. } => "secret",
            Self::Pool { .. } => "pool",
            Self::PoolDiffers { .. } => "pool_differs",
            Self::Table { .. } => "table",
            Self::BootWentBack { .. } => "boot_went_back",
        }
    }
}

/// Decides what is said again; pure.
#[derive(Debug, Default)]
struct Said(Vec<(Instant, Refusal)>);

impl Said {
    /// Whether `refusal` is to be said now.
    fn is_due(&mut self, now: Instant, refusal: &Refusal) -> bool {
        self.0.retain(|(at, _)| now.saturating_duration_since(*at) < AGAIN);
        let proven = refusal.is_proven();
        let alike = self.0.iter().filter(|(_, said)| said.is_proven() == proven).count();
        // A flood of different ones says no more than the first of them.
        if alike >= if proven { MAX } else { UNPROVEN_MAX } || self.0.iter().any(|(_, said)| said == refusal)
        {
            return false;
        }
        self.0.push((now, refusal.clone()));
        true
    }
}

/// Where refusals are reported; never waits.
#[derive(Debug)]
pub(super) struct Reporter {
    said: std::sync::Mutex<Said>,
    queue: mpsc::Sender<Refusal>,
}

impl Reporter {
    /// A reporter, and where its refusals come out.
    pub(super) fn new() -> (Self, mpsc::Receiver<Refusal>) {
        let (queue, refusals) = mpsc::channel(MAX + UNPROVEN_MAX);
        (Self { said: std::sync::Mutex::default(), queue }, refusals)
    }

    /// Says `refusal`, unless it was said lately.
    pub(super) fn report(&self, now: Instant, refusal: Refusal) {
        let mut said = self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // What waits unread must not be all noise either.
        let room = refusal.is_proven() || self.queue.capacity() > MAX;
        if said.is_due(now, &refusal) && room {
            // Nobody reads, or too slowly: it comes again while it lasts.
            let _ = self.queue.try_send(refusal);
        }
    }
}

#[cfg(test)]
mod tests;
