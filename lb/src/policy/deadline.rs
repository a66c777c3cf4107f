//! How long an attempt may be silent before another upstream is asked: a multiple of what nearly all attempts
//! took lately.
//!
//! Every first byte is counted in a histogram with buckets a thirty-second of an octave wide. A timer folds
//! the new counts into a window that forgets a fifteenth of itself each time, so that a tenth of a second
//! apart the last few seconds count. The deadline is the window's 99th percentile, times the multiple, within
//! the bounds.
//!
//! An attempt that ran out is counted too, with the time it was given: the response would have taken longer
//! than that (the sample is censored). So when a whole service becomes slow, the deadline grows by the multiple
//! with each refresh until responses get through, where a window of answers alone would stay as fast as the
//! last answer was.
//!
//! It refuses to time anything out, and to tell upstreams apart: one slow upstream among many must not be
//! given more time for it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Below and above, a sample counts as this, in microseconds.
const SHORTEST_US: u32 = 50;
const LONGEST_US: u32 = 60_000_000;

/// Buckets per octave, as a power of two.
const SUB_BITS: u32 = 5;
const SUB_BUCKETS: usize = 1 << SUB_BITS;
const BUCKETS: usize = index_of(LONGEST_US) + 1;

/// What is left of the window's old counts at a refresh.
const KEPT: f64 = 14.0 / 15.0;

/// The quantile that the deadline is a multiple of.
const QUANTILE: f64 = 0.99;

/// Before this many samples, nothing is known.
const FEWEST_SAMPLES: u64 = 20;

/// The first-byte deadline of attempts, learnt from attempts.
#[derive(Debug)]
pub struct FirstByte {
    fresh: Box<[AtomicU32]>,
    deadline_us: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bounds: Bounds,
    window: Box<[f64]>,
    samples: u64,
}

#[derive(Debug, Clone, Copy)]
struct Bounds {
    min_us: u64,
    max_us: u64,
    multiple_percent: u32,
}

impl Bounds {
    /// A minimum above the maximum counts as the maximum.
    fn new(min_ms: u64, max_ms: u64, multiple_percent: u32) -> Self {
        let max_us = max_ms.saturating_mul(1000);
        Self { min_us: min_ms.saturating_mul(1000).min(max_us), max_us, multiple_percent }
    }
}

impl FirstByte {
    /// A deadline from `min_ms` to `max_ms` that is `multiple_percent` of the 99th percentile. It is `max_ms`
    /// until there were 20 samples. At less than 105 percent it might not grow when it should.
    pub fn new(min_ms: u64, max_ms: u64, multiple_percent: u32) -> Self {
        let bounds = Bounds::new(min_ms, max_ms, multiple_percent);
        Self {
            fresh: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
            deadline_us: AtomicU64::new(bounds.max_us),
            state: Mutex::new(State { bounds, window: vec![0.0; BUCKETS].into(), samples: 0 }),
        }
    }

    /// From now on it has these bounds and this multiple. What was learnt stays.
    pub fn reconfigure(&self, min_ms: u64, max_ms: u64, multiple_percent: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bounds = Bounds::new(min_ms, max_ms, multiple_percent);
        self.deadline_us.store(state.deadline_us(), Ordering::Relaxed);
    }

    /// Counts one attempt: how long its first byte took, or how long it was waited for in vain. One atomic
    /// addition.
    pub fn record(&self, waited: Duration) {
        let us = u32::try_from(waited.as_micros()).unwrap_or(u32::MAX);
        self.fresh[index_of(us)].fetch_add(1, Ordering::Relaxed);
    }

    /// Learns from what was recorded since the last call. To be called every 100 ms. Silence teaches nothing:
    /// without a new sample nothing changes.
    pub fn refresh(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { window, samples, .. } = &mut *state;
        if self.fresh.iter().all(|count| count.load(Ordering::Relaxed) == 0) {
            return;
        }
        for (kept, fresh) in window.iter_mut().zip(&self.fresh) {
            let fresh = fresh.swap(0, Ordering::Relaxed);
            *kept = kept.mul_add(KEPT, f64::from(fresh));
            *samples = samples.saturating_add(u64::from(fresh));
        }
        self.deadline_us.store(state.deadline_us(), Ordering::Relaxed);
    }

    /// How long an attempt may be silent.
    pub fn deadline(&self) -> Duration {
        Duration::from_micros(self.deadline_us.load(Ordering::Relaxed))
    }
}

impl State {
    fn deadline_us(&self) -> u64 {
        let Bounds { min_us, max_us, multiple_percent } = self.bounds;
        if self.samples < FEWEST_SAMPLES {
            return max_us;
        }
        let multiple = self.quantile_us().saturating_mul(u64::from(multiple_percent)) / 100;
        multiple.clamp(min_us, max_us)
    }

    /// The upper end of the bucket in which the quantile lies.
    fn quantile_us(&self) -> u64 {
        let below = self.window.iter().sum::<f64>() * QUANTILE;
        let mut sum = 0.0;
        let reached = self.window.iter().position(|count| {
            sum += count;
            sum >= below
        });
        upper_end_us(reached.unwrap_or(BUCKETS - 1))
    }
}

/// The bucket of a time: the octave, and within it the next five bits.
const fn index_of(us: u32) -> usize {
    let us = if us < SHORTEST_US {
        SHORTEST_US
    } else if us > LONGEST_US {
        LONGEST_US
    } else {
        us
    };
    let octave = us.ilog2() - SUB_BITS;
    octave as usize * SUB_BUCKETS + (us >> octave) as usize % SUB_BUCKETS
}

/// The longest time that falls into a bucket.
const fn upper_end_us(index: usize) -> u64 {
    let (octave, sub) = (index / SUB_BUCKETS, index % SUB_BUCKETS);
    ((SUB_BUCKETS + sub + 1) as u64) << octave
}

#[cfg(test)]
#[path = "deadline_tests.rs"]
mod tests;
