//! An upstream on an HTTP/2 stream, without TLS and by prior knowledge (RFC 9113, section 3.3).
//!
//! All requests of a thread to one incarnation share a connection, as far as the upstream allows streams.
//! pingora drives it and asks now and then whether the other side still answers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::h2::client::{Builder, ResponseFuture, SendRequest};
use ::h2::{Reason, RecvStream, SendStream};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request};
use pingora::protocols::UniqueID;
use pingora::protocols::http::v2::client::drive_connection;
use tokio::sync::watch;

use super::super::h2_body::{poll_recv, poll_send};
use super::super::h2_head::{put_trailers, read_response, trailers_of};
use super::super::message::{BodyError, Piece};
use super::HeadError;
use crate::http1::{BodyLength, Fields, ResponseHead};
use crate::net::Transport;

/// Above this nothing more should be put out before some of it is taken.
const PENDING_BYTES: usize = 64 * 1024;

/// What a stream, and all streams together, may have in flight towards us.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// The largest head of a response, in bytes.
const HEAD_BYTES: u32 = 64 * 1024;

/// How often an upstream is asked whether it still answers.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// A connection for many requests.
#[derive(Debug, Clone)]
pub(crate) struct H2Handle {
    send: SendRequest<Bytes>,
    closed: watch::Receiver<bool>,
    /// One for each holder: the handle that lies in the pool, and each open stream.
    holders: Arc<()>,
}

impl H2Handle {
    /// Whether it takes another request at once. One beyond what the upstream allows would wait within HTTP/2,
    /// unseen and unbounded.
    pub(crate) fn has_room(&self) -> bool {
        self.is_open() && Arc::strong_count(&self.holders) <= self.send.current_max_send_streams()
    }

    /// Whether it is there at all.
    pub(crate) fn is_open(&self) -> bool {
        !*self.closed.borrow()
    }

    /// Whether both are the same connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.holders, &other.holders)
    }

    /// Whether nobody but the pool holds it.
    pub(crate) fn is_unused(&self) -> bool {
        Arc::strong_count(&self.holders) == 1
    }
}

/// Begins HTTP/2 on a connection.
pub(crate) async fn connect(transport: Transport) -> Result<H2Handle, ::h2::Error> {
    let id = transport.id();
    let (send, connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES)
        .handshake::<_, Bytes>(transport)
        .await?;
    let (close, closed) = watch::channel(false);
    let timed_out = Arc::new(AtomicBool::new(false));
    tokio::spawn(drive_connection(connection, id, close, Some(PING_INTERVAL), timed_out));
    Ok(H2Handle { send, closed, holders: Arc::new(()) })
}

/// The connection did not take the request: nothing of it was sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(#[from] ::h2::Error);

/// An upstream. Dropped before its end, it resets its stream, so an attempt that is given up costs little.
pub(crate) struct H2Upstream {
    response: ResponseFuture,
    send: SendStream<Bytes>,
    recv: Option<RecvStream>,
    pending: BytesMut,
    /// The request is complete, with these trailers.
    end: Option<HeaderMap>,
    ended: bool,
    /// The response is one without a body.
    is_bare: bool,
    trailers: Fields,
    handle: H2Handle,
}

impl H2Upstream {
    /// Opens a stream and sends a head; `ends`: there is no body.
    pub(crate) async fn open(handle: H2Handle, request: Request<()>, ends: bool) -> Result<Self, Refused> {
        let mut send = handle.send.clone().ready().await?;
        let (response, send) = send.send_request(request, ends)?;
        Ok(Self {
            response,
            send,
            recv: None,
            pending: BytesMut::new(),
            end: None,
            ended: ends,
            is_bare: false,
            trailers: Fields::default(),
            handle,
        })
    }

    /// The connection that it is on.
    pub(in crate::proxy) const fn handle(&self) -> &H2Handle {
        &self.handle
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

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            ready!(poll_send(cx, &mut self.send, &mut self.pending, self.end.as_ref()))?;
            self.ended = self.end.is_some();
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), HeadError>> {
        if let Poll::Ready(Some(interim)) = self.response.poll_informational(cx) {
            let (parts, ()) = interim.map_err(head_error)?.into_parts();
            read_response(head, &parts);
            return Poll::Ready(Ok(()));
        }
        let response = ready!(std::pin::Pin::new(&mut self.response).poll(cx)).map_err(head_error)?;
        let (parts, recv) = response.into_parts();
        read_response(head, &parts);
        self.recv = Some(recv);
        Poll::Ready(Ok(()))
    }

    pub(super) const fn expect_body(&mut self, length: BodyLength) {
        self.is_bare = matches!(length, BodyLength::Empty);
    }

    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        sink: impl FnMut(&[u8]),
    ) -> Poll<Result<Piece, BodyError>> {
        let Some(recv) = &mut self.recv else { return Poll::Ready(Ok(Piece::End)) };
        if self.is_bare {
            // HTTP/1.1 would take what follows such a head for the next one.
            let piece = ready!(poll_recv(cx, recv, |_| (), |_| ()))?;
            let more = || io::Error::new(io::ErrorKind::InvalidData, "data where there is no body");
            return Poll::Ready(if piece == Piece::End { Ok(piece) } else { Err(more().into()) });
        }
        poll_recv(cx, recv, sink, |trailers| put_trailers(&mut self.trailers, trailers))
    }

    pub(super) const fn trailers(&self) -> &Fields {
        &self.trailers
    }
}

fn head_error(error: ::h2::Error) -> HeadError {
    // RFC 9113, section 8.7: only these say that the request may be sent again whatever its method.
    let unprocessed = error.reason() == Some(Reason::REFUSED_STREAM)
        || (error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR));
    HeadError::H2 { error, unprocessed }
}
