//! How often events of one kind are written, when strangers can cause them; pure.
//!
//! Whoever is on the LAN can forge a datagram or answer ARP from a new MAC each time. The journal keeps a fixed number
//! of events, and those that matter must not be driven out of it. The log has every one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Events of a kind that are written one after the other.
const BURST: u32 = 8;
/// After those, one is written in this time.
const EVERY: Duration = Duration::from_secs(30);
/// Kinds that are told apart; further ones share what one of them has.
const KINDS: usize = 64;

/// What each kind may still write.
#[derive(Debug, Default)]
pub(super) struct Rations(BTreeMap<String, Ration>);

#[derive(Debug)]
struct Ration {
    left: u32,
    /// Since when there are so many.
    since: Instant,
    unsaid: u64,
}

impl Ration {
    fn refill(&mut self, now: Instant) {
        while self.left < BURST && now.saturating_duration_since(self.since) >= EVERY {
            self.left += 1;
            self.since += EVERY;
        }
    }
}

impl Rations {
    /// Whether one more of `kind` is written now; if so, how many were not since the one before.
    pub(super) fn take(&mut self, now: Instant, kind: &str) -> Option<u64> {
        self.0.retain(|_, ration| {
            ration.refill(now);
            ration.left < BURST
        });
        let kind = if self.0.len() < KINDS || self.0.contains_key(kind) { kind } else { "" };
        let ration = self.0.entry(kind.to_owned()).or_insert(Ration { left: BURST, since: now, unsaid: 0 });
        if ration.left == 0 {
            ration.unsaid += 1;
            return None;
        }
        if ration.left == BURST {
            ration.since = now;
        }
        ration.left -= 1;
        Some(std::mem::take(&mut ration.unsaid))
    }
}

#[cfg(test)]
mod tests;
