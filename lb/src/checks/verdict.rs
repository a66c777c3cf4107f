//! What a row of checks says of one upstream: HAProxy's `rise` and `fall`.

/// How many checks in a row it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Good ones that bring an upstream back; at least 1.
    pub(super) rise: u32,
    /// Bad ones that take it out; at least 1.
    pub(super) fall: u32,
}

/// The verdict, and the checks in a row that speak against it. A new upstream is good: nothing speaks against it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    is_bad: bool,
    against: u32,
}

impl Verdict {
    /// A check found the upstream good or not. The new verdict, if it is another one now.
    pub(super) const fn observe(&mut self, good: bool, limits: Limits) -> Option<bool> {
        if good != self.is_bad {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.against < (if self.is_bad { limits.rise } else { limits.fall }) {
            return None;
        }
        *self = Self { is_bad: !self.is_bad, against: 0 };
        Some(good)
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
