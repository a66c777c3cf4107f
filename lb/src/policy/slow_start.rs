//! Slow start: a new incarnation of an upstream gets a growing share of the requests it would be due.
//!
//! The share grows with age, in a straight line, from a tenth to all. It refuses to say where the other
//! requests go: whoever is not admitted here is offered to the next upstream.

/// The share at the beginning, in thousandths: enough requests to warm up on.
pub const FIRST_SHARE: u32 = 100;

/// All of the share, in thousandths.
pub const FULL_SHARE: u32 = 1000;

/// The share of its requests that an upstream gets at this age, in thousandths.
pub fn share(age_ms: u64, slow_start_ms: u64) -> u32 {
    if age_ms >= slow_start_ms {
        return FULL_SHARE;
    }
    let grown = u128::from(FULL_SHARE - FIRST_SHARE) * u128::from(age_ms) / u128::from(slow_start_ms);
    // Less than FULL_SHARE - FIRST_SHARE, as the age is less than the whole time.
    FIRST_SHARE + u32::try_from(grown).unwrap_or(0)
}

/// Whether a request is among that share, for a number that is evenly distributed over all of `u32`.
pub const fn admits(share: u32, random: u32) -> bool {
    (random as u64 * FULL_SHARE as u64) >> 32 < share as u64
}

#[cfg(test)]
#[path = "slow_start_tests.rs"]
mod tests;
