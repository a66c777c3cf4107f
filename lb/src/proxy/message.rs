//! One message's body on an HTTP/1.1 connection, read and written: what clients' and upstreams' side share.

use std::io;
use std::task::{Context, Poll, ready};

use crate::http1::{BodyLength, Decoder, Fields, Invalid, LAST_CHUNK, put_chunk_header, put_trailers};
use crate::net::Buffered;

/// What came of reading a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// So many bytes.
    Data(usize),
    /// There is no more.
    End,
}

/// Why a body cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The connection ended before the body did.
    #[error("the connection ended within the body")]
    Truncated,
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What came is no body.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// An HTTP/2 stream failed.
    #[error("{0}")]
    H2(#[from] h2::Error),
}

/// Reads the next piece of a body into `sink`.
pub(super) fn poll_body(
    cx: &mut Context<'_>,
    io: &mut Buffered,
    decoder: &mut Decoder,
    mut sink: impl FnMut(&[u8]),
) -> Poll<Result<Piece, BodyError>> {
    loop {
        if decoder.is_done() {
            return Poll::Ready(Ok(Piece::End));
        }
        if !io.input().is_empty() {
            let step = decoder.step(io.input())?;
            let n = step.data.len();
            if n > 0 {
                sink(&io.input()[step.data]);
            }
            io.consume(step.consumed);
            if n > 0 {
                return Poll::Ready(Ok(Piece::Data(n)));
            }
            if step.consumed > 0 || step.done {
                continue;
            }
        }
        if ready!(io.poll_fill(cx))? == 0 {
            let end = if decoder.finish_on_eof() { Ok(Piece::End) } else { Err(BodyError::Truncated) };
            return Poll::Ready(end);
        }
    }
}

/// Puts bodies out in the framing that was announced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Encoder {
    chunked: bool,
}

impl Encoder {
    pub(super) const fn new(length: BodyLength) -> Self {
        Self { chunked: matches!(length, BodyLength::Chunked) }
    }

    pub(super) fn put(self, out: &mut Vec<u8>, data: &[u8]) {
        if !self.chunked {
            out.extend_from_slice(data);
        } else if !data.is_empty() {
            // An empty chunk would be the last one.
            put_chunk_header(out, data.len());
            out.extend_from_slice(data);
            out.extend_from_slice(b"\r\n");
        }
    }

    pub(super) fn finish(self, out: &mut Vec<u8>, trailers: Option<&Fields>) {
        match trailers {
            _ if !self.chunked => {}
            Some(trailers) if !trailers.is_empty() => put_trailers(out, trailers),
            _ => out.extend_from_slice(LAST_CHUNK),
        }
    }
}
