//! The response that is the client's: judged by its head, then passed on piece by piece.
//!
//! From here on there is no other attempt. What breaks, breaks visibly: the client's connection is reset, whatever
//! the framing.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::Stopped;
use super::exchange::{End, Exchange};
use super::message::Piece;
use super::tunnel::tunnel;
use super::upstream::Upstream;
use crate::http1::{BodyLength, Method, Version, list};
use crate::metrics::Outcome;
use crate::policy::retry::{self, Connection, Failure};
use crate::pool::Incarnation;

/// What a response that is passed on waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Client,
    Upstream,
}

/// How far a response is passed on.
struct Relay {
    /// The upstream has no more.
    ended: bool,
    /// The upstream has all of the request.
    uploaded: bool,
    /// The upstream takes nothing any more of the request.
    broken: bool,
    waiting: Option<Waiting>,
    /// What the client's kernel had not taken when the present wait for it began.
    unsent: Option<u64>,
}

impl Exchange<'_, '_> {
    /// Passes the response on, whose head is there, unless another upstream is asked instead.
    pub(super) async fn answer_with(
        &mut self,
        mut upstream: Upstream,
        incarnation: &Arc<Incarnation>,
    ) -> Result<End, Stopped> {
        let failed =
            |failure| Err(Stopped::Failed { failure, connection: Connection::Heard, nothing_sent: false });
        let status = self.response.status();
        if status == 101 {
            return if self.accepts_upgrade() {
                Ok(self.change_protocol(upstream).await)
            } else {
                failed(Failure::BadResponse)
            };
        }
        let length = match self.response.body_length(self.request.method() == Method::Head) {
            Ok(length) => length,
            Err(e) => {
                tracing::debug!(upstream = %incarnation.id(), "response refused: {e}");
                return failed(Failure::BadResponse);
            }
        };
        if retry::is_failure_status(status, &self.proxy.pool.rules().rules) {
            let request = self.progress(Connection::Heard, false);
            if self.flow.replaced(Failure::Status(status), request, &self.proxy.pool, &self.proxy.metrics) {
                return Err(Stopped::Next);
            }
        }
        if let Err(e) = upstream.expect_body(length) {
            tracing::debug!(upstream = %incarnation.id(), "response refused: {e}");
            return failed(Failure::BadResponse);
        }
        let framing = self.client.framing(length);
        // A client that has to send the rest of its request first would not see where the next one begins.
        let close = !self.persists
            || !self.body.is_complete()
            || (framing == BodyLength::UntilClose && self.client.version() != Version::Http2);
        let persists = self.response.keeps_alive(length);
        self.client.start(self.response, framing, close);
        if self.relay(&mut upstream).await.is_err() {
            return Ok(End::Broken(status));
        }
        if persists && self.body.is_complete() {
            self.keep(upstream, incarnation);
        }
        Ok(End::Sent { status, close })
    }

    /// Passes the body on. An error means that it broke off, and is counted.
    async fn relay(&mut self, upstream: &mut Upstream) -> Result<(), ()> {
        let mut relay = Relay { ended: false, uploaded: false, broken: false, waiting: None, unsent: None };
        let ended = poll_fn(|cx| {
            // What is left of the request goes on meanwhile; if it cannot, the response still may.
            let mut progress = false;
            if !relay.uploaded && !relay.broken {
                match self.upload(cx, upstream, &mut relay.broken) {
                    Ok(uploaded) => {
                        progress = uploaded.progress;
                        relay.uploaded = uploaded.flushed && self.body.is_complete();
                    }
                    // What is wrong is the client's, and it cannot be told any more but by the end.
                    Err(_) => return Poll::Ready(Err(Outcome::Abandoned)),
                }
            }
            self.poll_relay(cx, upstream, &mut relay, progress)
        })
        .await;
        ended.map_err(|outcome| {
            // As in nginx: what happens behind the head does not count towards `max_fails`.
            self.flow.excuse();
            self.flow.end(outcome);
        })
    }

    fn poll_relay(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut Upstream,
        relay: &mut Relay,
        uploaded: bool,
    ) -> Poll<Result<(), Outcome>> {
        let mut progress = uploaded;
        loop {
            while !relay.ended && self.client.has_room() {
                let client = &mut *self.client;
                match upstream.poll_body(cx, |data| client.push(data)) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(Piece::Data(n))) => {
                        self.sent_bytes += n as u64;
                        progress = true;
                    }
                    Poll::Ready(Ok(Piece::End)) => {
                        client.finish(Some(upstream.trailers()));
                        relay.ended = true;
                    }
                    Poll::Ready(Err(e)) => {
                        tracing::debug!("response broke off: {e}");
                        return Poll::Ready(Err(Outcome::Failed(Failure::Reset)));
                    }
                }
            }
            let full = !self.client.has_room();
            match self.client.poll_flush(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Outcome::Abandoned)),
                Poll::Ready(Ok(())) if relay.ended => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if full => {}
                _ if self.body.is_complete() && self.client.poll_gone(cx).is_ready() => {
                    return Poll::Ready(Err(Outcome::Abandoned));
                }
                flushed => {
                    let waiting = if flushed.is_ready() { Waiting::Upstream } else { Waiting::Client };
                    return self.poll_patience(cx, waiting, progress, relay).map(Err);
                }
            }
        }
    }

    /// Ready when there was no progress for too long.
    fn poll_patience(
        &mut self,
        cx: &mut Context<'_>,
        waiting: Waiting,
        progress: bool,
        relay: &mut Relay,
    ) -> Poll<Outcome> {
        if progress || relay.waiting != Some(waiting) {
            relay.waiting = Some(waiting);
            relay.unsent = None;
            self.timer.set(Instant::now() + self.patience_with(waiting));
        }
        loop {
            if waiting == Waiting::Client && relay.unsent.is_none() {
                relay.unsent = self.client.unsent();
            }
            if self.timer.poll_due(cx).is_pending() {
                return Poll::Pending;
            }
            match waiting {
                // A socket is writable again only when much of its queue has left. A client that takes it slowly is
                // not one that takes nothing.
                Waiting::Client if self.client.unsent() < relay.unsent => {
                    relay.unsent = None;
                    self.timer.set(Instant::now() + self.patience_with(waiting));
                }
                Waiting::Client => return Poll::Ready(Outcome::Abandoned),
                // The upstream may wait for the rest of the request.
                Waiting::Upstream if !self.body.is_complete() => return Poll::Ready(Outcome::Abandoned),
                Waiting::Upstream => return Poll::Ready(Outcome::Failed(Failure::Timeout)),
            }
        }
    }

    const fn patience_with(&self, waiting: Waiting) -> Duration {
        match waiting {
            Waiting::Client => self.config.client.write_timeout_ms.duration(),
            Waiting::Upstream => self.config.attempt.read_timeout_ms.duration(),
        }
    }

    /// Keeps the connection for another request.
    fn keep(&self, upstream: Upstream, incarnation: &Incarnation) {
        if let Upstream::H1(upstream) = upstream {
            let io = upstream.into_io();
            let most = self.config.upstream.keepalive.size();
            if io.is_flushed() {
                incarnation.with_idle(self.thread, |idle| idle.put(io, Instant::now(), most));
            }
        }
    }

    /// The protocols the client would change to, unless that is one that this proxy speaks itself.
    pub(super) fn upgrade(&self) -> Option<&[u8]> {
        let wanted = self.request.upgrade().filter(|_| self.client.version() == Version::Http11)?;
        let is_own =
            |protocol: &[u8]| protocol.get(..3).is_some_and(|name| name.eq_ignore_ascii_case(b"h2c"));
        (!list(wanted).any(is_own)).then_some(wanted)
    }

    fn accepts_upgrade(&self) -> bool {
        self.upgrade().is_some() && self.response.upgrade().is_some()
    }

    /// Whatever was agreed meanwhile, the request is one of HTTP to its end.
    async fn finish_request(&mut self, upstream: &mut Upstream) -> Result<(), ()> {
        let patience = self.config.client.read_timeout_ms.duration();
        self.timer.set(Instant::now() + patience);
        let mut broken = false;
        poll_fn(|cx| {
            if self.body.is_complete() {
                return Poll::Ready(Ok(()));
            }
            let uploaded = self.upload(cx, upstream, &mut broken);
            if uploaded.is_err() || broken || matches!(self.client.poll_flush(cx), Poll::Ready(Err(_))) {
                return Poll::Ready(Err(()));
            }
            if self.body.is_complete() {
                return Poll::Ready(Ok(()));
            }
            if uploaded.is_ok_and(|uploaded| uploaded.progress) {
                self.timer.set(Instant::now() + patience);
            }
            self.timer.poll_due(cx).map(Err)
        })
        .await
    }

    /// What follows is not HTTP: both directions pass as they come.
    async fn change_protocol(&mut self, mut upstream: Upstream) -> End {
        let end = End::Sent { status: 101, close: true };
        self.client.start(self.response, BodyLength::Empty, true);
        if self.finish_request(&mut upstream).await.is_err() {
            return End::Broken(101);
        }
        let (Some(client), Some(server)) = (self.client.connection(), upstream.connection()) else {
            return End::Broken(101);
        };
        self.upgraded = Some(self.flow.elapsed());
        let idle = self.config.attempt.read_timeout_ms.duration();
        self.sent_bytes = tunnel(client, server, self.timer, idle).await;
        end
    }
}
