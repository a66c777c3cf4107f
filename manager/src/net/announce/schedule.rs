//! When to announce the address: often at first, then now and then. Pure.
//!
//! Linux ignores an ARP update within a second of the one before (`locktime`), and a frame may be lost: so the
//! announcements go on beyond that. What was missed, because the process stood still, is not made up for: one
//! announcement says as much as five.

use std::time::Duration;

use manager_core::Time;

/// The announcements after a start, in milliseconds from it.
const FIRST_MS: [u64; 6] = [0, 200, 1_100, 2_200, 3_300, 4_400];

/// Between the later ones.
const EVERY_MS: u64 = 15_000;

/// The moments of announcements; none until [`Schedule::start`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Schedule {
    running: Option<Running>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Running {
    started: Time,
    /// How many announcements are past, made or missed.
    past: usize,
}

impl Schedule {
    /// Begins anew at `at`, which may lie in the future.
    pub(super) fn start(&mut self, at: Time) {
        self.running = Some(Running { started: at, past: 0 });
    }

    /// Ends it.
    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    /// Whether it was started and not stopped.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether an announcement is due; if so, all that were due by now count as made.
    pub(super) fn take_due(&mut self, now: Time) -> bool {
        let Some(running) = &mut self.running else { return false };
        let before = running.past;
        while running.next() <= now {
            running.past += 1;
            if running.past > FIRST_MS.len() && running.next() <= now {
                // After a long pause the beat starts anew here, instead of step by step.
                running.started = now;
                running.past = FIRST_MS.len();
                return true;
            }
        }
        running.past != before
    }

    /// The moment of the next announcement.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.running.as_ref().map(Running::next)
    }
}

impl Running {
    fn next(&self) -> Time {
        let offset_ms = FIRST_MS.get(self.past).copied().unwrap_or_else(|| {
            let beyond = u64::try_from(self.past - FIRST_MS.len()).unwrap_or(u64::MAX);
            let last = FIRST_MS[FIRST_MS.len() - 1];
            last.saturating_add(EVERY_MS.saturating_mul(beyond.saturating_add(1)))
        });
        self.started + Duration::from_millis(offset_ms)
    }
}

#[cfg(test)]
mod tests;
