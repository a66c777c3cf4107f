//! The access log: one line per request, written by a thread of its own.
//!
//! It refuses to be in the way. [`AccessLog::log`] copies a record into a bounded queue and never waits: what
//! finds the queue full is dropped and counted, and so is what a full disk, or a pipe that nobody reads, does not
//! take. What a client sent is cut to a length and escaped, so that it cannot forge a line.

mod format;
mod record;
mod writer;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use self::record::Stored;
pub use self::record::{Attempt, Outcome, Record};
use self::writer::Writer;
use crate::config;

/// The log of this process.
#[derive(Debug)]
pub struct AccessLog {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
    /// One request in this many is logged.
    sample: u64,
    turn: AtomicU64,
    /// Ends when the writer does.
    end: Mutex<Receiver<()>>,
}

enum Message {
    Record(Box<Stored>),
    /// Something changed in [`Shared`].
    Wake,
}

/// What the writer and its users tell each other besides records.
#[derive(Debug, Default)]
struct Shared {
    /// The file is to be opened again.
    reopen: AtomicBool,
    /// The writer is to end when the queue is empty.
    close: AtomicBool,
    /// Records that found the queue full.
    dropped: AtomicU64,
    /// Records that could not be written.
    unwritten: AtomicU64,
}

impl AccessLog {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// When the file cannot be opened (a FIFO must have a reader), or the thread not be started.
    pub fn start(config: &config::AccessLog) -> io::Result<Self> {
        let (queue, records) = mpsc::sync_channel(config.queue.size());
        let (ended, end) = mpsc::sync_channel(0);
        let shared = Arc::new(Shared::default());
        let writer = Writer::open(config, Arc::clone(&shared))?;
        thread::Builder::new().name("lb-access-log".to_owned()).spawn(move || {
            writer.run(&records);
            // From here on records find the queue closed, and are counted. Then `close` may return.
            drop(records);
            drop::<SyncSender<()>>(ended);
        })?;
        let sample = config.sample.get();
        Ok(Self { queue, shared, sample, turn: AtomicU64::new(0), end: Mutex::new(end) })
    }

    /// Logs a request, if it is its turn. Costs a copy of its texts (at most about 9 KB) and never waits.
    pub fn log(&self, record: &Record<'_>) {
        if self.sample > 1 && !self.turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.sample) {
            return;
        }
        if self.queue.try_send(Message::Record(Box::new(Stored::new(record)))).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Opens the file anew, for what is logged from now on: it was moved away. The old one is kept should that
    /// fail, which is logged. Does not wait.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.wake();
    }

    /// Requests that are missing from the log, other than by sampling: those that found the queue full, and
    /// those that could not be written.
    pub fn lost(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed) + self.shared.unwritten.load(Ordering::Relaxed)
    }

    /// Ends the log. Waits until all that was logged is written, or this time is over. True if it is written.
    /// What is logged from now on is lost.
    pub fn close(&self, timeout: Duration) -> bool {
        self.shared.close.store(true, Ordering::Release);
        self.wake();
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(end.recv_timeout(timeout), Err(mpsc::RecvTimeoutError::Disconnected))
    }

    fn wake(&self) {
        match self.queue.try_send(Message::Wake) {
            // With a full queue the writer looks by itself; one that has ended needs no waking.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests;
