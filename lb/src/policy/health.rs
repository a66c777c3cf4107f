//! Passive ejection of one upstream, as in nginx's upstream module (`max_fails`, `fail_timeout`).
//!
//! An upstream that failed `max_fails` times, with never `fail_timeout` between two of them, is ejected. Then
//! one request per `fail_timeout` probes it; the first that succeeds brings it back. As in nginx, failures are
//! forgotten when `fail_timeout` has passed since the last one, so that a rare failure among many successes
//! adds up to nothing.
//!
//! It refuses to look at other upstreams: that all are ejected, and so all are to be tried, is for the caller
//! to see. Times are milliseconds of any clock that does not go backwards; if it does, no time has passed.

/// When an upstream is ejected, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Failures until it is ejected; 0: it never is.
    pub max_fails: u32,
    /// How long failures are remembered, and how long between two probes, in milliseconds.
    pub fail_timeout_ms: u64,
}

/// nginx's own defaults.
impl Default for Limits {
    fn default() -> Self {
        Self { max_fails: 1, fail_timeout_ms: 10_000 }
    }
}

/// What failures say of one upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// Failures that are remembered.
    fails: u32,
    /// When the last failure was.
    failed_ms: u64,
    /// When it last failed, or was last chosen as a probe.
    checked_ms: u64,
    /// It was chosen although ejected, and nothing has failed since.
    probing: bool,
}

impl Health {
    /// Whether a request may go to it.
    pub const fn is_available(&self, now_ms: u64, limits: &Limits) -> bool {
        !self.is_ejected(limits) || has_passed(self.checked_ms, now_ms, limits)
    }

    /// Whether it is ejected, be it due for a probe or not.
    pub const fn is_ejected(&self, limits: &Limits) -> bool {
        limits.max_fails > 0 && self.fails >= limits.max_fails
    }

    /// Whether there is nothing to remember, so that [`Health::chosen`] and [`Health::succeeded`] would change
    /// nothing.
    pub const fn is_clean(&self) -> bool {
        self.fails == 0
    }

    /// A request goes to it. If it is ejected, that request is a probe, and for `fail_timeout` the only one.
    pub const fn chosen(&mut self, now_ms: u64, limits: &Limits) {
        if self.is_ejected(limits) {
            self.probing = true;
            self.checked_ms = now_ms;
        }
    }

    /// A request to it failed. True when that ejected it.
    pub const fn failed(&mut self, now_ms: u64, limits: &Limits) -> bool {
        let was_ejected = self.is_ejected(limits);
        if !was_ejected && has_passed(self.failed_ms, now_ms, limits) {
            self.fails = 0;
        }
        *self = Self {
            fails: self.fails.saturating_add(1),
            failed_ms: now_ms,
            checked_ms: now_ms,
            probing: false,
        };
        !was_ejected && self.is_ejected(limits)
    }

    /// A request to it succeeded. True when it was ejected and is back.
    ///
    /// While it is ejected only a request that was chosen since its last failure says something: one that
    /// began before may end well although the upstream died meanwhile.
    pub const fn succeeded(&mut self, now_ms: u64, limits: &Limits) -> bool {
        let was_ejected = self.is_ejected(limits);
        let forget = if was_ejected { self.probing } else { has_passed(self.failed_ms, now_ms, limits) };
        if forget {
            *self = Self { fails: 0, failed_ms: 0, checked_ms: 0, probing: false };
        }
        was_ejected && forget
    }
}

const fn has_passed(since_ms: u64, now_ms: u64, limits: &Limits) -> bool {
    now_ms.saturating_sub(since_ms) >= limits.fail_timeout_ms
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
