//! One attempt of one request at one incarnation of an upstream, from its choice to its end.
//!
//! An attempt holds its place in the upstream's `max_conns` while it lives and is counted when it is dropped,
//! so that no way out of a request can forget it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Incarnation, Pool};
use crate::metrics::Outcome;

/// An attempt under way. Dropped without [`Attempt::end`], it counts as abandoned.
#[derive(Debug)]
pub struct Attempt {
    pool: Arc<Pool>,
    pub(super) incarnation: Arc<Incarnation>,
    /// It has a limit on its attempts, so somebody may wait for this one's end.
    limited: bool,
    pub(super) began_us: u64,
    pub(super) outcome: Outcome,
    /// However it ends, it says nothing about the upstream.
    pub(super) excused: bool,
}

impl Attempt {
    /// None when the upstream has `max_conns` attempts in flight (0: no limit).
    pub(super) fn begin(pool: &Arc<Pool>, incarnation: &Arc<Incarnation>, max_conns: u32) -> Option<Self> {
        let in_flight = &incarnation.in_flight;
        let limit = if max_conns == 0 { u32::MAX } else { max_conns };
        // Never above the limit, not even for a moment: another thread would take it for a place that is taken.
        in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < limit).then(|| n + 1)).ok()?;
        incarnation.attempts.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            pool: Arc::clone(pool),
            incarnation: Arc::clone(incarnation),
            limited: max_conns != 0,
            began_us: pool.now_us(),
            outcome: Outcome::Abandoned,
            excused: false,
        })
    }

    /// Who was chosen.
    pub const fn incarnation(&self) -> &Arc<Incarnation> {
        &self.incarnation
    }

    /// The first byte of a response is there.
    pub fn heard(&self) {
        self.incarnation.heard(self.pool.now_us());
        let waited = self.elapsed();
        self.pool.first_byte().record(waited);
        self.incarnation.metrics.first_byte.observe(waited.as_secs_f64());
    }

    /// Nothing came so far, and this long was waited for it. Counts for what is usual: a service that becomes
    /// slow must not look as fast as those who were given up make it look.
    pub fn waited(&self) {
        self.pool.first_byte().record(self.elapsed());
    }

    /// Since it began.
    pub fn elapsed(&self) -> Duration {
        Duration::from_micros(self.pool.now_us().saturating_sub(self.began_us))
    }

    /// The attempt is not made after all.
    pub fn cancel(self) {
        self.incarnation.attempts.fetch_sub(1, Ordering::Relaxed);
        self.end(Outcome::Unmade);
    }

    /// However it ends, it does not count towards `max_fails`.
    pub const fn excuse(&mut self) {
        self.excused = true;
    }

    /// The attempt is over, and so it ended.
    pub fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let left = self.incarnation.in_flight.fetch_sub(1, Ordering::Relaxed) - 1;
        self.incarnation.metrics.count(self.outcome);
        self.pool.ended(self, left);
        if self.limited {
            self.pool.place_freed();
        }
    }
}

/// Why no attempt could begin. The later ones say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoUpstream {
    /// No upstream gets new requests.
    None,
    /// The request was at all of them already.
    AllTried,
    /// Those it was not at have as many requests as they may.
    AllFull,
}

/// The incarnations that one request was at.
#[derive(Debug, Clone, Default)]
pub struct Tried {
    /// Most requests are at one or two, so those cost no memory.
    first: [u64; Self::INLINE],
    len: usize,
    more: Vec<u64>,
}

impl Tried {
    const INLINE: usize = 4;

    /// Remembers one.
    pub fn add(&mut self, incarnation: &Incarnation) {
        match self.first.get_mut(self.len) {
            Some(key) => *key = incarnation.key,
            None => self.more.push(incarnation.key),
        }
        self.len += 1;
    }

    /// Whether the request was at this one.
    pub fn contains(&self, incarnation: &Incarnation) -> bool {
        self.first[..self.len.min(Self::INLINE)].contains(&incarnation.key)
            || self.more.contains(&incarnation.key)
    }

    /// Forgets the one that was added last.
    pub fn remove_last(&mut self) {
        if self.more.pop().is_some() || self.len > 0 {
            self.len -= 1;
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.len = 0;
        self.more.clear();
    }
}
