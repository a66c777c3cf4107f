//! A client on an HTTP/2 stream.

use std::io;
use std::task::{Context, Poll, ready};

use ::h2::server::SendResponse;
use ::h2::{Reason, RecvStream, SendStream};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response};

use super::super::h2_body::{poll_recv, poll_send};
use super::super::h2_head::{put_trailers, response_of, trailers_of};
use super::super::message::{BodyError, Piece};
use crate::http1::{BodyLength, Fields, ResponseHead};

/// Above this nothing more should be put out before some of it is taken.
const PENDING_BYTES: usize = 64 * 1024;

/// A client.
pub(crate) struct H2Client {
    recv: RecvStream,
    body_done: bool,
    trailers: Fields,
    respond: SendResponse<Bytes>,
    send: Option<SendStream<Bytes>>,
    /// The answer's head, until it is sent.
    head: Option<Response<()>>,
    pending: BytesMut,
    /// The answer is complete, with these trailers.
    end: Option<HeaderMap>,
    ended: bool,
}

impl H2Client {
    /// The client of a request.
    pub(crate) fn new(recv: RecvStream, respond: SendResponse<Bytes>) -> Self {
        Self {
            body_done: recv.is_end_stream(),
            recv,
            trailers: Fields::default(),
            respond,
            send: None,
            head: None,
            pending: BytesMut::new(),
            end: None,
            ended: false,
        }
    }

    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        sink: impl FnMut(&[u8]),
    ) -> Poll<Result<Piece, BodyError>> {
        if self.body_done {
            return Poll::Ready(Ok(Piece::End));
        }
        let piece = ready!(poll_recv(cx, &mut self.recv, sink, |trailers| put_trailers(
            &mut self.trailers,
            trailers
        )))?;
        self.body_done = piece == Piece::End;
        Poll::Ready(Ok(piece))
    }

    pub(super) const fn trailers(&self) -> Option<&Fields> {
        Some(&self.trailers)
    }

    pub(super) const fn is_body_done(&self) -> bool {
        self.body_done
    }

    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.send {
            Some(send) => send.poll_reset(cx).map(drop),
            None => self.respond.poll_reset(cx).map(drop),
        }
    }

    pub(super) fn interim(&mut self, head: &ResponseHead) {
        if let Some(head) = response_of(head, BodyLength::Empty)
            && let Err(e) = self.respond.send_informational(head)
        {
            tracing::debug!("informational head not sent: {e}");
        }
    }

    pub(super) fn start(&mut self, head: &ResponseHead, length: BodyLength, _close: bool) {
        self.head = response_of(head, length);
    }

    pub(super) fn has_room(&self) -> bool {
        self.pending.len() < PENDING_BYTES
    }

    pub(super) fn push(&mut self, data: &[u8]) {
        self.pending.extend_from_slice(data);
    }

    pub(super) fn finish(&mut self, trailers: Option<&Fields>) {
        self.end = Some(trailers.map(trailers_of).unwrap_or_default());
    }

    /// Ready when HTTP/2 has taken all; the connection's task sends it.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(head) = self.head.take() {
            let ends = self.pending.is_empty() && self.end.as_ref().is_some_and(HeaderMap::is_empty);
            self.send = Some(self.respond.send_response(head, ends).map_err(io::Error::other)?);
            self.ended = ends;
        }
        match &mut self.send {
            Some(send) if !self.ended => {
                ready!(poll_send(cx, send, &mut self.pending, self.end.as_ref()))?;
                self.ended = self.end.is_some();
                Poll::Ready(Ok(()))
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn abort(&mut self) {
        match &mut self.send {
            Some(send) => send.send_reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
        self.ended = true;
    }
}
