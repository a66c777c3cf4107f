//! One life of an upstream, as long as it is in the set, and what was observed of it.
//!
//! Unused connections belong to the life they were made to: they are closed when it leaves the set, and the
//! next life at the same address begins without any.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use wire::Upstream;

use super::idle::Idle;
use crate::metrics::{Outcome, UpstreamMetrics};
use crate::policy::health::{Health, Limits};
use crate::policy::retry::Failure;

/// One life of an upstream.
#[derive(Debug)]
pub struct Incarnation {
    pub(super) id: Arc<str>,
    pub(super) number: u64,
    pub(super) addr: SocketAddr,
    /// Unique in this process.
    pub(super) key: u64,
    /// When it joined, in milliseconds of the pool's clock.
    pub(super) born_ms: u64,
    pub(super) in_flight: AtomicU32,
    pub(super) attempts: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) metrics: UpstreamMetrics,
    health: Mutex<Health>,
    /// Whether `health` has anything to say; spares the lock while nothing fails.
    suspect: AtomicBool,
    /// The load balancer's own checks say that it is out.
    check_failed: AtomicBool,
    /// When a byte came from it last, in microseconds of the pool's clock.
    heard_us: AtomicU64,
    gone: CancellationToken,
    /// It gets no new requests, so no connection to it is kept.
    draining: AtomicBool,
    /// By thread.
    idle: Box<[Mutex<Idle>]>,
}

impl Incarnation {
    pub(super) fn new(
        spec: &Upstream,
        key: u64,
        born_ms: u64,
        threads: usize,
        metrics: UpstreamMetrics,
    ) -> Self {
        Self {
            id: spec.id.as_str().into(),
            number: spec.incarnation,
            addr: spec.addr,
            key,
            born_ms,
            in_flight: AtomicU32::new(0),
            attempts: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            metrics,
            health: Mutex::default(),
            suspect: AtomicBool::new(false),
            check_failed: AtomicBool::new(false),
            heard_us: AtomicU64::new(0),
            gone: CancellationToken::new(),
            draining: AtomicBool::new(false),
            idle: (0..threads).map(|_| Mutex::default()).collect(),
        }
    }

    /// Which upstream it is a life of.
    pub const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Its number in this process, from 1: no other incarnation has or had it.
    pub(crate) const fn key(&self) -> u64 {
        self.key
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Done when it has left the set.
    pub const fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    /// It has left the set: attempts that wait for it are cut, unused connections closed.
    pub(super) fn leave(&self) {
        self.gone.cancel();
        self.close_idle();
    }

    /// Whether it gets no new requests from now on; then unused connections are closed.
    pub(super) fn drain(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
        if draining {
            self.close_idle();
        }
    }

    fn close_idle(&self) {
        for idle in &self.idle {
            drop(std::mem::take(&mut *idle.lock().unwrap_or_else(PoisonError::into_inner)));
        }
    }

    /// The unused connections of a thread. The lock is only ever held for a moment.
    pub(crate) fn with_idle<T>(&self, thread: usize, with: impl FnOnce(&mut Idle) -> T) -> Option<T> {
        let mut idle = self.idle.get(thread)?.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: what is put in here after `close_idle` has emptied it would stay open.
        let is_used = !self.gone.is_cancelled() && !self.draining.load(Ordering::Relaxed);
        is_used.then(|| with(&mut idle))
    }

    /// Whether it is neither ejected nor out by the checks.
    pub(super) fn is_available(&self, now_ms: u64, limits: &Limits) -> bool {
        if self.check_failed.load(Ordering::Relaxed) {
            return false;
        }
        !self.suspect.load(Ordering::Relaxed) || self.health().is_available(now_ms, limits)
    }

    /// A request goes to it.
    pub(super) fn chosen(&self, now_ms: u64, limits: &Limits) {
        if self.suspect.load(Ordering::Relaxed) {
            self.health().chosen(now_ms, limits);
        }
    }

    /// An attempt that began then ended so.
    pub(super) fn ended(&self, outcome: Outcome, counts: bool, began_us: u64, now_ms: u64, limits: &Limits) {
        match outcome {
            Outcome::Failed(failure) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                // Slow is not dead: while others hear from it, one request that waits says nothing.
                let silent = self.heard_us.load(Ordering::Relaxed) < began_us;
                if !counts || (failure == Failure::FirstByteTimeout && !silent) {
                    return;
                }
                let ejected = self.health().failed(now_ms, limits);
                self.suspect.store(true, Ordering::Relaxed);
                if ejected {
                    self.metrics.ejections.inc();
                    let reason = failure.as_str();
                    tracing::info!(upstream = %self.id, from = "ok", to = "ejected", reason, "upstream");
                }
            }
            Outcome::Ok if self.suspect.load(Ordering::Relaxed) => {
                let mut health = self.health();
                if health.succeeded(now_ms, limits) {
                    tracing::info!(upstream = %self.id, from = "ejected", to = "ok", reason = "it answers", "upstream");
                }
                if health.is_clean() {
                    self.suspect.store(false, Ordering::Relaxed);
                }
            }
            Outcome::Ok | Outcome::Abandoned | Outcome::Unmade => {}
        }
    }

    /// A byte came from it.
    pub(super) fn heard(&self, now_us: u64) {
        self.heard_us.store(now_us, Ordering::Relaxed);
    }

    /// The verdict of the load balancer's own checks. True when it is another one than before.
    pub(crate) fn checked(&self, good: bool) -> bool {
        self.check_failed.swap(!good, Ordering::Relaxed) == good
    }

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
