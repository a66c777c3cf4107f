//! Weighted round robin over a fixed set of members.
//!
//! A [`Schedule`] is computed once per upstream set: a list of slots in which each member appears as often as
//! its weight says, spread as evenly as can be. Picking is then one step along the list, from a cursor that
//! the caller advances, so it takes no lock. It refuses to know why a member cannot take a request: the caller
//! says so for each one it is offered.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// The longest list of slots. Weights that add up to more are scaled down, to at least one slot each.
pub const MAX_SLOTS: u64 = 65_536;

/// Slots of members, by their index in the upstream set.
#[derive(Debug, Default)]
pub struct Schedule {
    slots: Box<[u16]>,
    members: Box<[u16]>,
}

impl Schedule {
    /// The schedule for these members: (index, weight from 1). Indices are distinct.
    pub fn new(members: &[(u16, u32)]) -> Self {
        let counts = slot_counts(members);
        let total: u64 = counts.iter().sum();
        let mut due: BinaryHeap<Reverse<Due>> = counts
            .iter()
            .zip(members)
            .map(|(&count, &(member, _))| Reverse(Due { round: 0, count, member }))
            .collect();
        let mut slots = Vec::new();
        for _ in 0..total {
            let Some(Reverse(next)) = due.pop() else { break };
            slots.push(next.member);
            due.push(Reverse(Due { round: next.round + 1, ..next }));
        }
        Self { slots: slots.into(), members: members.iter().map(|&(member, _)| member).collect() }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The first member from `cursor` on that `accept` takes. Each member is offered at least once, and at
    /// most twice.
    pub fn pick(&self, cursor: usize, mut accept: impl FnMut(u16) -> bool) -> Option<u16> {
        if self.slots.is_empty() {
            return None;
        }
        // Following the slots keeps the shares while a few members are out. It may meet heavy members over
        // and over, so it is bounded, and the plain list of members decides in the end.
        let start = cursor % self.slots.len();
        let followed = self.slots.iter().cycle().skip(start).take(self.members.len());
        let rest = self.members.iter().cycle().skip(cursor % self.members.len()).take(self.members.len());
        followed.chain(rest).copied().find(|&member| accept(member))
    }
}

/// How many slots each member gets: its weight by the greatest common divisor, or a scaled-down share.
fn slot_counts(members: &[(u16, u32)]) -> Vec<u64> {
    let divisor = members.iter().fold(0, |acc, &(_, weight)| gcd(acc, u64::from(weight))).max(1);
    let total: u64 = members.iter().map(|&(_, weight)| u64::from(weight) / divisor).sum();
    let scale = |weight: u32| {
        let count = u64::from(weight) / divisor;
        if total > MAX_SLOTS { (count * MAX_SLOTS / total).max(1) } else { count }
    };
    members.iter().map(|&(_, weight)| scale(weight)).collect()
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// A member's next turn: the `round`-th of `count` turns is due in the middle of its part of the cycle.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    round: u64,
    count: u64,
    member: u16,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        // (2 round + 1) / (2 count), compared without division. Both factors stay below 2^21.
        let this = (2 * self.round + 1) * other.count;
        let that = (2 * other.round + 1) * self.count;
        this.cmp(&that).then(other.count.cmp(&self.count)).then(self.member.cmp(&other.member))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
