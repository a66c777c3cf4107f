//! How long clients were without an answer. Pure.

use std::time::Duration;

use crate::samples::Sample;

#[cfg(test)]
mod tests;

/// A time without a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The end of the last success before it.
    pub from: Duration,
    /// To the end of the next.
    pub length: Duration,
}

/// The longest time from one success to the next, of those that end after `from`; also from the last one to `until`,
/// the end of the last request. The first success is counted from the start, 0.
///
/// A success counts when it ends: a connection whose first packet was lost and that was made a second later is slow, but
/// the address is served as soon as a later one succeeds.
pub(super) fn longest_gap(samples: &[Sample], from: Duration, until: Duration) -> Gap {
    let mut ends: Vec<Duration> =
        samples.iter().filter(|sample| sample.failure.is_none()).map(Sample::end).collect();
    ends.push(until);
    ends.sort_unstable();
    let mut longest = Gap { from: Duration::ZERO, length: Duration::ZERO };
    let mut last = Duration::ZERO;
    for end in ends {
        let gap = Gap { from: last, length: end - last };
        if end > from && gap.length > longest.length {
            longest = gap;
        }
        last = end;
    }
    longest
}
