//! How long to wait before a program that ended is started again.
//!
//! The pause doubles from [`FIRST`] to [`LAST`], and starts over once the program has run for [`STEADY`]: a
//! program that crashes at once must not eat the processor, one that crashes once a day must not wait.

use std::time::Duration;

/// The pause after the first end.
pub(crate) const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
pub(crate) const LAST: Duration = Duration::from_secs(5);
/// A program that ran this long is taken to be sound again.
pub(crate) const STEADY: Duration = Duration::from_secs(10);

/// The pauses of one program.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// A program that has never ended.
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The program ended after it ran for `ran`: the pause before its next start.
    pub(crate) fn ended(&mut self, ran: Duration) -> Duration {
        if ran >= STEADY {
            self.next = FIRST;
        }
        let pause = self.next;
        self.next = (pause * 2).min(LAST);
        pause
    }
}

#[cfg(test)]
mod tests;
