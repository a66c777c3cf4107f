//! Weighted round robin: a list of slots in which each member appears as often as its weight says, spread as
//! evenly as can be.
//!
//! Picking is one step along the list, from a cursor that the caller advances, so it takes no lock. A slot
//! whose member refuses goes to another slot, each time to another one, so that the members that are left
//! share the load of one that is out by weight, where a step to the next slot would give it all to one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Member, below_len, mix};

/// The longest list of slots. Weights that add up to more are scaled down, to at least one slot each.
pub(super) const MAX_SLOTS: u64 = 1 << 16;

/// Enough for the count of one member.
const COUNT_BITS: u32 = 17;

/// Slots of members, by their places.
#[derive(Debug)]
pub(super) struct Schedule {
    /// How many slots each member has, in order.
    counts: Box<[u64]>,
    pub(super) slots: Arc<[u16]>,
    members: Box<[u16]>,
}

impl Schedule {
    /// The slots of the previous schedule are used again if they are the same.
    pub(super) fn new(members: &[Member], previous: Option<&Self>) -> Self {
        let counts: Box<[u64]> = slot_counts(members).into();
        let slots = match previous {
            Some(previous) if previous.counts == counts => Arc::clone(&previous.slots),
            _ => spread(&counts).into(),
        };
        Self { counts, slots, members: members.iter().map(|member| member.index).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn pick(&self, cursor: usize, mut accept: impl FnMut(u16) -> bool) -> Option<u16> {
        let (slots, members) = (self.slots.len(), self.members.len());
        if members == 0 {
            return None;
        }
        let (cycle, start) = (cursor / slots, cursor % slots);
        let mut offer = |place: usize| {
            let member = self.members[place];
            accept(member).then_some(member)
        };
        let mut offer_slot = |slot: usize| offer(usize::from(self.slots[slot]));
        if let Some(member) = offer_slot(start) {
            return Some(member);
        }
        if slots > 1 {
            // With one member out this is exact: over the cycles its slots go to every other slot in turn.
            let mut another = (start + 1 + cycle % (slots - 1)) % slots;
            for probe in 1..=members as u64 {
                if let Some(member) = offer_slot(another) {
                    return Some(member);
                }
                another = below_len(slots, mix(mix(cursor as u64) ^ probe));
            }
        }
        // Slots may lead to the same members over and over, so the plain list decides in the end.
        (0..members).find_map(|step| offer((start + step) % members))
    }
}

/// How many slots each member gets: its weight by the greatest common divisor, or a scaled-down share.
fn slot_counts(members: &[Member]) -> Vec<u64> {
    let weights = || members.iter().map(|member| u64::from(member.weight.max(1)));
    let divisor = weights().fold(0, gcd).max(1);
    let total: u64 = weights().map(|weight| weight / divisor).sum();
    let scale = |weight: u64| {
        let count = weight / divisor;
        if total > MAX_SLOTS { (count * MAX_SLOTS / total).max(1) } else { count }
    };
    weights().map(scale).collect()
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The slots: the `round`-th of a member's `count` turns is due at (2 `round` + 1) / (2 `count`) of the cycle;
/// of two that are due at once, the heavier member comes first, then the one that stands first.
fn spread(counts: &[u64]) -> Vec<u16> {
    // Members of the same count are always due together, so only their turns need to be put in order.
    let mut peers: BTreeMap<u64, Vec<u16>> = BTreeMap::new();
    for (place, &count) in (0..=u16::MAX).zip(counts) {
        peers.entry(count).or_default().push(place);
    }
    let mut turns: Vec<(u64, &[u16])> = Vec::new();
    for (&count, peers) in &peers {
        // A member has MAX_SLOTS slots at most. So two times that differ do so by 2^-33 at least, and in these
        // 46 bits as well.
        let due = |round: u64| (((2 * round + 1) << 46) / (2 * count)) << COUNT_BITS;
        let later_if_light = (1 << COUNT_BITS) - 1 - count;
        turns.extend((0..count).map(|round| (due(round) | later_if_light, peers.as_slice())));
    }
    turns.sort_unstable_by_key(|&(due, _)| due);
    turns.into_iter().flat_map(|(_, peers)| peers).copied().collect()
}

#[cfg(test)]
#[path = "round_robin_tests.rs"]
mod tests;
