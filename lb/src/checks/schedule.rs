//! Whose check is due when.
//!
//! Every upstream has its own beat of one interval. Where in the interval it lies follows from the number of the
//! incarnation, so that even those that join all at once are asked evenly spread. With more upstreams than can be
//! asked in an interval the beat is slower: the checks of a large set must not take the processor away from the traffic.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

/// The most checks in a second.
const MOST_PER_SECOND: u32 = 2_000;

/// The golden ratio as a fraction of 2^64. Multiples of it are evenly spread whatever their number is: Knuth, The Art
/// of Computer Programming, volume 3, section 6.4.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The members, each waiting or away for a check.
#[derive(Debug)]
pub(super) struct Schedule<T> {
    interval: Duration,
    waiting: BTreeMap<(Instant, u64), T>,
    /// The keys of all members.
    keys: HashSet<u64>,
}

impl<T> Schedule<T> {
    /// An empty one.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, waiting: BTreeMap::new(), keys: HashSet::new() }
    }

    /// The beat of each member now.
    pub(super) fn beat(&self) -> Duration {
        let members = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        self.interval.max(Duration::from_secs(1) * members / MOST_PER_SECOND)
    }

    /// Makes these the members. New ones begin with `begin`; those that wait and are not among these are dropped,
    /// those that are away are not taken back.
    pub(super) fn update<M>(&mut self, now: Instant, members: Vec<(u64, M)>, mut begin: impl FnMut(M) -> T) {
        let known = std::mem::replace(&mut self.keys, members.iter().map(|(key, _)| *key).collect());
        self.waiting.retain(|(_, key), _| self.keys.contains(key));
        let beat = self.beat();
        for (key, member) in members {
            if !known.contains(&key) {
                self.waiting.insert((now + phase(key, beat), key), begin(member));
            }
        }
    }

    /// When the next check is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes the member whose check is due, if there is one, and when it was due.
    pub(super) fn take(&mut self, now: Instant) -> Option<(u64, Instant, T)> {
        let entry = self.waiting.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((due, key), member) = entry.remove_entry();
        Some((key, due, member))
    }

    /// Takes a member back, for one beat after it was due. Who fell behind does not catch up.
    pub(super) fn put_back(&mut self, now: Instant, key: u64, was_due: Instant, member: T) {
        if self.keys.contains(&key) {
            self.waiting.insert(((was_due + self.beat()).max(now), key), member);
        }
    }
}

/// Where in the beat the checks of a member lie.
fn phase(key: u64, beat: Duration) -> Duration {
    let share = u128::from(key.wrapping_mul(GOLDEN) >> 32);
    let nanos = (beat.as_nanos() * share) >> 32;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
