//! What the gossip knows of the peers, made of what it holds: one life per configured peer, its table, and
//! whether it is alive. Pure; says who is refused besides.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::super::PeerAddr;
use super::super::refusal::Refusal;
use super::super::table::{self, Table};
use super::Marks;

/// What the gossip thinks of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Liveness {
    /// Never heard of.
    Unheard,
    /// Its heartbeats arrive, whether directly or through others.
    Live,
    /// It is silent for two to three seconds. That says nothing about its host or its VMs.
    Dead,
    /// It is dead, and an administrator of some node has said that it does not come back.
    Forgotten,
}

impl Liveness {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unheard, Self::Live, Self::Dead, Self::Forgotten];

    /// The word used in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unheard => "unheard",
            Self::Live => "live",
            Self::Dead => "dead",
            Self::Forgotten => "forgotten",
        }
    }
}

/// A peer, by the gossip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Whether it is alive.
    pub liveness: Liveness,
    /// Its boot; 0 if it was never heard of.
    pub boot: u64,
    /// Its table: the last one that was whole. None before the first, and if the node is refused or forgotten.
    pub table: Option<Arc<Table>>,
    pub(super) generation: u64,
}

impl NodeView {
    const UNHEARD: Self = Self { liveness: Liveness::Unheard, boot: 0, table: None, generation: 0 };
}

/// All configured peers, by the gossip.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// By name.
    pub nodes: BTreeMap<String, NodeView>,
}

/// One life of a node, as the gossip holds it.
#[derive(Debug, Clone)]
pub(super) struct Life {
    pub(super) node: String,
    pub(super) generation: u64,
    pub(super) addr: SocketAddr,
    pub(super) live: bool,
    pub(super) values: Vec<(String, String)>,
}

impl Life {
    fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// What does not change from one look to the next.
#[derive(Debug, Clone)]
pub(super) struct Here {
    pub(super) node: String,
    pub(super) boot: u64,
    pub(super) addr: SocketAddr,
    pub(super) pool: Ipv4Net,
    pub(super) peers: Vec<PeerAddr>,
}

/// The boot that is part of a generation.
pub(super) const fn boot_of(generation: u64) -> u64 {
    generation >> super::RESTART_BITS
}

/// The view, given the one before, the marks from now on, and who is refused. With `hold`, nobody dies and nobody who was
/// never heard is forgotten: this process was asleep itself, or has just started.
pub(super) fn build(
    here: &Here,
    lives: &[Life],
    forgotten: &Marks,
    before: &View,
    hold: bool,
) -> (View, Marks, Vec<Refusal>) {
    let mut refusals = Vec::new();
    let mut said = Marks::new();
    for (node, generation) in
        lives.iter().filter(|life| life.live).flat_map(|life| table::decode_forgotten(life.values()))
    {
        let mark = said.entry(node.to_owned()).or_default();
        *mark = generation.max(*mark);
    }
    let mut marks = Marks::new();
    let mut nodes = BTreeMap::new();
    for peer in &here.peers {
        let was = before.nodes.get(&peer.node).unwrap_or(&NodeView::UNHEARD);
        let own =
            lives.iter().filter(|life| life.node == peer.node && life.addr == SocketAddr::V4(peer.addr));
        let life = own.max_by_key(|life| (life.live, life.generation));
        let mut view = match life {
            Some(life) => see(here, peer, life, was, &mut refusals),
            None if was.liveness == Liveness::Live => NodeView { liveness: Liveness::Dead, ..was.clone() },
            None => was.clone(),
        };
        if hold && was.liveness == Liveness::Live && view.liveness == Liveness::Dead {
            view.liveness = Liveness::Live;
        }
        // Those of an earlier life count no more, whoever says them.
        let valid = |marks: &Marks| marks.get(&peer.node).copied().filter(|mark| view.generation <= *mark);
        let (own, said) = (valid(forgotten), valid(&said));
        if let Some(mark) = own.max(said).filter(|_| view.liveness != Liveness::Live) {
            marks.insert(peer.node.clone(), mark);
            if said.is_some() || !(hold && view.liveness == Liveness::Unheard) {
                view = NodeView { liveness: Liveness::Forgotten, table: None, ..view };
            }
        }
        nodes.insert(peer.node.clone(), view);
    }
    refusals.extend(lives.iter().filter(|life| life.live).filter_map(|life| misfit(here, life)));
    (View { nodes }, marks, refusals)
}

fn see(here: &Here, peer: &PeerAddr, life: &Life, was: &NodeView, refusals: &mut Vec<Refusal>) -> NodeView {
    let liveness = if life.live { Liveness::Live } else { Liveness::Dead };
    let mut view = NodeView {
        liveness,
        boot: boot_of(life.generation),
        table: was.table.clone(),
        generation: life.generation,
    };
    let pool = table::decode_pool(life.values()).and_then(|pool| {
        if let Some(pool) = pool.filter(|pool| *pool != peer.pool) {
            refusals.push(pool_refusal(here, peer, pool));
            view.table = None;
            return Ok(None);
        }
        table::decode(life.values())
    });
    match pool {
        // Part of a change, or no change at all: what was whole last counts.
        Ok(None) => {}
        Ok(Some(now)) => {
            if view.table.as_deref() != Some(&now) {
                view.table = Some(Arc::new(now));
            }
        }
        Err(error) => {
            refusals.push(Refusal::Table { node: peer.node.clone(), reason: error.to_string() });
        }
    }
    view
}

fn overlaps(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

fn pool_refusal(here: &Here, peer: &PeerAddr, pool: Ipv4Net) -> Refusal {
    let node = peer.node.clone();
    match overlapped(here, &peer.node, pool) {
        Some((other, other_pool)) => Refusal::Pool { node, pool, other, other_pool },
        None => Refusal::PoolDiffers { node, pool, configured: peer.pool, here: here.node.clone() },
    }
}

/// Whose pool overlaps `pool` of `node`.
fn overlapped(here: &Here, node: &str, pool: Ipv4Net) -> Option<(String, Ipv4Net)> {
    let own = (here.node.as_str(), here.pool);
    let peers = here.peers.iter().map(|peer| (peer.node.as_str(), peer.pool));
    let mut all = std::iter::once(own).chain(peers);
    all.find(|(other, theirs)| *other != node && overlaps(*theirs, pool))
        .map(|(other, pool)| (other.to_owned(), pool))
}

/// Why a life that is heard of through others does not fit this node's configuration.
fn misfit(here: &Here, life: &Life) -> Option<Refusal> {
    let node = life.node.clone();
    if life.node == here.node {
        return (life.addr != here.addr).then(|| Refusal::SameName {
            node,
            here: here.addr,
            boot: here.boot,
            there: life.addr,
            other_boot: boot_of(life.generation),
        });
    }
    if let Some(peer) = here.peers.iter().find(|peer| peer.node == life.node) {
        let configured = SocketAddr::V4(peer.addr);
        return (life.addr != configured).then_some(Refusal::Address { node, configured, there: life.addr });
    }
    let pool = table::decode_pool(life.values()).ok().flatten();
    if let Some((pool, (other, other_pool))) =
        pool.and_then(|pool| Some((pool, overlapped(here, &life.node, pool)?)))
    {
        return Some(Refusal::Pool { node, pool, other, other_pool });
    }
    Some(Refusal::Unknown { node, there: life.addr, here: here.node.clone() })
}

#[cfg(test)]
mod tests;
