//! The load balancer's own checks of its upstreams, for use without a manager that knows better (nginx Plus:
//! `health_check`, HAProxy: `option httpchk`).
//!
//! Every incarnation in the set is asked for a path once in an interval, whether or not it gets requests, in the protocol
//! that is spoken with upstreams. So many bad checks in a row take it out, so many good ones bring it back; a new one
//! is good until found bad. Out means: it gets requests only when no other upstream is left.
//!
//! It refuses to be a burden: checks are spread over the interval, never more than 256 at a time or 2,000 in a second,
//! and an upstream is never asked twice at a time. It runs beside the admin API, away from the traffic.

mod probe;
mod schedule;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub use self::probe::Finding;
use self::probe::{Found, Question, ask};
use self::schedule::Schedule;
use self::verdict::{Limits, Verdict};
use crate::config::{self, Config, Protocol};
use crate::metrics::Metrics;
use crate::net::Connector;
use crate::pool::{Incarnation, Pool};

/// The most checks at a time.
const MOST_AT_ONCE: usize = 256;

/// How often a new set is looked at. With many sets in a second each one would cost a walk through all upstreams.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How to check.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    check: config::Check,
    protocol: Protocol,
    ack_timeout: Duration,
}

impl Settings {
    /// As configured; none when there are to be no checks.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        Some(Self {
            check: config.check.clone()?,
            protocol: config.upstream.protocol,
            ack_timeout: config.upstream.ack_timeout_ms.duration(),
        })
    }

    fn limits(&self) -> Limits {
        Limits { rise: self.check.rise.int(), fall: self.check.fall.int() }
    }

    async fn ask(&self, incarnation: &Incarnation) -> Found {
        let question = Question {
            connector: Connector { ack_timeout: self.ack_timeout },
            protocol: self.protocol,
            path: self.check.path.as_str(),
            timeout: self.check.timeout_ms.duration(),
            expect_status: u16::try_from(self.check.expect_status.get()).unwrap_or(u16::MAX),
        };
        ask(incarnation.addr(), question).await
    }
}

/// An upstream that is checked.
struct Member {
    incarnation: Arc<Incarnation>,
    verdict: Verdict,
}

/// A check that was made.
struct Made {
    key: u64,
    was_due: Instant,
    member: Member,
    found: Found,
}

/// Checks as the settings say, and from the beginning when they change, until their sender is gone.
pub(crate) async fn run(
    pool: Arc<Pool>,
    metrics: Arc<Metrics>,
    mut settings: watch::Receiver<Option<Settings>>,
) {
    loop {
        let present = settings.borrow_and_update().clone();
        let changed = async {
            // Those of an equal configuration change nothing.
            settings.wait_for(|settings| *settings != present).await.is_ok()
        };
        let goes_on = match present.clone() {
            Some(present) => tokio::select! {
                goes_on = changed => goes_on,
                () = check(&pool, &metrics, Arc::new(present)) => true,
            },
            None => changed.await,
        };
        // What other settings found says nothing under the new ones, or without any.
        for incarnation in pool.incarnations() {
            if incarnation.checked(true) {
                tracing::info!(upstream = %incarnation.id(), from = "out", to = "ok", reason = "checks changed", "upstream");
            }
        }
        if !goes_on {
            return;
        }
    }
}

/// Checks for ever.
async fn check(pool: &Pool, metrics: &Metrics, settings: Arc<Settings>) {
    let mut generations = pool.generations();
    let mut schedule = Schedule::new(settings.check.interval_ms.duration());
    let mut under_way = JoinSet::new();
    let mut look = Some(Instant::now());
    let mut is_late = false;
    generations.borrow_and_update();
    loop {
        let due = schedule.next_due().filter(|_| under_way.len() < MOST_AT_ONCE);
        tokio::select! {
            () = sleep_until(look.unwrap_or_else(Instant::now)), if look.is_some() => {
                look = None;
                let members = pool.incarnations().into_iter().map(|one| (one.key(), one)).collect();
                let begin = |incarnation| Member { incarnation, verdict: Verdict::default() };
                schedule.update(Instant::now(), members, begin);
                warn_when_late(&mut is_late, &schedule, &settings);
            }
            changed = generations.changed(), if look.is_none() => match changed {
                Ok(()) => look = Some(Instant::now() + LOOK_EVERY),
                Err(_) => return,
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                if let Some((key, was_due, member)) = schedule.take(Instant::now()) {
                    let settings = Arc::clone(&settings);
                    under_way.spawn(async move {
                        let found = settings.ask(&member.incarnation).await;
                        Made { key, was_due, member, found }
                    });
                }
            }
            Some(made) = under_way.join_next() => {
                // A check that panicked was logged where it did; its upstream is not checked any more.
                let Ok(Made { key, was_due, mut member, found }) = made else { continue };
                metrics.check(found.finding);
                judge(&mut member, &found, settings.limits());
                schedule.put_back(Instant::now(), key, was_due, member);
            }
        }
    }
}

fn judge(member: &mut Member, found: &Found, limits: Limits) {
    let good = match found.finding {
        Finding::Good => true,
        Finding::Unmade => return,
        Finding::Status | Finding::Connect | Finding::Timeout | Finding::Broken | Finding::Invalid => false,
    };
    let Some(good) = member.verdict.observe(good, limits) else { return };
    // One that has left the set is nobody's concern.
    if member.incarnation.checked(good) && !member.incarnation.gone().is_cancelled() {
        let (from, to) = if good { ("out", "ok") } else { ("ok", "out") };
        let reason = if good { "checks are good" } else { found.reason.as_str() };
        tracing::info!(upstream = %member.incarnation.id(), from, to, reason, "upstream");
    }
}

/// Says once that not everyone can be asked as often as configured.
fn warn_when_late(is_late: &mut bool, schedule: &Schedule<Member>, settings: &Settings) {
    let (beat, interval) = (schedule.beat(), settings.check.interval_ms.duration());
    if beat > interval && !*is_late {
        let (interval_ms, beat_ms) = (interval.as_millis(), beat.as_millis());
        tracing::warn!(
            interval_ms,
            beat_ms,
            "there are too many upstreams to check each of them in an interval"
        );
    }
    *is_late = beat > interval;
}
