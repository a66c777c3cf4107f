//! One request's way through the upstreams: which attempt is under way, which were made, and whether a
//! failure leads to another.
//!
//! The next upstream is chosen and reserved at the moment the decision to go on is made. So a response that
//! could be replaced by a better one is given up only when another upstream is certain to be asked; otherwise
//! it is the client's. Free of the proxy's types, so that every data path can share it.

use std::time::{Duration, Instant};

use crate::metrics::{Metrics, Outcome};
use crate::policy::retry::{self, Connection, Failure, Progress, Rules, Stop};
use crate::pool::{Attempt, NoUpstream, Pool, Tried};

/// What a data path knows of the request when an attempt has failed.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Whether its method is idempotent.
    pub idempotent: bool,
    /// Whether all of its body that was sent can be sent again.
    pub replayable: bool,
    /// Whether a byte of the response, other than informational heads, went to the client.
    pub response_begun: bool,
    /// The connection of the attempt.
    pub connection: Connection,
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
    /// When the last byte of the request was there.
    complete: Option<Instant>,
    attempts: u32,
    tried: Tried,
    current: Option<Attempt>,
    /// The current attempt is at the same upstream as the one before, and so must have a new connection.
    repeats: bool,
    /// Such an attempt was made.
    repeated: bool,
    failure: Option<(Failure, GaveUp)>,
}

impl Flow {
    /// A request whose head arrived now.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            complete: None,
            attempts: 0,
            tried: Tried::default(),
            current: None,
            repeats: false,
            repeated: false,
            failure: None,
        }
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

    /// The last byte of the request is there. Only the first call counts.
    pub fn request_complete(&mut self) {
        self.complete.get_or_insert_with(Instant::now);
    }

    /// Whether the last byte of the request is there.
    pub const fn is_request_complete(&self) -> bool {
        self.complete.is_some()
    }

    /// What is left of the time for all attempts. It does not run before the request is complete: how long a
    /// client may take to send it is limited otherwise.
    pub fn left(&self, budget: Duration) -> Duration {
        budget.saturating_sub(self.spent())
    }

    fn spent(&self) -> Duration {
        self.complete.map_or(Duration::ZERO, |complete| complete.elapsed())
    }

    /// Whether the current attempt must not use a pooled connection.
    pub const fn needs_new_connection(&self) -> bool {
        self.repeats
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

    /// Since the request's head arrived.
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
            elapsed_ms: u64::try_from(self.spent().as_millis()).unwrap_or(u64::MAX),
        };
        retry::may_retry(failure, progress, rules).map_err(GaveUp::Rules)?;
        self.repeats = false;
        let why = match pool.begin(&self.tried) {
            Ok(attempt) => return Ok(attempt),
            Err(why) => why,
        };
        if retry::may_repeat(failure, request.connection, self.repeated) {
            let others = self.tried.but_last();
            if let Ok(attempt) = pool.begin(&others) {
                self.tried = others;
                (self.repeats, self.repeated) = (true, true);
                return Ok(attempt);
            }
        }
        if why == NoUpstream::AllTried && rules.wrap {
            self.tried.clear();
            return pool.begin(&self.tried).map_err(GaveUp::NoUpstream);
        }
        Err(GaveUp::NoUpstream(why))
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
