//! The thread that writes the log.
//!
//! It writes what is in the queue in pieces of many lines. What cannot be written is given up at once: keeping
//! it would only move the loss to newer lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::{Message, Shared, format};
use crate::config::{self, LogFormat, LogTarget};

/// A piece is written when it has this size, or the queue is empty.
const PIECE_BYTES: usize = 64 * 1024;

/// Between two complaints.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// Reading it needs to be in the administrator's group: it says who did what.
const MODE: u32 = 0o640;

pub(super) struct Writer {
    target: LogTarget,
    format: LogFormat,
    output: File,
    shared: Arc<Shared>,
    /// Lines that are not written yet, and how many they are.
    piece: Vec<u8>,
    lines: u64,
    /// Whether the last line written has no end.
    torn: bool,
    complained: Complained,
}

/// What the last complaint was about.
struct Complained {
    at: Option<Instant>,
    lost: u64,
}

impl Complained {
    fn is_due(&self) -> bool {
        self.at.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY)
    }
}

impl Writer {
    pub(super) fn open(config: &config::AccessLog, shared: Arc<Shared>) -> io::Result<Self> {
        Ok(Self {
            output: open(&config.path)?,
            target: config.path.clone(),
            format: config.format,
            shared,
            piece: Vec::with_capacity(PIECE_BYTES),
            lines: 0,
            torn: false,
            complained: Complained { at: None, lost: 0 },
        })
    }

    /// Writes what comes until there is nothing to come, or it is told to end.
    pub(super) fn run(mut self, records: &Receiver<Message>) {
        loop {
            // Looked at before the queue is: what was logged before the end was asked for is in it then.
            let closing = self.shared.close.load(Ordering::Acquire);
            while let Ok(message) = records.try_recv() {
                self.take(message);
            }
            self.write();
            self.complain();
            if closing {
                return;
            }
            // One that wants the end, or a new file, and finds the queue full, leaves it to the records in it to
            // wake this thread. They may be gone by now.
            if self.shared.close.load(Ordering::Acquire) {
                continue;
            }
            match records.recv() {
                Ok(message) => self.take(message),
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, message: Message) {
        if self.shared.reopen.load(Ordering::Relaxed) && self.shared.reopen.swap(false, Ordering::Acquire) {
            self.reopen();
        }
        let Message::Record(record) = message else { return };
        format::line(self.format, &record, &mut self.piece);
        self.lines += 1;
        if self.piece.len() >= PIECE_BYTES {
            self.write();
            self.complain();
        }
    }

    /// Writes the piece, or gives it up.
    fn write(&mut self) {
        if self.lines == 0 {
            return;
        }
        if let Err((e, written)) = write_lines(&mut self.output, &mut self.torn, &self.piece) {
            let whole = self.piece[..written].iter().filter(|&&byte| byte == b'\n').count() as u64;
            self.shared.unwritten.fetch_add(self.lines - whole, Ordering::Relaxed);
            if self.complained.is_due() {
                tracing::warn!(path = %self.target, "access log not written: {e}");
            }
        }
        self.piece.clear();
        self.lines = 0;
    }

    fn reopen(&mut self) {
        // What was logged before belongs to the old file.
        self.write();
        match open(&self.target) {
            Ok(output) => {
                self.output = output;
                self.torn = false;
                tracing::info!(path = %self.target, "access log opened again");
            }
            Err(e) => tracing::warn!(path = %self.target, "access log not opened again: {e}"),
        }
    }

    /// Says how many lines are lost, when there are new ones, but not all the time.
    fn complain(&mut self) {
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        let unwritten = self.shared.unwritten.load(Ordering::Relaxed);
        let lost = dropped + unwritten;
        if lost == self.complained.lost || self.complained.at.is_some_and(|at| at.elapsed() < COMPLAIN_EVERY)
        {
            return;
        }
        self.complained = Complained { at: Some(Instant::now()), lost };
        tracing::warn!(path = %self.target, dropped, unwritten, "access log has lost lines");
    }
}

/// Writes lines, after ending one that was `torn` before. An error comes with how many bytes were written; the
/// last line is torn then if it is not whole.
fn write_lines(output: &mut impl Write, torn: &mut bool, lines: &[u8]) -> Result<(), (io::Error, usize)> {
    if *torn {
        output.write_all(b"\n").map_err(|e| (e, 0))?;
        *torn = false;
    }
    let mut written = 0;
    while written < lines.len() {
        let error = match output.write(&lines[written..]) {
            Ok(0) => io::ErrorKind::WriteZero.into(),
            Ok(n) => {
                written += n;
                continue;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => e,
        };
        *torn = written > 0 && lines[written - 1] != b'\n';
        return Err((error, written));
    }
    Ok(())
}

fn open(target: &LogTarget) -> io::Result<File> {
    match target {
        // Without the buffers of the standard library, in which lines would wait after an error.
        LogTarget::Stdout => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        LogTarget::Stderr => Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
        LogTarget::File(path) => {
            // To open a FIFO that nobody reads would wait for ever otherwise.
            let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
            let mut options = OpenOptions::new();
            let file = options.append(true).create(true).mode(MODE).custom_flags(nonblocking).open(path)?;
            fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
            Ok(file)
        }
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
