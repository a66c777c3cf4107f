//! A connection with a buffer for what was read and one for what is to be written.
//!
//! Small things are gathered, so that a head and its body are one system call and one segment. Both buffers are
//! bounded by their users: nothing is read while the read buffer is full, and whoever writes asks for room
//! first. While nothing is there, no memory is held, because most connections wait most of the time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::Transport;

/// What is read at a time at first. A read that fills its buffer doubles it.
const READ_BYTES: usize = 8 * 1024;

/// The most that is read at a time.
const READ_BYTES_MAX: usize = 64 * 1024;

/// Above this nobody should put more into the write buffer before some of it has left.
const WRITE_BYTES: usize = 64 * 1024;

/// A write buffer begins with room for a head and a small body.
const WRITE_BYTES_FIRST: usize = 2 * 1024;

/// A buffer of this size is kept for the next request; a larger one is given back.
const KEPT_BYTES: usize = 16 * 1024;

/// A buffered connection.
#[derive(Debug)]
pub(crate) struct Buffered {
    transport: Transport,
    read: BytesMut,
    next_read: usize,
    eof: bool,
    write: Vec<u8>,
    /// Up to here the write buffer was written.
    written: usize,
    /// The transport may hold some of what was written.
    held: bool,
    sent: u64,
}

impl Buffered {
    pub(crate) fn new(transport: Transport) -> Self {
        Self {
            transport,
            read: BytesMut::new(),
            next_read: READ_BYTES,
            eof: false,
            write: Vec::new(),
            written: 0,
            held: false,
            sent: 0,
        }
    }

    /// What was read and not consumed.
    pub(crate) fn input(&self) -> &[u8] {
        &self.read
    }

    /// Takes bytes from the front of [`Buffered::input`].
    pub(crate) fn consume(&mut self, n: usize) {
        self.read.advance(n);
    }

    /// Whether the peer has ended its direction.
    pub(crate) const fn is_eof(&self) -> bool {
        self.eof
    }

    /// Reads more, once; 0 is the end. The caller bounds what it lets pile up.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        self.read.reserve(self.next_read);
        let offered = self.read.capacity() - self.read.len();
        match poll_read_buf(Pin::new(&mut self.transport), cx, &mut self.read) {
            Poll::Pending => {
                if self.read.is_empty() {
                    self.read = BytesMut::new();
                }
                Poll::Pending
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Ready(Ok(n)) => {
                self.eof = n == 0;
                if n == offered {
                    self.next_read = (self.next_read * 2).min(READ_BYTES_MAX);
                }
                Poll::Ready(Ok(n))
            }
        }
    }

    /// Where to put what is to be written.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        if self.write.capacity() == 0 {
            self.write.reserve(WRITE_BYTES_FIRST);
        }
        &mut self.write
    }

    /// Whether more may be put into the output now.
    pub(crate) fn has_room(&self) -> bool {
        self.write.len() - self.written < WRITE_BYTES
    }

    /// Whether all that was put out has left.
    pub(crate) fn is_flushed(&self) -> bool {
        self.written == self.write.len() && !self.held
    }

    /// Bytes written in the connection's life.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Ends our direction, when all is written.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }

    /// Writes as much as can be; ready when all is written.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.write.len() {
            let left = &self.write[self.written..];
            let n = ready!(Pin::new(&mut self.transport).poll_write(cx, left))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
            self.sent += n as u64;
            self.held = true;
        }
        self.written = 0;
        self.write.clear();
        if self.write.capacity() > KEPT_BYTES {
            self.write = Vec::new();
        }
        if self.held {
            // TLS keeps what the socket does not take; for TCP this does nothing.
            ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
            self.held = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Between two requests: gives back what is larger than usual.
    pub(crate) fn trim(&mut self) {
        self.next_read = READ_BYTES;
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
        if self.is_flushed() {
            self.write = Vec::new();
            self.written = 0;
        }
    }

    /// Whether an idle connection is as it was left: open, and without a byte that nobody asked for. It costs
    /// a system call only when something happened.
    pub(crate) fn is_quiet(&mut self) -> bool {
        if self.eof || !self.read.is_empty() {
            return false;
        }
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.transport).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// The connection itself.
    pub(crate) const fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The connection, with what was read and not consumed put back.
    pub(crate) fn into_transport(mut self) -> Transport {
        self.transport.unread(&self.read);
        self.transport
    }
}
