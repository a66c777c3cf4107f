//! One request's way through the upstreams: which attempt is under way, which were made, and whether a
//! failure leads to another.
//!
//! The next upstream is chosen and reserved at the moment the decision to go on is made. So a response that
//! could be replaced by a better one is given up only when another upstream is certain to be asked; otherwise
//! it is the client's. Free of the proxy's types, so that every data path can share it.

use std::time::{Duration, Instant};

use crate::metrics::{Metrics, Outcome};
use crate::policy::retry::{self, Failure, Progress, Rules, Stop};
use crate::pool::{Attempt, NoUpstream, Pool, Tried};

/// What a data path knows of the request when an attempt has failed.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Whether its method is idempotent.
    pub idempotent: bool,
    /// Whether all of its body that was sent can be sent again.
    pub replayable: bool,
    /// Whether a byte of the response went to the client.
    pub response_begun: bool,
}

/// Why a request ends with its last attempt's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GaveUp {
    /// The rules are against another attempt.
    Rules(Stop),
    /// Nobody is left to try.
    NoUpstream(NoUpstream),
}

/// The way of one request.
#[derive(Debug)]
pub struct Flow {
    began: Instant,
    attempts: u32,
    tried: Tried,
    current: Option<Attempt>,
    failure: Option<(Failure, GaveUp)>,
}

impl Flow {
    /// A request that arrived now.
    pub fn new() -> Self {
        Self { began: Instant::now(), attempts: 0, tried: Tried::default(), current: None, failure: None }
    }

    /// Reserves the first upstream.
    ///
    /// # Errors
    /// When none is usable.
    pub fn start(&mut self, pool: &Pool) -> Result<(), NoUpstream> {
        let attempt = pool.begin(&self.tried)?;
        self.take(attempt);
        Ok(())
    }

    fn take(&mut self, attempt: Attempt) {
        self.attempts += 1;
        self.tried.add(attempt.incarnation());
        self.current = Some(attempt);
    }

    /// The attempt that is to be made or under way.
    pub const fn current(&self) -> Option<&Attempt> {
        self.current.as_ref()
    }

    /// Since the request arrived.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Attempts begun.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How the last attempt failed and why there was no other; none while there is hope.
    pub const fn failure(&self) -> Option<(Failure, GaveUp)> {
        self.failure
    }

    /// The current attempt failed. True when another one is reserved and shall be made; it is the current one
    /// then.
    pub fn failed(
        &mut self,
        failure: Failure,
        request: Request,
        pool: &Pool,
        rules: &Rules,
        metrics: &Metrics,
    ) -> bool {
        if let Some(attempt) = self.current.take() {
            attempt.end(Outcome::Failed(failure));
        }
        match self.next(failure, request, pool, rules) {
            Ok(attempt) => {
                metrics.retry(failure);
                self.take(attempt);
                true
            }
            Err(why) => {
                self.failure = Some((failure, why));
                false
            }
        }
    }

    fn next(
        &mut self,
        failure: Failure,
        request: Request,
        pool: &Pool,
        rules: &Rules,
    ) -> Result<Attempt, GaveUp> {
        let progress = Progress {
            idempotent: request.idempotent,
            replayable: request.replayable,
            response_begun: request.response_begun,
            attempts: self.attempts,
            elapsed_ms: u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        retry::may_retry(failure, progress, rules).map_err(GaveUp::Rules)?;
        match pool.begin(&self.tried) {
            Err(NoUpstream::AllTried) if rules.wrap => {
                self.tried.clear();
                pool.begin(&self.tried)
            }
            other => other,
        }
        .map_err(GaveUp::NoUpstream)
    }

    /// The current attempt ended otherwise: with the client's answer, or without.
    pub fn end(&mut self, outcome: Outcome) {
        if let Some(attempt) = self.current.take() {
            attempt.end(outcome);
        }
    }
}

impl Default for Flow {
    fn default() -> Self {
        Self::new()
    }
}
