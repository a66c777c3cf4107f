//! What is on disk, what is being written, and what should be.

use super::types::{Action, Record};
use crate::time::Time;
use std::time::Duration;

/// One write at a time; a failed one is tried again after a pause.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    durable: Record,
    in_flight: Option<(Record, Time)>,
    again: Option<Time>,
}

impl Ledger {
    pub(super) const fn new(durable: Record) -> Self {
        Self { durable, in_flight: None, again: None }
    }

    pub(super) const fn durable(&self) -> &Record {
        &self.durable
    }

    /// The greatest of what is on disk or may be.
    pub(super) fn floor(&self) -> Record {
        match &self.in_flight {
            Some((record, _)) if record.ballot > self.durable.ballot => record.clone(),
            Some(_) | None => self.durable.clone(),
        }
    }

    /// The next try to write is due then, if one is.
    pub(super) const fn again(&self) -> Option<Time> {
        self.again
    }

    /// Somebody waits for the next write: a failure long ago is no reason to wait.
    pub(super) const fn hurry(&mut self) {
        self.again = None;
    }

    /// Writes `want`, unless it is there or another write is under way.
    pub(super) fn pump(&mut self, now: Time, want: Record, out: &mut Vec<Action>) {
        if self.in_flight.is_some() || want == self.durable || self.again.is_some_and(|again| now < again) {
            return;
        }
        self.again = None;
        out.push(Action::Persist(want.clone()));
        self.in_flight = Some((want, now));
    }

    /// The write is done; whether it was one of ours.
    pub(super) fn written(&mut self, epoch: u64) -> bool {
        let Some((record, _)) = self.in_flight.take_if(|(record, _)| record.epoch() == epoch) else {
            return false;
        };
        self.durable = record;
        true
    }

    /// The write failed; what it was.
    pub(super) fn failed(&mut self, now: Time, epoch: u64, pace: Duration) -> Option<Record> {
        let (record, _) = self.in_flight.take_if(|(record, _)| record.epoch() == epoch)?;
        self.again = Some(now + pace);
        Some(record)
    }
}
