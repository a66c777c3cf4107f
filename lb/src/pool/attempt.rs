//! One attempt of one request at one incarnation of an upstream, from its choice to its end.
//!
//! An attempt holds its place in the upstream's `max_conns` while it lives and is counted when it is dropped,
//! so that no way out of a request can forget it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Incarnation;
use crate::metrics::Outcome;

/// An attempt under way. Dropped without [`Attempt::end`], it counts as abandoned.
#[derive(Debug)]
pub struct Attempt {
    incarnation: Arc<Incarnation>,
    addr: SocketAddr,
    outcome: Outcome,
}

impl Attempt {
    /// None when the upstream has `max_conns` attempts in flight (0: no limit).
    pub(super) fn begin(incarnation: &Arc<Incarnation>, addr: SocketAddr, max_conns: u32) -> Option<Self> {
        let limit = if max_conns == 0 { u32::MAX } else { max_conns };
        incarnation
            .in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < limit).then(|| n + 1))
            .ok()?;
        incarnation.attempts.fetch_add(1, Ordering::Relaxed);
        Some(Self { incarnation: Arc::clone(incarnation), addr, outcome: Outcome::Abandoned })
    }

    /// Who was chosen.
    pub fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The attempt is over, and so it ended.
    pub fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.incarnation.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.incarnation.counters.count(self.outcome);
        if matches!(self.outcome, Outcome::Failed(_)) {
            self.incarnation.failures.fetch_add(1, Ordering::Relaxed);
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

/// The incarnations that one request was at, as many as a request can have attempts.
#[derive(Debug, Clone, Default)]
pub struct Tried {
    keys: [u64; Self::MAX],
    len: usize,
}

impl Tried {
    /// The most attempts a request can have.
    pub const MAX: usize = 10;

    /// Remembers one. More than [`Tried::MAX`] are not remembered.
    pub fn add(&mut self, incarnation: &Incarnation) {
        if let Some(key) = self.keys.get_mut(self.len) {
            *key = incarnation.key;
            self.len += 1;
        }
    }

    /// Whether the request was at this one.
    pub fn contains(&self, incarnation: &Incarnation) -> bool {
        self.keys[..self.len].contains(&incarnation.key)
    }

    /// Without the one that was added last.
    #[must_use]
    pub fn but_last(&self) -> Self {
        Self { len: self.len.saturating_sub(1), ..self.clone() }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}
