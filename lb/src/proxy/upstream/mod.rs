//! The upstream's side of one attempt: the request goes here, the response comes from here.

mod h1;
mod h2;

use std::io;
use std::task::{Context, Poll};

pub(super) use self::h1::H1Upstream;
pub(crate) use self::h2::H2Handle;
pub(super) use self::h2::{H2Upstream, connect as connect_h2};
use super::message::{BodyError, Piece};
use crate::http1::{BodyLength, Fields, Invalid, ResponseHead};
use crate::net::Buffered;

/// Why no head of a response came.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeadError {
    /// The connection ended before it.
    #[error("the connection ended before the response")]
    Closed,
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What came is no head.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// The HTTP/2 stream failed; `unprocessed`: the upstream says that it did nothing.
    #[error("{error}")]
    H2 {
        /// How.
        error: ::h2::Error,
        /// Whether the upstream says that it did not act on the request.
        unprocessed: bool,
    },
}

/// The upstream of one attempt.
pub(super) enum Upstream {
    /// On a connection of its own.
    H1(H1Upstream),
    /// On a stream among others.
    H2(H2Upstream),
}

macro_rules! each {
    ($self:ident, $upstream:ident => $call:expr) => {
        match $self {
            Upstream::H1($upstream) => $call,
            Upstream::H2($upstream) => $call,
        }
    };
}

impl Upstream {
    /// Whether more of the request's body may be put out now.
    pub(super) fn has_room(&self) -> bool {
        each!(self, upstream => upstream.has_room())
    }

    /// Puts out a piece of the request's body.
    pub(super) fn push(&mut self, data: &[u8]) {
        each!(self, upstream => upstream.push(data));
    }

    /// The request's body has ended.
    pub(super) fn finish(&mut self, trailers: Option<&Fields>) {
        each!(self, upstream => upstream.finish(trailers));
    }

    /// Ready when all that was put out is on its way.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, upstream => upstream.poll_flush(cx))
    }

    /// Whether not a byte of the request has left.
    pub(super) fn sent_nothing(&self) -> bool {
        match self {
            Self::H1(upstream) => upstream.sent_nothing(),
            Self::H2(_) => false,
        }
    }

    /// Reads a head of a response, informational or not.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), HeadError>> {
        each!(self, upstream => upstream.poll_head(cx, head))
    }

    /// The response has a body of this length; an error if what is there of it already cannot be one.
    pub(super) fn expect_body(&mut self, length: BodyLength) -> Result<(), Invalid> {
        match self {
            Self::H1(upstream) => upstream.expect_body(length),
            Self::H2(upstream) => {
                upstream.expect_body(length);
                Ok(())
            }
        }
    }

    /// Reads the next piece of the response's body.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        sink: impl FnMut(&[u8]),
    ) -> Poll<Result<Piece, BodyError>> {
        each!(self, upstream => upstream.poll_body(cx, sink))
    }

    /// The trailers of the response, when its body has ended.
    pub(super) fn trailers(&self) -> &Fields {
        each!(self, upstream => upstream.trailers())
    }

    /// The connection, if it is the attempt's alone.
    pub(super) fn connection(&mut self) -> Option<&mut Buffered> {
        match self {
            Self::H1(upstream) => Some(upstream.io()),
            Self::H2(_) => None,
        }
    }
}
