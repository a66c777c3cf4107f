//! What the other managers say they serve.
//!
//! Each node is the only authority on its own services, and sends its full account with `(boot, revision)`.
//! The highest pair wins, whatever way and in whatever order accounts arrive. A silent manager is not a dead
//! host: its account stays, and the load balancers find out by themselves which of its services answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::Ipv4Net;
use wire::{PeerAck, PeerService, PeerServices};

use crate::time::Time;

/// A peer as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its name.
    pub node: String,
    /// Its pool: it may announce services there and nowhere else.
    pub pool: Ipv4Net,
}

/// Why an account was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// No such peer is configured.
    #[error("node {0} is not a configured peer")]
    UnknownNode(String),
    /// A service belongs to somebody else, or stands twice.
    #[error("{message}")]
    Service {
        /// Which one.
        index: usize,
        /// Which field of it.
        field: &'static str,
        /// What is wrong.
        message: String,
    },
}

/// What became of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// It is newer and says something else.
    Changed(PeerAck),
    /// It is what was known already, or older than that.
    Unchanged(PeerAck),
}

impl Merge {
    /// What is held now.
    pub const fn ack(self) -> PeerAck {
        match self {
            Self::Changed(ack) | Self::Unchanged(ack) => ack,
        }
    }
}

#[derive(Debug, Clone)]
struct Peer {
    pool: Ipv4Net,
    account: PeerServices,
    heard: Option<Time>,
}

/// The accounts of all peers.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    nodes: BTreeMap<String, Peer>,
}

impl Peers {
    /// Knows the peers, and nothing of what they serve.
    pub fn new(config: &[PeerConfig]) -> Self {
        let mut peers = Self::default();
        peers.configure(config);
        peers
    }

    /// Takes `config` for the peers from now on. The account of one that stays is kept, unless it is not possible with
    /// its pool as it is now: then the peer must say it again. That of one that is no more is gone.
    pub fn configure(&mut self, config: &[PeerConfig]) {
        let mut before = std::mem::take(&mut self.nodes);
        for PeerConfig { node, pool } in config {
            let kept = before.remove(node).filter(|peer| check(node, *pool, &peer.account).is_ok());
            let peer = kept.unwrap_or_else(|| Peer { pool: *pool, account: unknown(), heard: None });
            self.nodes.insert(node.clone(), Peer { pool: *pool, ..peer });
        }
    }

    /// Takes `node`'s account of itself.
    ///
    /// # Errors
    /// If `node` is unknown, or claims a service that cannot be its own. Nothing is changed then.
    pub fn merge(&mut self, now: Time, node: &str, account: PeerServices) -> Result<Merge, AccountError> {
        let peer = self.nodes.get_mut(node).ok_or_else(|| AccountError::UnknownNode(node.to_owned()))?;
        check(node, peer.pool, &account)?;
        peer.heard = Some(now);
        let newer = (account.boot, account.revision) > (peer.account.boot, peer.account.revision);
        let changed = newer && (account.services != peer.account.services || account.lb != peer.account.lb);
        if newer {
            peer.account = account;
        }
        let ack = PeerAck { boot: peer.account.boot, revision: peer.account.revision };
        Ok(if changed { Merge::Changed(ack) } else { Merge::Unchanged(ack) })
    }

    /// Takes what the own load balancer still routes to for what a peer serves, until that peer speaks. So a
    /// manager that restarts does not take its peers' services out of its load balancer for a moment.
    pub fn seed(&mut self, services: &[PeerService]) {
        for (node, peer) in &mut self.nodes {
            if peer.heard.is_some() || peer.account.boot != 0 {
                continue;
            }
            let own: Vec<_> = services.iter().filter(|service| owner(&service.id) == node).cloned().collect();
            let account = PeerServices { boot: 0, revision: 0, lb: None, services: own };
            if check(node, peer.pool, &account).is_ok() {
                peer.account = account;
            }
        }
    }

    /// `node` does not come back for now: nothing is known of it any more. What it says next is news, whatever its number.
    pub fn forget(&mut self, node: &str) {
        if let Some(peer) = self.nodes.get_mut(node) {
            peer.account = unknown();
            peer.heard = None;
        }
    }

    /// All services of all peers, ordered by node.
    pub fn services(&self) -> impl Iterator<Item = &PeerService> {
        self.nodes.values().flat_map(|peer| &peer.account.services)
    }

    /// Each peer's account and how long ago it was heard.
    pub fn accounts(&self, now: Time) -> impl Iterator<Item = (&str, &PeerServices, Option<Duration>)> {
        self.nodes
            .iter()
            .map(move |(node, peer)| (node.as_str(), &peer.account, peer.heard.map(|heard| now.since(heard))))
    }
}

/// The account of a peer that has not spoken.
const fn unknown() -> PeerServices {
    PeerServices { boot: 0, revision: 0, lb: None, services: Vec::new() }
}

/// The node part of `<node>/<name>`.
fn owner(id: &str) -> &str {
    id.split_once('/').map_or("", |(node, _)| node)
}

fn check(node: &str, pool: Ipv4Net, account: &PeerServices) -> Result<(), AccountError> {
    let (mut ids, mut addrs) = (BTreeSet::new(), BTreeSet::new());
    for (index, service) in account.services.iter().enumerate() {
        let error = |field, message| Err(AccountError::Service { index, field, message });
        if owner(&service.id) != node {
            return error("id", format!("service {} does not belong to node {node}", service.id));
        }
        let inside = matches!(service.addr.ip(), std::net::IpAddr::V4(ip) if pool.contains(&ip));
        if !inside || service.addr.port() == 0 {
            return error("addr", format!("{} is not an address of {node}'s pool {pool}", service.addr));
        }
        if service.incarnation == 0 {
            return error("incarnation", "incarnations count from 1".to_owned());
        }
        if !ids.insert(&service.id) || !addrs.insert(service.addr) {
            return error("id", format!("service {} or its address stands twice", service.id));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
