//! Two connections that pass everything to each other, after both ends agreed on another protocol (RFC 9110,
//! section 7.8).

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::net::{Buffered, Timer};

/// Passes both directions on until both have ended, one fails, or nothing came for as long as `idle`. Answers how
/// many bytes the client got.
pub(super) async fn tunnel(
    client: &mut Buffered,
    server: &mut Buffered,
    timer: &mut Timer,
    idle: Duration,
) -> u64 {
    let mut up = Direction::default();
    let mut down = Direction::default();
    timer.set(Instant::now() + idle);
    let ended = poll_fn(|cx| {
        let before = (up.bytes, down.bytes);
        let both = (up.poll(cx, client, server), down.poll(cx, server, client));
        match both {
            (Poll::Ready(Err(e)), _) | (_, Poll::Ready(Err(e))) => return Poll::Ready(Err(e)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ok(())),
            _ => {}
        }
        if before != (up.bytes, down.bytes) {
            timer.set(Instant::now() + idle);
        }
        timer.poll_due(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
    .await;
    if let Err(e) = ended {
        tracing::debug!("tunnel ended: {e}");
    }
    down.bytes
}

#[derive(Debug, Default)]
struct Direction {
    bytes: u64,
    done: bool,
}

impl Direction {
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Buffered, to: &mut Buffered) -> Poll<io::Result<()>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        loop {
            while !from.input().is_empty() && to.has_room() {
                let n = from.input().len();
                to.output().extend_from_slice(from.input());
                from.consume(n);
                self.bytes += n as u64;
            }
            let flushed = to.poll_flush(cx)?;
            if from.is_eof() && from.input().is_empty() {
                let ended = to.poll_shutdown(cx)?;
                self.done = ended.is_ready();
                return ended.map(Ok);
            }
            if !from.input().is_empty() {
                if flushed.is_pending() {
                    return Poll::Pending;
                }
                continue;
            }
            if from.poll_fill(cx)?.is_pending() {
                return Poll::Pending;
            }
        }
    }
}
