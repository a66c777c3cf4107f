//! A client on an HTTP/1.1 connection.

use std::io;
use std::task::{Context, Poll, ready};

use super::super::message::{BodyError, Encoder, Piece, poll_body};
use super::super::rewrite::{absent_length, response_fields};
use crate::http1::{
    BodyLength, Decoder, Fields, ResponseHead, Version, put_field, put_number_field, put_status_line,
};
use crate::net::Buffered;

/// While an answer is awaited, so much of what follows the request is read, to notice a client that is gone.
const READ_AHEAD_BYTES: usize = 16 * 1024;

/// A client.
pub(crate) struct H1Client<'a> {
    io: &'a mut Buffered,
    decoder: &'a mut Decoder,
    version: Version,
    /// The client reckons with another answer on this connection, and has to be told if there is none.
    persists: bool,
    encoder: Encoder,
}

impl<'a> H1Client<'a> {
    /// The client of a request that has this version and whose body is of this length.
    pub(crate) fn new(
        io: &'a mut Buffered,
        decoder: &'a mut Decoder,
        version: Version,
        length: BodyLength,
        persists: bool,
    ) -> Self {
        decoder.reset(length);
        Self { io, decoder, version, persists, encoder: Encoder::new(BodyLength::Empty) }
    }

    pub(super) const fn version(&self) -> Version {
        self.version
    }

    /// The connection.
    pub(super) const fn io(&mut self) -> &mut Buffered {
        self.io
    }

    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        sink: impl FnMut(&[u8]),
    ) -> Poll<Result<Piece, BodyError>> {
        poll_body(cx, self.io, self.decoder, sink)
    }

    pub(super) const fn trailers(&self) -> Option<&Fields> {
        Some(self.decoder.trailers())
    }

    pub(super) fn is_body_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// A client that has ended its direction may still read, and often does: only an error says that it is gone.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.io.is_eof() && self.io.input().len() < READ_AHEAD_BYTES {
            if ready!(self.io.poll_fill(cx)).is_err() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    pub(super) fn interim(&mut self, head: &ResponseHead) {
        // HTTP/1.0 knows none: RFC 9110, section 15.2.
        if self.version != Version::Http10 {
            let out = self.io.output();
            put_status_line(out, Version::Http11, head.status(), head.reason());
            response_fields(head, |name, value| put_field(out, name, value));
            out.extend_from_slice(b"\r\n");
        }
    }

    pub(super) fn start(&mut self, head: &ResponseHead, length: BodyLength, close: bool) {
        self.encoder = Encoder::new(length);
        let out = self.io.output();
        put_status_line(out, Version::Http11, head.status(), head.reason());
        response_fields(head, |name, value| put_field(out, name, value));
        match length {
            BodyLength::Fixed(length) => put_number_field(out, b"Content-Length", length),
            BodyLength::Chunked => put_field(out, b"Transfer-Encoding", b"chunked"),
            BodyLength::Empty => {
                if let Some(length) = absent_length(head) {
                    put_field(out, b"Content-Length", length);
                }
            }
            BodyLength::UntilClose => {}
        }
        if let Some(protocol) = head.upgrade().filter(|_| head.status() == 101) {
            put_field(out, b"Connection", b"upgrade");
            put_field(out, b"Upgrade", protocol);
        } else if close && (self.persists || self.version == Version::Http11) {
            put_field(out, b"Connection", b"close");
        } else if !close && self.version == Version::Http10 {
            put_field(out, b"Connection", b"keep-alive");
        }
        out.extend_from_slice(b"\r\n");
    }

    pub(super) fn has_room(&self) -> bool {
        self.io.has_room()
    }

    pub(super) fn push(&mut self, data: &[u8]) {
        self.encoder.put(self.io.output(), data);
    }

    pub(super) fn finish(&mut self, trailers: Option<&Fields>) {
        self.encoder.finish(self.io.output(), trailers);
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_flush(cx)
    }

    pub(super) fn unsent(&self) -> Option<u64> {
        self.io.transport().unsent()
    }

    /// Whatever the framing, a reset cannot be taken for an end.
    pub(super) fn abort(&mut self) {
        self.io.transport().reset_on_drop();
    }
}
