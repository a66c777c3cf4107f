//! Who else there is, and who of them owns the address.
//!
//! Nodes join and leave while the others run. Nothing follows from that alone: a node that is no peer any more may
//! still answer for the address, and ARP shows it; the greatest epoch it used stays the greatest.

use super::types::Action;
use super::{Phase, Vip};
use crate::time::Time;
use wire::{Ballot, VipState};

impl Vip {
    /// Takes `peers` for the other nodes. One that is new was never heard; of one that stays everything is kept.
    pub(super) fn set_peers(&mut self, mut peers: Vec<String>) {
        peers.retain(|node| *node != self.config.node);
        let mut before = std::mem::take(&mut self.peers);
        let kept = |node: &String| (node.clone(), before.remove(node).unwrap_or_default());
        self.peers = peers.iter().map(kept).collect();
        self.config.peers = peers;
        // There is no way to it any more, so nothing can be sent there.
        self.second_chance.take_if(|(node, _)| !self.peers.contains_key(node));
    }

    /// Says it once when another node is heard as the owner. Of itself this node has said more than that.
    pub(super) fn name_owner(&mut self, now: Time, out: &mut Vec<Action>) {
        let owner = match &self.phase {
            Phase::Active(tenure) => {
                self.named.clone_from(&tenure.ballot);
                return;
            }
            Phase::Idle(_) | Phase::Claiming(_) | Phase::Releasing(_) => self.heard_owner(now),
        };
        if let Some(owner) = owner.filter(|owner| self.named.as_ref() != Some(owner)) {
            out.push(Action::Note(format!("{} owns the address (epoch {})", owner.node, owner.epoch)));
            self.named = Some(owner);
        }
    }

    /// The owner with the greatest ballot that is heard, by its own word or, if it is not heard itself, by a third's.
    fn heard_owner(&self, now: Time) -> Option<Ballot> {
        self.live(now)
            .filter_map(|(node, report)| {
                let ballot = report.ballot.as_ref()?;
                let own = ballot.node == node && report.state == VipState::Active;
                let other = ballot.node != node && ballot.node != self.config.node && report.hears_owner;
                let vouched = other && self.live_report(now, &ballot.node).is_none();
                (own || vouched).then(|| ballot.clone())
            })
            .max()
    }

    /// Whether `node` is a peer, so that there is a way to it.
    pub(super) fn is_peer(&self, node: &str) -> bool {
        self.peers.contains_key(node)
    }
}
