//! The client's side of one request: its body comes from here, its answer goes here.
//!
//! What is put out is gathered, and leaves with [`Downstream::poll_flush`]; whoever puts out a body asks for room
//! first.

mod h1;
mod h2;

use std::io;
use std::task::{Context, Poll};

pub(crate) use self::h1::H1Client;
pub(crate) use self::h2::H2Client;
use super::message::{BodyError, Piece};
use crate::http1::{BodyLength, Fields, ResponseHead, Version};
use crate::net::Buffered;

/// The client of one request.
pub(crate) enum Downstream<'a> {
    /// On a connection of its own.
    H1(H1Client<'a>),
    /// On a stream among others.
    H2(Box<H2Client>),
}

macro_rules! each {
    ($self:ident, $client:ident => $call:expr) => {
        match $self {
            Downstream::H1($client) => $call,
            Downstream::H2($client) => $call,
        }
    };
}

impl Downstream<'_> {
    /// Reads the next piece of the request's body.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        sink: impl FnMut(&[u8]),
    ) -> Poll<Result<Piece, BodyError>> {
        each!(self, client => client.poll_body(cx, sink))
    }

    /// The trailers of the request, when its body has ended.
    pub(super) fn trailers(&self) -> Option<&Fields> {
        each!(self, client => client.trailers())
    }

    /// Whether the request's body was read to its end.
    pub(super) fn is_body_done(&self) -> bool {
        each!(self, client => client.is_body_done())
    }

    /// Ready when the client is gone and needs no answer any more. Call it only when its body is done.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        each!(self, client => client.poll_gone(cx))
    }

    /// Puts out an informational head, if the client understands it.
    pub(super) fn interim(&mut self, head: &ResponseHead) {
        each!(self, client => client.interim(head));
    }

    /// Puts out the head of the response; its body has this length for the client. `close`: the connection ends
    /// with it.
    pub(super) fn start(&mut self, head: &ResponseHead, length: BodyLength, close: bool) {
        each!(self, client => client.start(head, length, close));
    }

    /// Whether more of a body may be put out now.
    pub(super) fn has_room(&self) -> bool {
        each!(self, client => client.has_room())
    }

    /// Puts out a piece of the body.
    pub(super) fn push(&mut self, data: &[u8]) {
        each!(self, client => client.push(data));
    }

    /// The body has ended.
    pub(super) fn finish(&mut self, trailers: Option<&Fields>) {
        each!(self, client => client.finish(trailers));
    }

    /// Ready when all that was put out is on its way.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, client => client.poll_flush(cx))
    }

    /// Bytes that the client's kernel has not taken yet. None where that says nothing of this client alone.
    pub(super) fn unsent(&self) -> Option<u64> {
        match self {
            Self::H1(client) => client.unsent(),
            Self::H2(_) => None,
        }
    }

    /// The response cannot be completed, and the client must notice.
    pub(super) fn abort(&mut self) {
        each!(self, client => client.abort());
    }

    /// The connection itself, if it is the request's alone.
    pub(super) fn connection(&mut self) -> Option<&mut Buffered> {
        match self {
            Self::H1(client) => Some(client.io()),
            Self::H2(_) => None,
        }
    }

    /// The version the client speaks.
    pub(super) fn version(&self) -> Version {
        match self {
            Self::H1(client) => client.version(),
            Self::H2(_) => Version::Http2,
        }
    }

    /// The framing of a body to this client that has this framing from the upstream.
    pub(super) fn framing(&self, length: BodyLength) -> BodyLength {
        match (length, self.version()) {
            (BodyLength::Chunked | BodyLength::UntilClose, Version::Http10) => BodyLength::UntilClose,
            (BodyLength::Chunked | BodyLength::UntilClose, _) => BodyLength::Chunked,
            (length, _) => length,
        }
    }
}
