//! The upstream set in force: one immutable snapshot behind one swap.
//!
//! A write makes a whole new snapshot and swaps it in under a lock that only writers take, so crossed writes
//! end in the order of their generations and a request sees either the old set or the new one. What is
//! observed of an upstream lives in its [`Incarnation`], which successive snapshots share. An incarnation that
//! is not in the new snapshot is told so at once: attempts that wait for it are cut, its unused connections
//! closed. The pool refuses to guess: it knows nothing of an upstream but what it was told, and what requests
//! and checks report.

mod attempt;
mod idle;
mod incarnation;
mod snapshot;
mod validate;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use wire::{PutUpstreams, Upstream, UpstreamStatus, UpstreamsView};

pub use self::attempt::{Attempt, NoUpstream, Tried};
pub(crate) use self::idle::Idle;
pub use self::incarnation::Incarnation;
use self::snapshot::{Entry, Snapshot};
pub use self::validate::{Invalid, MAX_GENERATION, validate};
use crate::metrics::{Metrics, Outcome, Seen, State};
use crate::patience;
use crate::policy::budget::Budget;
use crate::policy::deadline::FirstByte;
use crate::policy::health;
use crate::policy::retry::{self, Failure, Rules};
use crate::policy::select::{Balance, Hint};
use crate::policy::slow_start;

/// How the pool chooses and judges.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How an upstream is chosen.
    pub balance: Balance,
    /// When an upstream is ejected.
    pub health: health::Limits,
    /// How long a new incarnation takes to get its full share, in milliseconds; 0: it has it at once.
    pub slow_start_ms: u64,
    /// What may be retried, and so what counts as a failure.
    pub rules: Rules,
    /// Bounds of the wait for the first byte, in milliseconds.
    pub first_byte_ms: (u64, u64),
    /// That wait in percent of the 99th percentile.
    pub first_byte_percent: u32,
    /// Retries in percent of the requests.
    pub budget_percent: u32,
    /// Retries per second that are always allowed.
    pub budget_min_per_second: u32,
}

/// Why a write was refused. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is older than the set in force.
    #[error("generation {got} is older than the present generation {present}")]
    Stale {
        /// The generation of the write.
        got: u64,
        /// The generation in force.
        present: u64,
    },
    /// It has the present generation, but is not the set in force.
    #[error("generation {present} is in force with another set")]
    Conflict {
        /// The generation in force.
        present: u64,
    },
    /// There is no such upstream to remove.
    #[error("no upstream has the id {id:?} (present generation {present})")]
    Unknown {
        /// The id asked for.
        id: String,
        /// The generation in force.
        present: u64,
    },
}

/// What a choice depends on, beside the upstreams.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    /// The request's key for consistent hashing; empty with other balances, and when a request has none.
    pub key: &'a [u8],
    /// Evenly distributed.
    pub random: u64,
}

/// The pool of upstreams.
#[derive(Debug)]
pub struct Pool {
    snapshot: ArcSwap<Snapshot>,
    settings: ArcSwap<Settings>,
    writer: Mutex<()>,
    threads: usize,
    turn: AtomicUsize,
    keys: AtomicU64,
    generation: watch::Sender<u64>,
    /// Those who wait for an upstream to take their request, and were at none yet: each can use any place.
    waiting: Notify,
    /// Those who wait and were at some already, so that a place there is of no use to them.
    waiting_again: Notify,
    first_byte: FirstByte,
    budget: Mutex<Budget>,
    began: Instant,
    metrics: Arc<Metrics>,
}

impl Pool {
    /// An empty pool, at generation 0, for so many threads.
    pub fn new(settings: Settings, threads: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        let empty = PutUpstreams { generation: 0, upstreams: Vec::new() };
        let snapshot = Snapshot::new(empty, settings.balance, None, |_| unreachable!("the set is empty"));
        let (min, max) = settings.first_byte_ms;
        let first_byte = FirstByte::new(min, max, settings.first_byte_percent);
        let budget = Budget::new(settings.budget_percent, settings.budget_min_per_second, 0);
        Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            settings: ArcSwap::from_pointee(settings),
            writer: Mutex::new(()),
            threads,
            turn: AtomicUsize::new(0),
            keys: AtomicU64::new(1),
            generation: watch::Sender::new(0),
            waiting: Notify::new(),
            waiting_again: Notify::new(),
            first_byte,
            budget: Mutex::new(budget),
            began: Instant::now(),
            metrics,
        })
    }

    /// Puts a full set in force. The caller has validated it. Answers the generation now in force.
    ///
    /// # Errors
    /// When it is older than the present set, or as old and not equal.
    pub fn put(&self, set: PutUpstreams) -> Result<u64, Refused> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let present = self.snapshot.load_full();
        if set.generation < present.generation {
            return Err(Refused::Stale { got: set.generation, present: present.generation });
        }
        if set.generation == present.generation {
            return if same_set(&present, &set.upstreams) {
                Ok(present.generation)
            } else {
                Err(Refused::Conflict { present: present.generation })
            };
        }
        Ok(self.replace(&present, set))
    }

    /// Removes one upstream. Answers the generation now in force.
    ///
    /// # Errors
    /// When there is no such upstream, or `generation` is not newer than the present one.
    pub fn remove(&self, id: &str, generation: u64) -> Result<u64, Refused> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let present = self.snapshot.load_full();
        if !present.entries.iter().any(|entry| entry.spec.id == id) {
            return Err(Refused::Unknown { id: id.to_owned(), present: present.generation });
        }
        if generation <= present.generation {
            return Err(Refused::Stale { got: generation, present: present.generation });
        }
        let rest = present.entries.iter().filter(|entry| entry.spec.id != id);
        let upstreams = rest.map(|entry| entry.spec.clone()).collect();
        Ok(self.replace(&present, PutUpstreams { generation, upstreams }))
    }

    /// From now on it chooses and judges so. The set stays.
    pub fn reconfigure(&self, settings: Settings) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (min, max) = settings.first_byte_ms;
        self.first_byte.reconfigure(min, max, settings.first_byte_percent);
        self.budget().reconfigure(settings.budget_percent, settings.budget_min_per_second);
        self.settings.store(Arc::new(settings));
        self.replace(&self.snapshot.load_full(), self.set());
    }

    /// Must be called with the writers' lock held.
    fn replace(&self, present: &Snapshot, set: PutUpstreams) -> u64 {
        let mut known: HashMap<&str, &Arc<Incarnation>> = HashMap::with_capacity(present.entries.len());
        known.extend(present.entries.iter().map(|entry| (entry.spec.id.as_str(), &entry.incarnation)));
        let mut succeeded = Vec::new();
        let incarnation_of = |spec: &Upstream| match known.remove(spec.id.as_str()) {
            Some(known) if known.number == spec.incarnation && known.addr == spec.addr => Arc::clone(known),
            earlier => {
                succeeded.extend(earlier);
                Arc::new(self.new_incarnation(spec))
            }
        };
        let balance = self.settings.load().balance;
        let next = Arc::new(Snapshot::new(set, balance, Some(present), incarnation_of));
        patience::between(next.entries.len());
        let generation = next.generation;
        let drained =
            next.entries.iter().filter(|entry| entry.spec.state == wire::UpstreamState::Draining).count();
        self.metrics.upstreams_up.set(to_gauge(next.entries.len() - drained));
        self.metrics.upstreams_draining.set(to_gauge(drained));
        self.metrics.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.snapshot.store(Arc::clone(&next));
        next.refresh();
        for incarnation in succeeded {
            incarnation.leave();
        }
        // The ids that the next set does not have.
        for (id, incarnation) in known {
            incarnation.leave();
            self.metrics.forget(id);
        }
        for entry in &next.entries {
            entry.incarnation.drain(entry.spec.state == wire::UpstreamState::Draining);
        }
        self.generation.send_replace(generation);
        self.waiting.notify_waiters();
        self.waiting_again.notify_waiters();
        generation
    }

    fn new_incarnation(&self, spec: &Upstream) -> Incarnation {
        let key = self.keys.fetch_add(1, Ordering::Relaxed);
        Incarnation::new(spec, key, self.now_ms(), self.threads, self.metrics.upstream(&spec.id))
    }

    /// The generation in force, and each that follows.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Whether some upstream gets new requests.
    pub fn is_usable(&self) -> bool {
        self.snapshot.load().is_usable()
    }

    /// The set in force, as it was written.
    pub fn set(&self) -> PutUpstreams {
        let snapshot = self.snapshot.load();
        let upstreams = snapshot.entries.iter().map(|entry| entry.spec.clone()).collect();
        PutUpstreams { generation: snapshot.generation, upstreams }
    }

    /// The set in force and what was observed of each upstream.
    pub fn view(&self) -> UpstreamsView {
        let snapshot = self.snapshot.load();
        let (now_ms, limits) = (self.now_ms(), self.settings.load().health);
        let upstreams = snapshot.entries.iter().map(|entry| UpstreamStatus {
            upstream: entry.spec.clone(),
            available: entry.incarnation.is_available(now_ms, &limits),
            in_flight: u64::from(entry.incarnation.in_flight.load(Ordering::Relaxed)),
            attempts_total: entry.incarnation.attempts.load(Ordering::Relaxed),
            failures_total: entry.incarnation.failures.load(Ordering::Relaxed),
        });
        UpstreamsView { generation: snapshot.generation, upstreams: upstreams.collect() }
    }

    /// What the metrics show of each upstream in the set.
    pub fn seen(&self) -> Vec<Seen> {
        let snapshot = self.snapshot.load();
        let (now_ms, limits) = (self.now_ms(), self.settings.load().health);
        // Without ejection only the checks speak against it.
        let checks_only = health::Limits { max_fails: 0, ..limits };
        let seen = snapshot.entries.iter().map(|Entry { spec, incarnation }| {
            let is_available = incarnation.is_available(now_ms, &limits);
            let state = if !incarnation.is_available(now_ms, &checks_only) {
                State::Down
            } else if !is_available {
                State::Ejected
            } else if spec.state == wire::UpstreamState::Draining {
                State::Draining
            } else {
                State::Up
            };
            let in_flight = incarnation.in_flight.load(Ordering::Relaxed);
            Seen { id: Arc::clone(incarnation.id()), in_flight, is_available, state }
        });
        seen.collect()
    }

    /// The incarnations in the set.
    pub fn incarnations(&self) -> Vec<Arc<Incarnation>> {
        self.snapshot.load().entries.iter().map(|entry| Arc::clone(&entry.incarnation)).collect()
    }

    /// Begins an attempt at the next usable upstream that is not among those tried.
    ///
    /// Upstreams that are ejected, or out by the checks, come last, because a guess that they are back is
    /// better than an error; backups come after all others that are available.
    ///
    /// # Errors
    /// When there is none, with the reason.
    pub fn begin(self: &Arc<Self>, tried: &Tried, choice: Choice<'_>) -> Result<Attempt, NoUpstream> {
        self.pick(tried, choice, &[Pass::Due, Pass::Available, Pass::Backup, Pass::Any, Pass::AnyBackup])
    }

    /// The same, but only at an upstream that nothing speaks against.
    ///
    /// # Errors
    /// When there is none, with the reason.
    pub fn begin_available(
        self: &Arc<Self>,
        tried: &Tried,
        choice: Choice<'_>,
    ) -> Result<Attempt, NoUpstream> {
        self.pick(tried, choice, &[Pass::Available, Pass::Backup])
    }

    fn pick(
        self: &Arc<Self>,
        tried: &Tried,
        choice: Choice<'_>,
        passes: &[Pass],
    ) -> Result<Attempt, NoUpstream> {
        let snapshot = self.snapshot.load();
        let settings = self.settings.load();
        let now_ms = self.now_ms();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        // Requests without a key are spread, as nginx does, instead of all going to one upstream.
        let spread = choice.random.to_le_bytes();
        let key = if choice.key.is_empty() { &spread } else { choice.key };
        let hint = Hint { turn, random: choice.random, key };
        let in_flight =
            |index: u16| snapshot.entries[usize::from(index)].incarnation.in_flight.load(Ordering::Relaxed);
        let mut reason = NoUpstream::None;
        for pass in passes {
            let selector = if pass.of_backups() { &snapshot.backup } else { &snapshot.regular };
            let mut taken = None;
            let accept = |index: u16| {
                let entry = &snapshot.entries[usize::from(index)];
                if tried.contains(&entry.incarnation) {
                    reason = reason.max(NoUpstream::AllTried);
                    return false;
                }
                if !pass.takes(&entry.incarnation, now_ms, &settings, choice.random) {
                    return false;
                }
                taken = Attempt::begin(self, &entry.incarnation, entry.spec.max_conns);
                if taken.is_none() {
                    reason = reason.max(NoUpstream::AllFull);
                }
                taken.is_some()
            };
            if let Some(index) = selector.pick(&hint, in_flight, accept) {
                snapshot.changed_at(index, in_flight(index));
            }
            if let Some(attempt) = taken {
                attempt.incarnation().chosen(now_ms, &settings.health);
                return Ok(attempt);
            }
        }
        Err(reason)
    }

    /// Whether some retry may still be made that adds to the load of the service.
    pub fn withdraw(&self) -> bool {
        let (now_ms, requests) = (self.now_ms(), self.metrics.requests_begun());
        self.budget().withdraw(now_ms, requests)
    }

    fn budget(&self) -> std::sync::MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long to wait for the first byte of a response.
    pub const fn first_byte(&self) -> &FirstByte {
        &self.first_byte
    }

    /// What may be retried.
    pub fn rules(&self) -> arc_swap::Guard<Arc<Settings>> {
        self.settings.load()
    }

    fn ended(&self, attempt: &Attempt, in_flight: u32) {
        let settings = self.settings.load();
        let &Attempt { ref incarnation, outcome, began_us, excused, .. } = attempt;
        let counts = !excused
            && matches!(outcome, Outcome::Failed(failure) if retry::counts_as_fail(failure, &settings.rules));
        if outcome == Outcome::Failed(Failure::Cut) {
            self.metrics.cuts.inc();
        }
        incarnation.ended(outcome, counts, began_us, self.now_ms(), &settings.health);
        self.snapshot.load().changed(incarnation, in_flight);
    }

    /// Done when an upstream may be there for a request that waits: the set has changed, or an attempt ended
    /// at an upstream that was full. Enable it before looking once more. `again`: the request was at some
    /// upstream already.
    pub(crate) fn wait(&self, again: bool) -> tokio::sync::futures::Notified<'_> {
        if again { self.waiting_again.notified() } else { self.waiting.notified() }
    }

    /// One place is for one of those who can use any. Whether it is for one of the others is theirs to see.
    fn place_freed(&self) {
        self.waiting.notify_one();
        self.waiting_again.notify_waiters();
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn now_ms(&self) -> u64 {
        self.now_us() / 1000
    }
}

/// Who is asked for, one pass after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Available, and its turn while it starts slowly.
    Due,
    /// Available.
    Available,
    /// An available backup.
    Backup,
    /// Any that is not a backup.
    Any,
    /// Any backup.
    AnyBackup,
}

impl Pass {
    const fn of_backups(self) -> bool {
        matches!(self, Self::Backup | Self::AnyBackup)
    }

    fn takes(self, incarnation: &Incarnation, now_ms: u64, settings: &Settings, random: u64) -> bool {
        match self {
            Self::Due if settings.slow_start_ms > 0 => {
                let age_ms = now_ms.saturating_sub(incarnation.born_ms);
                let share = slow_start::share(age_ms, settings.slow_start_ms);
                // Another part of the random number than the one that chooses.
                let random = u32::try_from(random >> 32).unwrap_or(0);
                slow_start::admits(share, random) && incarnation.is_available(now_ms, &settings.health)
            }
            Self::Due | Self::Available | Self::Backup => incarnation.is_available(now_ms, &settings.health),
            Self::Any | Self::AnyBackup => true,
        }
    }
}

/// Whether both hold the same upstreams, in whatever order.
fn same_set(present: &Snapshot, upstreams: &[Upstream]) -> bool {
    let by_id: BTreeMap<&str, &Upstream> =
        present.entries.iter().map(|entry| (entry.spec.id.as_str(), &entry.spec)).collect();
    by_id.len() == upstreams.len()
        && upstreams.iter().all(|upstream| by_id.get(upstream.id.as_str()) == Some(&upstream))
}

fn to_gauge(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
