//! The upstream set in force: one immutable snapshot behind one swap.
//!
//! A write makes a whole new snapshot and swaps it in under a lock that only writers take, so crossed writes
//! end in the order of their generations and a request sees either the old set or the new one. What is
//! counted about an upstream lives in its [`Incarnation`], which successive snapshots share. The pool refuses
//! to guess: it knows nothing of an upstream but what it was told, and what requests report.

mod attempt;
mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use wire::{PutUpstreams, Upstream, UpstreamState, UpstreamStatus, UpstreamsView};

pub use self::attempt::{Attempt, NoUpstream, Tried};
pub use self::validate::{Invalid, validate};
use crate::metrics::{AttemptCounters, Metrics};
use crate::policy::select::Schedule;

/// One life of one upstream, and what is counted about it.
#[derive(Debug)]
pub struct Incarnation {
    /// `<node>/<name>`.
    pub id: String,
    /// Which life of that id, from 1.
    pub number: u64,
    /// Unlike any other incarnation's in this process: connections are pooled by it.
    pub key: u64,
    in_flight: AtomicU32,
    attempts: AtomicU64,
    failures: AtomicU64,
    counters: AttemptCounters,
}

/// An upstream in a snapshot.
#[derive(Debug)]
struct Entry {
    spec: Upstream,
    incarnation: Arc<Incarnation>,
}

#[derive(Debug, Default)]
struct Snapshot {
    generation: u64,
    entries: Box<[Entry]>,
    regular: Schedule,
    backup: Schedule,
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

/// The pool of upstreams.
#[derive(Debug)]
pub struct Pool {
    snapshot: ArcSwap<Snapshot>,
    writer: Mutex<()>,
    turn: AtomicUsize,
    keys: AtomicU64,
    generation: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

impl Pool {
    /// An empty pool, at generation 0.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            snapshot: ArcSwap::default(),
            writer: Mutex::new(()),
            turn: AtomicUsize::new(0),
            keys: AtomicU64::new(1),
            generation: watch::Sender::new(0),
            metrics,
        }
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

    /// Must be called with the writers' lock held.
    fn replace(&self, present: &Snapshot, set: PutUpstreams) -> u64 {
        let next = Snapshot::new(set, |spec| {
            let known = present.entries.iter().map(|entry| &entry.incarnation);
            known
                .into_iter()
                .find(|known| known.id == spec.id && known.number == spec.incarnation)
                .map_or_else(|| Arc::new(self.new_incarnation(spec)), Arc::clone)
        });
        let generation = next.generation;
        let gone: BTreeSet<String> = {
            let stay: BTreeSet<&str> = next.entries.iter().map(|entry| entry.spec.id.as_str()).collect();
            let old = present.entries.iter().map(|entry| &entry.spec.id);
            old.filter(|id| !stay.contains(id.as_str())).cloned().collect()
        };
        let up = next.regular.len() + next.backup.len();
        self.metrics.upstreams_up.set(to_gauge(up));
        self.metrics.upstreams_draining.set(to_gauge(next.entries.len() - up));
        self.metrics.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.snapshot.store(Arc::new(next));
        for id in gone {
            self.metrics.forget(&id);
        }
        self.generation.send_replace(generation);
        generation
    }

    fn new_incarnation(&self, spec: &Upstream) -> Incarnation {
        Incarnation {
            id: spec.id.clone(),
            number: spec.incarnation,
            key: self.new_key(),
            in_flight: AtomicU32::new(0),
            attempts: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            counters: self.metrics.attempts_of(&spec.id),
        }
    }

    /// A key under which no connection is pooled.
    pub fn new_key(&self) -> u64 {
        self.keys.fetch_add(1, Ordering::Relaxed)
    }

    /// The generation in force, and each that follows.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Whether some upstream gets new requests.
    pub fn is_usable(&self) -> bool {
        let snapshot = self.snapshot.load();
        !(snapshot.regular.is_empty() && snapshot.backup.is_empty())
    }

    /// The set in force, as it was written.
    pub fn set(&self) -> PutUpstreams {
        let snapshot = self.snapshot.load();
        let upstreams = snapshot.entries.iter().map(|entry| entry.spec.clone()).collect();
        PutUpstreams { generation: snapshot.generation, upstreams }
    }

    /// The set in force and what was counted about each upstream.
    pub fn view(&self) -> UpstreamsView {
        let snapshot = self.snapshot.load();
        let upstreams = snapshot.entries.iter().map(|entry| UpstreamStatus {
            upstream: entry.spec.clone(),
            in_flight: u64::from(entry.incarnation.in_flight.load(Ordering::Relaxed)),
            attempts_total: entry.incarnation.attempts.load(Ordering::Relaxed),
            failures_total: entry.incarnation.failures.load(Ordering::Relaxed),
        });
        UpstreamsView { generation: snapshot.generation, upstreams: upstreams.collect() }
    }

    /// Begins an attempt at the next usable upstream that is not among those tried.
    ///
    /// # Errors
    /// When there is none, with the reason.
    pub fn begin(&self, tried: &Tried) -> Result<Attempt, NoUpstream> {
        let snapshot = self.snapshot.load();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut reason = NoUpstream::None;
        let mut taken = None;
        let mut accept = |index: u16| {
            let entry = &snapshot.entries[usize::from(index)];
            if tried.contains(&entry.incarnation) {
                reason = reason.max(NoUpstream::AllTried);
                return false;
            }
            taken = Attempt::begin(&entry.incarnation, entry.spec.addr, entry.spec.max_conns);
            reason = reason.max(NoUpstream::AllFull);
            taken.is_some()
        };
        if snapshot.regular.pick(turn, &mut accept).is_none() {
            snapshot.backup.pick(turn, &mut accept);
        }
        taken.ok_or(reason)
    }
}

impl Snapshot {
    fn new(set: PutUpstreams, incarnation_of: impl Fn(&Upstream) -> Arc<Incarnation>) -> Self {
        let entries: Box<[Entry]> = set
            .upstreams
            .into_iter()
            .map(|spec| Entry { incarnation: incarnation_of(&spec), spec })
            .collect();
        let schedule = |backup: bool| {
            let members: Vec<(u16, u32)> = (0u16..)
                .zip(entries.iter())
                .filter(|(_, entry)| entry.spec.state == UpstreamState::Up && entry.spec.backup == backup)
                .map(|(index, entry)| (index, entry.spec.weight))
                .collect();
            Schedule::new(&members)
        };
        Self { generation: set.generation, regular: schedule(false), backup: schedule(true), entries }
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
