//! The virtio-serial port to the manager: found by name, never blocking, bounded in both directions.
//!
//! While no manager is connected a read says end of file and poll says hang-up at once, so the port must be
//! asked from time to time instead.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::lines::{Line, Lines};

/// Bytes waiting for a slow manager at most.
const MAX_UNSENT: usize = 64 * 1024;
/// How long the kernel may take to announce the port.
const APPEAR: Duration = Duration::from_secs(10);
const APPEAR_STEP: Duration = Duration::from_millis(5);

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    /// The VM has no port of that name.
    #[error("no virtio-serial port named {0} after {APPEAR:?}")]
    Missing(&'static str),
    /// It cannot be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The open port.
#[derive(Debug)]
pub(crate) struct Port {
    file: File,
    lines: Lines,
    unsent: Vec<u8>,
    connected: bool,
    stale: bool,
}

impl Port {
    /// Waits for the port named `name` and opens it.
    ///
    /// # Errors
    /// It does not appear, or cannot be opened.
    pub(crate) fn open(name: &'static str) -> Result<Self, PortError> {
        let path = wait_for(name)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .map_err(|source| PortError::Open { path, source })?;
        Ok(Self { file, lines: Lines::default(), unsent: Vec::new(), connected: false, stale: false })
    }

    /// Whether a manager was connected when the port was last asked.
    pub(crate) fn connected(&self) -> bool {
        self.connected
    }

    /// What poll should wait for.
    pub(crate) fn interest(&self) -> PollFlags {
        if self.unsent.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLIN | PollFlags::POLLOUT }
    }

    /// Asks whether a manager has connected since; true once per connection, or when one missed something
    /// because it did not read.
    ///
    /// # Errors
    /// What poll says.
    pub(crate) fn newly_connected(&mut self) -> io::Result<bool> {
        if self.connected {
            return Ok(self.unsent.is_empty() && std::mem::take(&mut self.stale));
        }
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO)?;
        self.connected = !fds[0].revents().is_some_and(|seen| seen.contains(PollFlags::POLLHUP));
        Ok(self.connected)
    }

    /// Reads what is there and appends whole lines to `out`.
    ///
    /// # Errors
    /// What read says, other than "nothing there" and end of file.
    pub(crate) fn read(&mut self, out: &mut Vec<Line>) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => {
                    self.disconnected();
                    return Ok(());
                }
                Ok(count) => self.lines.push(&buffer[..count], out),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Queues a line. Without a manager it is dropped: whoever connects is told the state.
    pub(crate) fn queue(&mut self, line: &[u8]) {
        if !self.connected {
            return;
        }
        if self.unsent.len() + line.len() >= MAX_UNSENT {
            self.stale = true;
            return;
        }
        self.unsent.extend_from_slice(line);
        self.unsent.push(b'\n');
    }

    /// Writes what the manager takes now.
    ///
    /// # Errors
    /// What write says, other than "not now".
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.file.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn disconnected(&mut self) {
        self.connected = false;
        self.stale = false;
        self.unsent.clear();
        self.lines.reset();
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn wait_for(name: &'static str) -> Result<PathBuf, PortError> {
    let mut waited = Duration::ZERO;
    loop {
        if let Some(path) = find(Path::new("/sys/class/virtio-ports"), name) {
            return Ok(path);
        }
        if waited >= APPEAR {
            return Err(PortError::Missing(name));
        }
        sleep(APPEAR_STEP);
        waited += APPEAR_STEP;
    }
}

fn find(class: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(class).ok()?.flatten().find_map(|entry| {
        let found = fs::read_to_string(entry.path().join("name")).ok()?;
        (found.trim_end() == name).then(|| Path::new("/dev").join(entry.file_name()))
    })
}
