//! Bodies in HTTP/2: frames and flow control, the same towards clients and upstreams.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use http::HeaderMap;

use super::message::{BodyError, Piece};

/// Reads the next piece of a body into `sink`, and the trailers at its end.
pub(super) fn poll_recv(
    cx: &mut Context<'_>,
    recv: &mut RecvStream,
    mut sink: impl FnMut(&[u8]),
    trailers: impl FnOnce(&HeaderMap),
) -> Poll<Result<Piece, BodyError>> {
    loop {
        match ready!(recv.poll_data(cx)) {
            Some(data) => {
                let data = data?;
                // The window opens as the data is passed on, and what is passed on is bounded elsewhere.
                recv.flow_control().release_capacity(data.len())?;
                if !data.is_empty() {
                    sink(&data);
                    return Poll::Ready(Ok(Piece::Data(data.len())));
                }
            }
            None => {
                if let Some(fields) = ready!(recv.poll_trailers(cx))? {
                    trailers(&fields);
                }
                return Poll::Ready(Ok(Piece::End));
            }
        }
    }
}

/// Sends what is pending as the other side's window allows, and the end, if it is there. Ready when HTTP/2 has
/// taken all.
pub(super) fn poll_send(
    cx: &mut Context<'_>,
    send: &mut SendStream<Bytes>,
    pending: &mut BytesMut,
    end: Option<&HeaderMap>,
) -> Poll<io::Result<()>> {
    while !pending.is_empty() {
        if send.capacity() == 0 {
            send.reserve_capacity(pending.len());
            match ready!(send.poll_capacity(cx)) {
                Some(capacity) => {
                    if capacity.map_err(io::Error::other)? == 0 {
                        continue;
                    }
                }
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let data = pending.split_to(send.capacity().min(pending.len())).freeze();
        let last = pending.is_empty() && end.is_some_and(HeaderMap::is_empty);
        send.send_data(data, last).map_err(io::Error::other)?;
        if last {
            return Poll::Ready(Ok(()));
        }
    }
    match end {
        None => Poll::Ready(Ok(())),
        Some(trailers) if trailers.is_empty() => {
            Poll::Ready(send.send_data(Bytes::new(), true).map_err(io::Error::other))
        }
        Some(trailers) => Poll::Ready(send.send_trailers(trailers.clone()).map_err(io::Error::other)),
    }
}
