//! `GET /heartbeat`: what this instance says about itself, for as long as a reader listens.
//!
//! Each reader has a stream of its own, and an event is made only when the reader's connection can take it:
//! a slow reader gets fewer events, never old ones, costs no queue, and delays nobody. A reader that takes
//! nothing at all for `limits.write_timeout_ms` is cut off by its connection (see [`crate::connection`]).

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};
use wire::{Heartbeat, Status};

use crate::config;
use crate::load::Gauge;
use crate::metrics::Metrics;
use crate::origin::{Origin, Places};

/// How far the service is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It serves.
    Serving,
    /// It says that it will stop, and still serves.
    Draining,
    /// It takes no new connection and finishes what is open.
    Closing,
    /// Streams end too.
    Ended,
}

impl Phase {
    pub(crate) const fn status(self) -> Status {
        match self {
            Self::Serving => Status::Ok,
            Self::Draining | Self::Closing | Self::Ended => Status::Draining,
        }
    }
}

/// Hands out streams, up to the limit of each origin.
#[derive(Debug)]
pub(crate) struct Readers {
    slots: Places,
    settings: config::Heartbeat,
    load: Arc<Gauge>,
    phase: watch::Receiver<Phase>,
    metrics: Metrics,
}

impl Readers {
    pub(crate) fn new(
        settings: config::Heartbeat,
        manager_readers: usize,
        load: Arc<Gauge>,
        phase: watch::Receiver<Phase>,
        metrics: Metrics,
    ) -> Self {
        Self { slots: Places::new(settings.max_readers, manager_readers), settings, load, phase, metrics }
    }

    /// A new stream; none if as many as this origin may have are open.
    pub(crate) fn open(&self, origin: Origin) -> Option<impl Stream<Item = Bytes> + Send + use<>> {
        let slot = self.slots.take(origin)?;
        let mut ticks = tokio::time::interval(self.settings.interval());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut phase = self.phase.clone();
        // The first event tells the present phase; only later ones are news.
        phase.mark_unchanged();
        self.metrics.heartbeat_readers.inc();
        let reader =
            Reader { ticks, phase, load: Arc::clone(&self.load), metrics: self.metrics.clone(), _slot: slot };
        Some(stream::unfold(reader, |mut reader| async move { Some((reader.next().await?, reader)) }))
    }
}

struct Reader {
    ticks: Interval,
    phase: watch::Receiver<Phase>,
    load: Arc<Gauge>,
    metrics: Metrics,
    _slot: tokio::sync::OwnedSemaphorePermit,
}

impl Reader {
    /// The next event: the first at once, then one per interval and one at each change of phase.
    async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            biased;
            changed = self.phase.changed() => changed.ok()?,
            _ = self.ticks.tick() => {}
        }
        let phase = *self.phase.borrow_and_update();
        (phase < Phase::Ended).then(|| event(phase.status(), &self.load))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.metrics.heartbeat_readers.dec();
    }
}

fn event(status: Status, load: &Gauge) -> Bytes {
    let heartbeat = Heartbeat { status, load: Some(load.load()), generation: None };
    // A struct of numbers and a word always serializes.
    let json = serde_json::to_string(&heartbeat).unwrap_or_default();
    format!("data: {json}\n\n").into()
}
