//! The manager's end of a VM's virtio-serial port: one JSON value per line, both ways.
//!
//! QEMU listens on the socket and serves one client at a time. What the VM says while nobody is connected is
//! lost, so PID 1 repeats where it stands to everybody who connects, and to everybody who sends an empty line.
//! Messages may therefore come more than once, and have to be taken for what they are: a state, not an event.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use wire::{FromGuest, ToGuest};

/// The longest line in either direction, in bytes, with its newline. The longest there is carries a program's
/// configuration file.
pub const MAX_LINE: usize = 256 * 1024;

/// How long a VM may take to read a line.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// How long QEMU may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the talk with a VM failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket cannot be connected, read or written.
    #[error("the VM's port {path}: {source}")]
    Io {
        /// The socket.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A line is longer than [`MAX_LINE`]. Of a VM's, nothing can be read after it.
    #[error("a line of more than {MAX_LINE} bytes")]
    TooLong,
    /// The VM said something that is not [`FromGuest`]. The next line can be read.
    #[error("the VM said {line:?}: {message}")]
    Malformed {
        /// The line's beginning.
        line: String,
        /// What is wrong with it.
        message: String,
    },
}

/// An open port.
#[derive(Debug)]
pub struct GuestPort {
    stream: UnixStream,
    path: String,
    /// What was read and not yet returned.
    buffer: Vec<u8>,
    /// How much of `buffer` is known to hold no newline.
    searched: usize,
}

/// Ends what a predecessor may have left unfinished, and asks the VM where it stands: it does not notice a
/// connection that follows quickly on another.
const HELLO: &[u8] = b"\n\n";

/// Connects to the port behind `path`. The VM answers by saying where it stands, once it has booted.
///
/// # Errors
/// When there is no QEMU behind it.
pub async fn connect(path: &Path) -> Result<GuestPort, Error> {
    let name = path.display().to_string();
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, async {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(HELLO).await?;
        Ok(stream)
    });
    match connected.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => Ok(GuestPort { stream, path: name, buffer: Vec::new(), searched: 0 }),
        Err(source) => Err(Error::Io { path: name, source }),
    }
}

impl GuestPort {
    /// Sends one message. It waits in the socket until the VM has opened its end.
    ///
    /// After an error, or if the future is dropped, part of a line may have been sent: connect again.
    ///
    /// # Errors
    /// [`Error::TooLong`] sends nothing; others mean that the port is of no more use.
    pub async fn send(&mut self, message: &ToGuest) -> Result<(), Error> {
        self.send_within(message, SEND_TIMEOUT).await
    }

    async fn send_within(&mut self, message: &ToGuest, limit: Duration) -> Result<(), Error> {
        let encoded = serde_json::to_vec(message);
        let mut line = encoded.map_err(|e| self.io(io::Error::other(e)))?;
        line.push(b'\n');
        if line.len() > MAX_LINE {
            return Err(Error::TooLong);
        }
        let sent = tokio::time::timeout(limit, self.stream.write_all(&line)).await;
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|e| self.io(e))
    }

    /// The VM's next message; none when QEMU is gone. Dropping the future loses nothing.
    ///
    /// # Errors
    /// After [`Error::Malformed`] one may go on.
    pub async fn recv(&mut self) -> Result<Option<FromGuest>, Error> {
        loop {
            while let Some(line) = self.take_line() {
                if !line.trim_ascii().is_empty() {
                    return parse(&line).map(Some);
                }
            }
            if self.buffer.len() >= MAX_LINE {
                return Err(Error::TooLong);
            }
            let room = MAX_LINE - self.buffer.len();
            self.buffer.reserve(room.min(4096));
            let read = (&mut self.stream).take(room as u64).read_buf(&mut self.buffer).await;
            match read {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(e) => return Err(self.io(e)),
            }
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let unseen = self.buffer.get(self.searched..)?;
        match unseen.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                let rest = self.buffer.split_off(self.searched + at + 1);
                self.searched = 0;
                Some(std::mem::replace(&mut self.buffer, rest))
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }

    fn io(&self, source: io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }
}

fn parse(line: &[u8]) -> Result<FromGuest, Error> {
    serde_json::from_slice(line).map_err(|e| Error::Malformed {
        line: String::from_utf8_lossy(line).trim_end().chars().take(200).collect(),
        message: e.to_string(),
    })
}

#[cfg(test)]
mod tests;
