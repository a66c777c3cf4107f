//! Least connections: the member with the least requests in flight by weight; among equals, weighted round
//! robin (nginx's `least_conn`).
//!
//! A tournament tree keeps the members in play, so a choice or a change costs one way up the tree. It is behind
//! a lock that is held only for that way, and never while a member is offered.
//!
//! Turns among equals are start-time fair queueing (Goyal 1996): each choice costs a member the time 1/weight,
//! the one with the least time used is next, and nobody saves up time while others are chosen for their load.
//!
//! The tree's loads are hints, for changes may cross or get lost between two sets. So the winner's load is
//! looked at before it is offered, and another member's at each choice: an idle member that is believed busy
//! would otherwise stay so, as nothing changes about it.
//!
//! A member that nobody can use is idle, and so would be offered first, in vain, for ever. After a few refusals
//! in a row it comes after all others, until it is its turn to be looked at.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Member;

/// The time that a choice costs a member of weight 1.
const CHOICE: u64 = 1 << 24;

/// So many refusals in a row put a member behind all others.
const REFUSALS: u8 = 8;

/// No member has this place.
const NOBODY: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct LeastConn {
    /// Indices, by place.
    members: Box<[u16]>,
    addrs: Box<[SocketAddr]>,
    /// Places, by index.
    places: Box<[u32]>,
    tree: Mutex<Tree>,
}

impl LeastConn {
    pub(super) fn new(members: &[Member], previous: Option<&Self>) -> Self {
        let mut places = Vec::new();
        for (place, member) in (0u32..).zip(members) {
            let index = usize::from(member.index);
            if places.len() <= index {
                places.resize(index + 1, NOBODY);
            }
            places[index] = place;
        }
        let before = previous.map(Self::history).unwrap_or_default();
        let now = before.now;
        let newcomer = Player { in_flight: 0, weight: 1, time: now, refusals: 0 };
        let players = members.iter().map(|member| Player {
            in_flight: member.in_flight,
            weight: member.weight.max(1),
            ..before
                .of
                .get(&member.addr)
                .map_or(newcomer, |&before| Player { refusals: before.refusals.min(REFUSALS - 1), ..before })
        });
        Self {
            members: members.iter().map(|member| member.index).collect(),
            addrs: members.iter().map(|member| member.addr).collect(),
            places: places.into(),
            tree: Mutex::new(Tree::new(players.collect(), now)),
        }
    }

    fn history(&self) -> History {
        let tree = self.lock();
        let of = self.addrs.iter().copied().zip(tree.players.iter().copied());
        History { of: of.collect(), now: tree.now }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn changed(&self, index: u16, in_flight: u32) {
        if let Some(&place) = self.places.get(usize::from(index))
            && place != NOBODY
        {
            self.lock().set_load(place, in_flight);
        }
    }

    pub(super) fn pick(
        &self,
        turn: usize,
        in_flight: impl Fn(u16) -> u32,
        mut accept: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        let load_of = |place: u32| in_flight(self.members[place as usize]);
        let mut take = |place: u32| {
            let member = self.members[place as usize];
            if accept(member) {
                self.lock().chosen(place, load_of(place));
                Some(member)
            } else {
                self.lock().refused(place);
                None
            }
        };
        let another = u32::try_from(turn.checked_rem(self.members.len())?).ok()?;
        let first = self.lock().best(another, load_of);
        if let Some(member) = take(first) {
            return Some(member);
        }
        let mut rest = Rest::default();
        rest.open(&self.lock(), ROOT, first);
        loop {
            let next = rest.next(&self.lock())?;
            if let Some(member) = take(next) {
                return Some(member);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the next set goes on from: the members, and the time of the last choice.
#[derive(Debug, Default)]
struct History {
    of: HashMap<SocketAddr, Player>,
    now: u64,
}

/// What is compared about a member.
#[derive(Debug, Clone, Copy)]
struct Player {
    in_flight: u32,
    weight: u32,
    time: u64,
    /// In a row.
    refusals: u8,
}

/// The root, as the children of node `n` are `2n` and `2n + 1`.
const ROOT: usize = 1;

/// Winners of all pairings; the leaves are the members' places.
#[derive(Debug)]
struct Tree {
    players: Box<[Player]>,
    winners: Box<[u32]>,
    /// The time used by the one chosen last, when it was chosen.
    now: u64,
}

impl Tree {
    fn new(players: Box<[Player]>, now: u64) -> Self {
        let leaves = players.len().next_power_of_two();
        let mut winners = vec![NOBODY; 2 * leaves];
        for (place, leaf) in (0u32..).zip(&mut winners[leaves..leaves + players.len()]) {
            *leaf = place;
        }
        let mut tree = Self { players, winners: winners.into(), now };
        for node in (ROOT..leaves).rev() {
            tree.play(node);
        }
        tree
    }

    fn leaf(&self, place: u32) -> usize {
        self.winners.len() / 2 + place as usize
    }

    fn play(&mut self, node: usize) {
        let (left, right) = (self.winners[2 * node], self.winners[2 * node + 1]);
        let right_wins = right != NOBODY && (left == NOBODY || self.rank(right) < self.rank(left));
        self.winners[node] = if right_wins { right } else { left };
    }

    fn rank(&self, place: u32) -> Rank {
        Rank { player: self.players[place as usize], place }
    }

    fn replay(&mut self, place: u32) {
        let mut node = self.leaf(place) / 2;
        while node >= ROOT {
            self.play(node);
            node /= 2;
        }
    }

    fn set_load(&mut self, place: u32, in_flight: u32) {
        let player = &mut self.players[place as usize];
        if player.in_flight != in_flight {
            player.in_flight = in_flight;
            self.replay(place);
        }
    }

    /// The winner by its true load, after a look at `another` member's. There is at least one member.
    fn best(&mut self, another: u32, load_of: impl Fn(u32) -> u32) -> u32 {
        let player = &mut self.players[another as usize];
        if player.refusals >= REFUSALS {
            player.refusals = REFUSALS - 1;
            self.replay(another);
        }
        self.set_load(another, load_of(another));
        let mut winner = self.winners[ROOT];
        // Loads go on changing meanwhile, so this is bounded; the last winner is good enough then.
        for _ in 0..8 {
            self.set_load(winner, load_of(winner));
            let checked = std::mem::replace(&mut winner, self.winners[ROOT]);
            if checked == winner {
                break;
            }
        }
        winner
    }

    fn chosen(&mut self, place: u32, in_flight: u32) {
        let player = &mut self.players[place as usize];
        self.now = player.time.max(self.now);
        player.time = self.now.saturating_add((CHOICE / u64::from(player.weight)).max(1));
        player.in_flight = in_flight;
        player.refusals = 0;
        self.replay(place);
    }

    fn refused(&mut self, place: u32) {
        let player = &mut self.players[place as usize];
        player.refusals = player.refusals.saturating_add(1);
        if player.refusals == REFUSALS {
            self.replay(place);
        }
    }
}

/// Who wins: the lower rank.
#[derive(Debug, Clone, Copy)]
struct Rank {
    player: Player,
    place: u32,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let load = |one: &Self, by: &Self| u64::from(one.player.in_flight) * u64::from(by.player.weight);
        let is_last = |one: &Self| one.player.refusals >= REFUSALS;
        (is_last(self).cmp(&is_last(other)))
            .then(load(self, other).cmp(&load(other, self)))
            .then(self.player.time.cmp(&other.player.time))
            .then(self.place.cmp(&other.place))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

/// Subtrees that hold the members not offered yet, each member in one of them; the best winner first.
///
/// The tree may change while the lock is free. Then the order is no longer exact, but nobody is left out, for
/// members do not move within the tree.
#[derive(Debug, Default)]
struct Rest {
    subtrees: BinaryHeap<Reverse<(Rank, usize)>>,
}

impl Rest {
    /// Takes one member out of a subtree: what is left of it are the subtrees beside the way to that member.
    fn open(&mut self, tree: &Tree, node: usize, place: u32) {
        let mut below = tree.leaf(place);
        while below > node {
            let beside = below ^ 1;
            let winner = tree.winners[beside];
            if winner != NOBODY {
                self.subtrees.push(Reverse((tree.rank(winner), beside)));
            }
            below /= 2;
        }
    }

    fn next(&mut self, tree: &Tree) -> Option<u32> {
        let Reverse((_, node)) = self.subtrees.pop()?;
        let winner = tree.winners[node];
        self.open(tree, node, winner);
        Some(winner)
    }
}

#[cfg(test)]
#[path = "least_conn_tests.rs"]
mod tests;
