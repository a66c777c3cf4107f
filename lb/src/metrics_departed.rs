//! Upstreams that have gone, while their series may still be read.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long series stay that nobody reads.
const KEPT: Duration = Duration::from_secs(60);

/// How often they are read before they go.
const READINGS: u32 = 2;

/// More than this are not remembered at a time: as many as the largest set has.
const MOST: usize = 16_384;

/// The upstreams that have gone. Each answer with ids names those whose series go now.
#[derive(Debug, Default)]
pub(super) struct Departed(HashMap<String, (Instant, u32)>);

impl Departed {
    /// It has gone. False when there is no room to remember it, so that its series go at once.
    pub(super) fn left(&mut self, id: &str, now: Instant) -> bool {
        if self.0.len() >= MOST && !self.0.contains_key(id) {
            return false;
        }
        self.0.insert(id.to_owned(), (now, 0));
        true
    }

    /// It is back, so its series stay.
    pub(super) fn came_back(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// All series are about to be read.
    pub(super) fn reading(&mut self) {
        for (_, readings) in self.0.values_mut() {
            *readings += 1;
        }
    }

    /// All series were read, including those of upstreams that left meanwhile, or not.
    pub(super) fn read(&mut self) -> Vec<String> {
        self.0.extract_if(|_, (_, readings)| *readings >= READINGS).map(|(id, _)| id).collect()
    }

    /// Time has passed.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<String> {
        self.0
            .extract_if(|_, (left, _)| now.saturating_duration_since(*left) >= KEPT)
            .map(|(id, _)| id)
            .collect()
    }
}

#[cfg(test)]
#[path = "metrics_departed_tests.rs"]
mod tests;
