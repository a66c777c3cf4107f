//! What to make of the checks' outcomes. Pure: what happened and when comes in, a verdict comes out.
//!
//! A load balancer that is slow is not broken: to move the address would break its connections and give its clients
//! to another one that is just as short of time. What tells a hang from a queue is that a queue moves. So silence is
//! counted from the last answer to any check, however late that answer came, and not for each check by itself.
//!
//! It does not judge when this program itself was late: the answers may be waiting in its own sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::vip::Checks;

/// A load balancer that answers no check for this long is replaced, whatever its heartbeat says. A check waits as long.
pub(super) const GIVE_UP: Duration = Duration::from_secs(5);

/// Who wakes up later than this was short of time itself, and looks again after as long.
const SLACK: Duration = Duration::from_millis(50);

/// What the checks say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::vip) enum Verdict {
    /// It answers.
    Fit,
    /// It does not.
    Broken(String),
}

/// Why a check failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) words: String,
    /// Nobody listens there: no other check will find anything else.
    pub(super) is_conclusive: bool,
}

/// Draws the verdict on one load balancer, from checks that overlap and end in any order.
#[derive(Debug)]
pub(super) struct Judge {
    checks: Checks,
    /// Those under way, and when they began. Bounded by whoever starts them.
    open: BTreeMap<u64, Instant>,
    /// When one was last answered.
    heard: Option<Instant>,
    /// The latest check that was answered, by the order of their starts.
    answered: Option<u64>,
    /// Those after it that failed; at most `checks.failures`.
    failed: BTreeSet<u64>,
    /// No opinion on silence before this.
    blind_until: Option<Instant>,
}

impl Judge {
    pub(super) const fn new(checks: Checks) -> Self {
        Self {
            checks,
            open: BTreeMap::new(),
            heard: None,
            answered: None,
            failed: BTreeSet::new(),
            blind_until: None,
        }
    }

    /// Check `number` begins. Numbers grow.
    pub(super) fn begins(&mut self, number: u64, now: Instant) {
        self.open.insert(number, now);
    }

    /// Check `number` has ended; a verdict, if there is enough to go by.
    pub(super) fn ends(
        &mut self,
        number: u64,
        now: Instant,
        outcome: Result<(), Failure>,
    ) -> Option<Verdict> {
        self.open.remove(&number);
        let limit = self.checks.failures as usize;
        match outcome {
            Ok(()) => {
                self.heard = Some(now);
                if self.answered.is_none_or(|last| last < number) {
                    self.answered = Some(number);
                    self.failed.retain(|failed| *failed > number);
                }
                self.failed.is_empty().then_some(Verdict::Fit)
            }
            Err(_) if self.answered.is_some_and(|last| last > number) => None,
            Err(failure) => {
                self.failed.insert(number);
                if self.failed.len() > limit {
                    self.failed.pop_first();
                }
                let enough = failure.is_conclusive || self.failed.len() >= limit;
                enough.then_some(Verdict::Broken(failure.words))
            }
        }
    }

    /// When to look at the silence, if nothing happens before: `checks.failures` checks have waited for
    /// `checks.timeout`, and for as long none was answered.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let enough = (self.checks.failures as usize).saturating_sub(1);
        let waiting = *self.open.values().nth(enough)?;
        let silent_since = self.heard.map_or(waiting, |heard| heard.max(waiting));
        let due = silent_since + self.checks.timeout;
        Some(self.blind_until.map_or(due, |until| until.max(due)))
    }

    /// The deadline is there. `at` names what was asked.
    pub(super) fn silent(&mut self, now: Instant, at: SocketAddr) -> Option<Verdict> {
        let due = self.next_deadline().filter(|due| *due <= now)?;
        self.blind_until = Some(now + SLACK);
        if now.duration_since(due) > SLACK {
            return None;
        }
        let waited = self.checks.timeout.as_millis();
        Some(Verdict::Broken(format!("asked at {at}: no answer within {waited} ms")))
    }
}

/// How long one life of a load balancer has been broken by its checks.
#[derive(Debug, Default)]
pub(super) struct Broken {
    since: Option<Instant>,
    said: bool,
}

impl Broken {
    /// Why it must be replaced, once: its heartbeat goes on, and still it serves nobody.
    pub(super) fn for_too_long(&mut self, now: Instant, verdict: &Verdict) -> Option<String> {
        let Verdict::Broken(why) = verdict else {
            *self = Self::default();
            return None;
        };
        let since = *self.since.get_or_insert(now);
        if self.said || now.duration_since(since) < GIVE_UP {
            return None;
        }
        self.said = true;
        Some(format!("serves nobody for {} s: {why}", GIVE_UP.as_secs()))
    }
}

#[cfg(test)]
mod tests;
