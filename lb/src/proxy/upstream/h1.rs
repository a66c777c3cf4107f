//! An upstream on an HTTP/1.1 connection.

use std::io;
use std::task::{Context, Poll, ready};

use super::super::message::{BodyError, Encoder, Piece, poll_body};
use super::HeadError;
use crate::http1::{BodyLength, Decoder, Fields, Invalid, ResponseHead};
use crate::net::Buffered;

/// The largest head of a response, in bytes.
const HEAD_BYTES: usize = 64 * 1024;

/// An upstream.
pub(crate) struct H1Upstream {
    io: Buffered,
    encoder: Encoder,
    decoder: Decoder,
    sent_before: u64,
}

impl H1Upstream {
    /// An upstream that gets this head, and a body of this length.
    pub(crate) fn new(mut io: Buffered, head: &[u8], length: BodyLength) -> Self {
        io.output().extend_from_slice(head);
        // What has no known end in HTTP/2 is chunked here.
        let length = if length == BodyLength::UntilClose { BodyLength::Chunked } else { length };
        Self { sent_before: io.sent(), io, encoder: Encoder::new(length), decoder: Decoder::default() }
    }

    pub(super) const fn io(&mut self) -> &mut Buffered {
        &mut self.io
    }

    /// The connection, for another request.
    pub(crate) fn into_io(self) -> Buffered {
        self.io
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

    pub(super) fn sent_nothing(&self) -> bool {
        self.io.sent() == self.sent_before
    }

    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), HeadError>> {
        loop {
            if !self.io.input().is_empty()
                && let Some(n) = head.parse(self.io.input(), HEAD_BYTES)?
            {
                self.io.consume(n);
                return Poll::Ready(Ok(()));
            }
            if ready!(self.io.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(HeadError::Closed));
            }
        }
    }

    /// An error if what has come of the body already cannot be one: there is still time to ask somebody else.
    pub(super) fn expect_body(&mut self, length: BodyLength) -> Result<(), Invalid> {
        self.decoder.reset(length);
        if length != BodyLength::Chunked {
            return Ok(());
        }
        let (mut ahead, mut rest) = (self.decoder.clone(), self.io.input());
        while !rest.is_empty() && !ahead.is_done() {
            rest = &rest[ahead.step(rest)?.consumed..];
        }
        Ok(())
    }

    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        sink: impl FnMut(&[u8]),
    ) -> Poll<Result<Piece, BodyError>> {
        poll_body(cx, &mut self.io, &mut self.decoder, sink)
    }

    pub(super) const fn trailers(&self) -> &Fields {
        self.decoder.trailers()
    }
}
