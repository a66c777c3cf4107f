//! Beats: each node's short report of itself, sent to every peer every 100 ms and at once when it changes.
//!
//! Only the newest report of a node is worth anything, so nothing is queued: an unread report is replaced by
//! the next, and a reader that was away finds one per node. What a report says is not this module's to know,
//! nor is what silence means.
//!
//! A report is repeated for as long as whoever makes it says that it is true still. Beats must not show a loop as
//! alive that stands.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use super::session::Kind;
use super::transport::Endpoint;

/// Between two beats when nothing changes.
pub const EVERY: Duration = Duration::from_millis(100);
/// The longest payload: with seal and headers it still fits into one packet of any network.
pub const PAYLOAD_MAX_BYTES: usize = 1_200;

/// A payload is too long to be a beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a beat of {0} bytes; {PAYLOAD_MAX_BYTES} are permitted")]
pub struct TooLong(pub usize);

/// The newest beat of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// The peer.
    pub node: String,
    /// The boot of the manager that sent it.
    pub boot: u64,
    /// What it says.
    pub payload: Bytes,
    /// When it arrived.
    pub at: std::time::Instant,
}

/// What this node says of itself.
#[derive(Debug, Clone)]
pub struct Beats {
    said: watch::Sender<Option<Said>>,
}

/// A report and how long it holds.
#[derive(Debug, Clone)]
struct Said {
    payload: Bytes,
    until: Instant,
}

impl Beats {
    pub(super) fn new() -> Self {
        Self { said: watch::Sender::new(None) }
    }

    /// Says `payload` from now on, to each peer at once and then every 100 ms, until `lifetime` has passed without
    /// another call or [`Beats::renew`]. Before the first call nothing is said.
    ///
    /// # Errors
    /// If it is longer than [`PAYLOAD_MAX_BYTES`]; what was said before is said on.
    pub fn set(&self, payload: Bytes, lifetime: Duration) -> Result<(), TooLong> {
        if payload.len() > PAYLOAD_MAX_BYTES {
            return Err(TooLong(payload.len()));
        }
        self.said.send_replace(Some(Said { payload, until: Instant::now() + lifetime }));
        Ok(())
    }

    /// What was said last holds for `lifetime` from now on.
    pub fn renew(&self, lifetime: Duration) {
        self.renew_at(Instant::now(), lifetime);
    }

    fn renew_at(&self, now: Instant, lifetime: Duration) {
        self.said.send_if_modified(|said| {
            let Some(said) = said else { return false };
            let lapsed = said.until <= now;
            said.until = now + lifetime;
            lapsed
        });
    }

    /// Sends the beats until it is dropped; it does not end by itself.
    pub(super) fn run(&self, endpoint: Arc<Endpoint>) -> impl Future<Output = ()> + use<> {
        let mut said = self.said.subscribe();
        async move {
            let mut every = tokio::time::interval(EVERY);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut lapsed = false;
            loop {
                let now = said.borrow_and_update().clone();
                if let Some(Said { payload, until }) = now {
                    let lapses = Instant::now() >= until;
                    if !lapses {
                        endpoint.send_to_all(Kind::Beat, &payload);
                    }
                    if lapses && !lapsed {
                        warn!("no beats any more: who makes this node's report is silent");
                    } else if lapsed && !lapses {
                        info!("beats again: who makes this node's report speaks");
                    }
                    lapsed = lapses;
                }
                every.reset();
                tokio::select! {
                    _ = every.tick() => {}
                    // Who did not know this process took nothing of what it said before.
                    () = endpoint.introduced() => {}
                    changed = said.changed() => if changed.is_err() {
                        return std::future::pending().await;
                    },
                }
            }
        }
    }
}

/// The peers' beats, one place for each.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    unread: Mutex<Unread>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Unread {
    beats: BTreeMap<String, Beat>,
    /// Whose turn it is, so that no peer keeps another's beat from being read.
    order: VecDeque<String>,
}

impl Inbox {
    fn unread(&self) -> MutexGuard<'_, Unread> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `beat` into its node's place. Callers see to it that beats of a node come in order.
    pub(super) fn put(&self, beat: Beat) {
        let mut unread = self.unread();
        let node = beat.node.clone();
        if unread.beats.insert(node.clone(), beat).is_none() {
            unread.order.push_back(node);
        }
        drop(unread);
        self.arrived.notify_one();
    }

    fn take(&self) -> Option<Beat> {
        let mut unread = self.unread();
        let node = unread.order.pop_front()?;
        unread.beats.remove(&node)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.unread().order.len()
    }
}

/// Where the peers' beats come out.
#[derive(Debug)]
pub struct Incoming {
    inbox: Arc<Inbox>,
}

impl Incoming {
    pub(super) const fn new(inbox: Arc<Inbox>) -> Self {
        Self { inbox }
    }

    /// The next unread beat. Dropping the future loses none.
    pub async fn recv(&mut self) -> Beat {
        loop {
            if let Some(beat) = self.inbox.take() {
                return beat;
            }
            // A beat that comes between the two lines leaves a permit behind.
            self.inbox.arrived.notified().await;
        }
    }
}

#[cfg(test)]
mod tests;
