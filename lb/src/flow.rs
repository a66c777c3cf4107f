//! One request's way through the upstreams: which attempt is under way, which were made, and whether a
//! failure leads to another.
//!
//! The next upstream is chosen and reserved at the moment the decision to go on is made. So a response that
//! could be replaced by a better one is given up only when another upstream is certain to be asked; otherwise
//! it is the client's. Knows nothing of connections and protocols.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::metrics::{Metrics, Outcome};
use crate::policy::retry::{self, Connection, Failure, Progress, Stop};
use crate::pool::{Attempt, Choice, NoUpstream, Pool, Tried};

/// What a data path knows of the request when an attempt has failed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Whether its method is idempotent.
    pub idempotent: bool,
    /// Whether not a byte of it was sent in this attempt.
    pub nothing_sent: bool,
    /// Whether all of its body that was sent can be sent again.
    pub replayable: bool,
    /// Whether a byte of the response, other than informational heads, went to the client.
    pub response_begun: bool,
    /// The connection of the attempt.
    pub connection: Connection,
    /// How its next upstream is chosen.
    pub choice: Choice<'a>,
}

/// Why a request ends with its last attempt's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GaveUp {
    /// The rules are against another attempt.
    Rules(Stop),
    /// Too many requests are being tried again already.
    Budget,
    /// Nobody is left to try.
    NoUpstream(NoUpstream),
}

/// An attempt that is over, for the access log.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    /// At whom.
    pub addr: SocketAddr,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took, from its choice to its end.
    pub duration: Duration,
}

/// The way of one request.
#[derive(Debug)]
pub struct Flow {
    began: Instant,
    /// When the first attempt could begin.
    tries_began: Instant,
    attempts: u32,
    tried: Tried,
    /// Those of `tried` that failed, rather than were overtaken.
    failed: Tried,
    /// Some of `tried` were overtaken.
    overtook: bool,
    /// All were tried, and the overtaken ones are being tried again: nobody is overtaken any more.
    patient: bool,
    current: Option<Attempt>,
    /// The current attempt is at the same upstream as the one before, and so must have a new connection.
    repeats: bool,
    /// Such an attempt was made.
    repeated: bool,
    failure: Option<(Failure, GaveUp)>,
    /// The current attempt's response is a failure, and the client's.
    accepted: Option<Failure>,
    /// Filled only when somebody will read it.
    made: Option<Vec<Made>>,
}

impl Flow {
    /// A request whose head arrived then. `logged`: what becomes of its attempts is remembered.
    pub fn new(began: Instant, logged: bool) -> Self {
        Self {
            began,
            tries_began: began,
            attempts: 0,
            tried: Tried::default(),
            failed: Tried::default(),
            overtook: false,
            patient: false,
            current: None,
            repeats: false,
            repeated: false,
            failure: None,
            accepted: None,
            made: logged.then(Vec::new),
        }
    }

    /// Reserves the first upstream, or the next after a wait for one.
    ///
    /// # Errors
    /// When none is usable.
    pub fn start(&mut self, pool: &Arc<Pool>, choice: Choice<'_>) -> Result<(), NoUpstream> {
        let attempt = pool.begin(&self.tried, choice)?;
        self.repeats = false;
        self.failure = None;
        self.take(attempt);
        Ok(())
    }

    /// The first attempt had to wait for an upstream. The time for all attempts runs from now.
    pub fn begins_late(&mut self) {
        self.tries_began = Instant::now();
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

    /// Since the first attempt could begin.
    pub fn tried_for(&self) -> Duration {
        self.tries_began.elapsed()
    }

    /// Attempts begun.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The attempts that are over.
    pub fn made(&self) -> &[Made] {
        self.made.as_deref().unwrap_or_default()
    }

    /// How the last attempt failed and why there was no other; none while there is hope.
    pub const fn failure(&self) -> Option<(Failure, GaveUp)> {
        self.failure
    }

    fn conclude(&mut self, outcome: Outcome) {
        if let Some(attempt) = self.current.take() {
            if let Some(made) = &mut self.made {
                made.push(Made { addr: attempt.incarnation().addr(), outcome, duration: attempt.elapsed() });
            }
            attempt.end(outcome);
        }
    }

    /// The current attempt failed. True when another one is reserved and shall be made; it is the current one
    /// then.
    pub fn failed(
        &mut self,
        failure: Failure,
        request: Request<'_>,
        pool: &Arc<Pool>,
        metrics: &Metrics,
    ) -> bool {
        if let Some(attempt) = &mut self.current {
            self.failed.add(attempt.incarnation());
            if retry::may_repeat(failure, request.connection, false) {
                attempt.excuse();
            }
        }
        self.conclude(Outcome::Failed(failure));
        match self.next(failure, request, pool) {
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

    /// The current attempt's response is a failure. True when another attempt is reserved and shall be made; it is the
    /// current one then. Otherwise the response is the client's, and the attempt goes on.
    pub fn replaced(
        &mut self,
        failure: Failure,
        request: Request<'_>,
        pool: &Arc<Pool>,
        metrics: &Metrics,
    ) -> bool {
        if let Some(attempt) = &self.current {
            self.failed.add(attempt.incarnation());
        }
        match self.next(failure, request, pool) {
            Ok(attempt) => {
                self.conclude(Outcome::Failed(failure));
                metrics.retry(failure);
                self.take(attempt);
                true
            }
            Err(why) => {
                self.failure = Some((failure, why));
                self.accepted = Some(failure);
                false
            }
        }
    }

    /// However the current attempt ends, it says nothing about its upstream's health.
    pub const fn excuse(&mut self) {
        if let Some(attempt) = &mut self.current {
            attempt.excuse();
        }
    }

    /// The current attempt waits for longer than it should. True when it is given up for another one, which is
    /// the current one then; otherwise it goes on.
    pub fn overtaken(&mut self, request: Request<'_>, pool: &Arc<Pool>, metrics: &Metrics) -> bool {
        let failure = Failure::FirstByteTimeout;
        let rules = pool.rules();
        if self.patient || retry::may_retry(failure, self.progress(request), &rules.rules).is_err() {
            return false;
        }
        let Ok(attempt) = pool.begin_available(&self.tried, request.choice) else { return false };
        let Ok(attempt) = Self::afford(failure, attempt, pool) else { return false };
        self.conclude(Outcome::Failed(failure));
        metrics.retry(failure);
        self.overtook = true;
        self.repeats = false;
        self.take(attempt);
        true
    }

    fn progress(&self, request: Request<'_>) -> Progress {
        Progress {
            idempotent: request.idempotent,
            nothing_sent: request.nothing_sent,
            replayable: request.replayable,
            response_begun: request.response_begun,
            attempts: self.attempts,
            elapsed_ms: u64::try_from(self.tried_for().as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn next(&mut self, failure: Failure, request: Request<'_>, pool: &Arc<Pool>) -> Result<Attempt, GaveUp> {
        let settings = pool.rules();
        let repeat = retry::may_repeat(failure, request.connection, self.repeated);
        if repeat {
            // A connection that broke while nobody used it does not count as a try.
            self.attempts -= 1;
        }
        retry::may_retry(failure, self.progress(request), &settings.rules).map_err(GaveUp::Rules)?;
        self.repeats = false;
        let why = match pool.begin(&self.tried, request.choice) {
            Ok(attempt) => return Self::afford(failure, attempt, pool),
            Err(why) => why,
        };
        if repeat {
            self.tried.remove_last();
            if let Ok(attempt) = pool.begin(&self.tried, request.choice) {
                (self.repeats, self.repeated) = (true, true);
                return Ok(attempt);
            }
        }
        // Who was slow is a better bet than nobody; but one attempt that waited for all of its time is enough.
        if why == NoUpstream::AllTried && self.overtook && failure != Failure::Timeout {
            (self.overtook, self.patient) = (false, true);
            self.tried.clone_from(&self.failed);
        } else if why == NoUpstream::AllTried && retry::may_wrap(&settings.rules) {
            self.tried.clear();
            self.failed.clear();
        } else {
            return Err(GaveUp::NoUpstream(why));
        }
        let attempt = pool.begin(&self.tried, request.choice).map_err(GaveUp::NoUpstream)?;
        Self::afford(failure, attempt, pool)
    }

    fn afford(failure: Failure, attempt: Attempt, pool: &Pool) -> Result<Attempt, GaveUp> {
        if retry::needs_budget(failure) && !pool.withdraw() {
            attempt.cancel();
            return Err(GaveUp::Budget);
        }
        Ok(attempt)
    }

    /// The current attempt ended otherwise: with the client's answer, or without.
    pub fn end(&mut self, outcome: Outcome) {
        match self.accepted {
            Some(failure) if outcome == Outcome::Ok => self.conclude(Outcome::Failed(failure)),
            _ => self.conclude(outcome),
        }
    }
}
