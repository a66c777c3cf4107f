//! One attempt: a connection, the request, and the wait for the head of the response.
//!
//! The wait ends at whatever comes first: the head, the news that the upstream is gone, the time after which
//! another upstream is the better bet, the time after which nothing is to be hoped, or the client's leaving.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFuture;

use super::answer::Answer;
use super::exchange::{End, Exchange};
use super::h2_head;
use super::rewrite::put_request;
use super::upstream::{self, H1Upstream, H2Upstream, HeadError, Upstream};
use crate::config::Protocol;
use crate::http1::BodyLength;
use crate::net::{Buffered, Connector, is_out_of_resources};
use crate::policy::retry::{Connection, Failure};
use crate::pool::{Idle, Incarnation};

/// The most informational heads before a response.
const MAX_INTERIM: u32 = 32;

/// The news that the upstream is gone.
type Cut<'p, 'f> = Pin<&'p mut WaitForCancellationFuture<'f>>;

/// What ended an attempt before the head of a response was there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stopped {
    /// It failed, and the client knows nothing of it.
    Failed {
        /// How.
        failure: Failure,
        /// On what connection.
        connection: Connection,
        /// Whether not a byte of the request was sent, or the upstream says that it did not act on it.
        nothing_sent: bool,
    },
    /// Another one is reserved.
    Next,
    /// The exchange is over.
    Over(End),
}

impl Stopped {
    const fn unsent(failure: Failure) -> Self {
        Self::Failed { failure, connection: Connection::New, nothing_sent: true }
    }
}

/// Until when an attempt waits.
struct Wait {
    began: Instant,
    /// From then on another upstream is asked, if there is one.
    first_byte: Option<Instant>,
    /// That time is over.
    overdue: bool,
    /// Then there is no hope.
    hard: Instant,
}

impl Wait {
    fn due(&self) -> Instant {
        self.first_byte.map_or(self.hard, |first_byte| first_byte.min(self.hard))
    }

    const fn heard(&mut self) {
        (self.first_byte, self.overdue) = (None, true);
    }
}

/// Who is waited for while a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The client, for more of the body.
    Client,
    /// The upstream, to take what is there.
    Taking,
    /// The upstream, for an answer.
    Answering,
}

/// How far an attempt's request has come.
struct Sending {
    connection: Connection,
    stage: Option<Stage>,
    /// The upstream takes nothing any more, but may still answer.
    broken: bool,
}

impl Exchange<'_, '_> {
    /// Makes the attempt that is reserved, up to the head of its response.
    pub(super) async fn attempt(&mut self) -> Result<(Upstream, Arc<Incarnation>), Stopped> {
        let Some(attempt) = self.flow.current() else { return Err(Stopped::Over(End::Gone)) };
        let incarnation = Arc::clone(attempt.incarnation());
        let mut cut = pin!(incarnation.gone().cancelled());
        let now = Instant::now();
        let mut wait = Wait {
            began: now,
            // Nothing is sent yet, so any request may go elsewhere.
            first_byte: self.body.is_replayable().then(|| now + self.proxy.pool.first_byte().deadline()),
            overdue: false,
            hard: now + self.config.attempt.connect_timeout_ms.duration(),
        };
        let (mut upstream, connection) = match self.config.upstream.protocol {
            Protocol::Http1 => self.open_h1(&incarnation, cut.as_mut(), &mut wait).await?,
            Protocol::H2 => self.open_h2(&incarnation, cut.as_mut(), &mut wait).await?,
        };
        if !self.may_give_way(connection) {
            wait.first_byte = None;
        }
        // A further attempt begins with what was read for the one before.
        if let Some(kept) = self.body.replay().filter(|kept| !kept.is_empty()) {
            upstream.push(kept);
        }
        if self.body.is_complete() {
            upstream.finish(self.client.trailers());
        }
        let mut sending = Sending { connection, stage: None, broken: false };
        for _ in 0..=MAX_INTERIM {
            self.await_head(&incarnation, &mut upstream, &mut sending, cut.as_mut(), &mut wait).await?;
            if let Some(attempt) = self.flow.current().filter(|_| sending.connection != Connection::Heard) {
                attempt.heard();
            }
            if sending.connection == Connection::Pooled && self.is_farewell() {
                return Err(Stopped::Failed { failure: Failure::Reset, connection, nothing_sent: false });
            }
            sending.connection = Connection::Heard;
            sending.stage = None;
            wait.heard();
            if !self.response.is_interim() {
                return Ok((upstream, Arc::clone(&incarnation)));
            }
            self.client.interim(self.response);
        }
        tracing::debug!("more than {MAX_INTERIM} informational heads");
        Err(Stopped::Failed {
            failure: Failure::BadResponse,
            connection: Connection::Heard,
            nothing_sent: false,
        })
    }

    /// Whether another upstream may be the better bet while this one is silent. Not while the client is still
    /// sending, nor when the request cannot be sent twice.
    fn may_give_way(&self, connection: Connection) -> bool {
        let repeats_all = self.proxy.pool.rules().rules.repeats_all_methods();
        let safe = self.request.method().is_idempotent() || repeats_all;
        let all_sent = self.body.is_complete() || self.awaits_continue(connection);
        safe && all_sent && self.body.is_replayable()
    }

    /// Whether the client waits for a word of the upstream before it sends the body: RFC 9110, section 10.1.1.
    fn awaits_continue(&self, connection: Connection) -> bool {
        connection != Connection::Heard && self.body.received() == 0 && self.request.expects_continue()
    }

    /// Whether the head is what an upstream says that closes a connection nobody used: RFC 9110, section 15.5.9. It
    /// is no answer to this request, which crossed with it.
    fn is_farewell(&self) -> bool {
        self.response.status() == 408 && !self.response.keeps_alive(BodyLength::Empty)
    }

    async fn open_h1(
        &mut self,
        incarnation: &Incarnation,
        cut: Cut<'_, '_>,
        wait: &mut Wait,
    ) -> Result<(Upstream, Connection), Stopped> {
        let pooled = if self.flow.needs_new_connection() {
            None
        } else {
            incarnation.with_idle(self.thread, Idle::take).flatten()
        };
        let (io, connection) = if let Some(io) = pooled {
            (io, Connection::Pooled)
        } else {
            let connector = self.connector();
            let connecting = connector.connect(incarnation.addr());
            let connected = self.await_connection(connecting, cut, wait).await?;
            let transport = connected.map_err(|e| self.not_connected(&e))?;
            (Buffered::new(transport), Connection::New)
        };
        if self.head.is_empty() {
            // The same in every attempt.
            let mut head = std::mem::take(self.head);
            put_request(&mut head, self.request, self.body.length(), self.upgrade(), self.forward());
            *self.head = head;
        }
        Ok((Upstream::H1(H1Upstream::new(io, self.head, self.body.length())), connection))
    }

    async fn open_h2(
        &mut self,
        incarnation: &Incarnation,
        mut cut: Cut<'_, '_>,
        wait: &mut Wait,
    ) -> Result<(Upstream, Connection), Stopped> {
        let addr = incarnation.addr();
        let Some(request) = h2_head::request_of(self.request, self.body.length(), self.forward(), addr)
        else {
            return Err(Stopped::Over(End::Answer(Answer::UpstreamProtocol)));
        };
        let trails = self.client.trailers().is_some_and(|trailers| !trailers.is_empty());
        let ends = self.body.is_complete() && self.body.received() == 0 && !trails;
        let present = if self.flow.needs_new_connection() {
            None
        } else {
            incarnation.with_idle(self.thread, |idle| idle.share(Instant::now())).flatten()
        };
        if let Some(handle) = present {
            let opening = H2Upstream::open(handle.clone(), request.clone(), ends);
            match self.await_connection(opening, cut.as_mut(), wait).await? {
                Ok(upstream) => return Ok((Upstream::H2(upstream), Connection::Pooled)),
                Err(e) => {
                    tracing::debug!("the shared connection takes no request: {e}");
                    incarnation.with_idle(self.thread, |idle| idle.unshare(&handle));
                }
            }
        }
        let connector = self.connector();
        let connecting = async move {
            upstream::connect_h2(connector.connect(addr).await?).await.map_err(io::Error::other)
        };
        let connected = self.await_connection(connecting, cut.as_mut(), wait).await?;
        let handle = connected.map_err(|e| self.not_connected(&e))?;
        incarnation.with_idle(self.thread, |idle| idle.share_from_now(handle.clone(), Instant::now()));
        let opened = self.await_connection(H2Upstream::open(handle, request, ends), cut, wait).await?;
        let upstream = opened.map_err(|e| {
            tracing::debug!("a new connection takes no request: {e}");
            Stopped::unsent(Failure::Reset)
        })?;
        Ok((Upstream::H2(upstream), Connection::New))
    }

    fn not_connected(&mut self, error: &io::Error) -> Stopped {
        if is_out_of_resources(error) {
            tracing::warn!("cannot connect for want of resources: {error}");
            // That is not the upstream's fault.
            self.flow.excuse();
        }
        Stopped::unsent(Failure::ConnectError)
    }

    const fn connector(&self) -> Connector {
        Connector { ack_timeout: self.config.upstream.ack_timeout_ms.duration() }
    }

    /// Waits for something that an attempt needs before it can begin to send.
    async fn await_connection<T>(
        &mut self,
        connecting: impl Future<Output = T>,
        mut cut: Cut<'_, '_>,
        wait: &mut Wait,
    ) -> Result<T, Stopped> {
        let mut connecting = pin!(connecting);
        self.timer.set(wait.due());
        poll_fn(|cx| {
            if let Poll::Ready(got) = connecting.as_mut().poll(cx) {
                return Poll::Ready(Ok(got));
            }
            if cut.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Stopped::unsent(Failure::Cut)));
            }
            if self.client.is_body_done() && self.client.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Stopped::Over(End::Gone)));
            }
            self.poll_overdue(cx, wait, true, || Stopped::unsent(Failure::ConnectTimeout)).map(Err)
        })
        .await
    }

    /// Sends the request and waits for a head, informational or not.
    async fn await_head(
        &mut self,
        incarnation: &Incarnation,
        upstream: &mut Upstream,
        sending: &mut Sending,
        mut cut: Cut<'_, '_>,
        wait: &mut Wait,
    ) -> Result<(), Stopped> {
        self.response.clear();
        poll_fn(|cx| {
            let uploaded = match self.upload(cx, upstream, &mut sending.broken) {
                Ok(uploaded) => uploaded,
                Err(end) => return Poll::Ready(Err(Stopped::Over(end))),
            };
            match upstream.poll_head(cx, self.response) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(e)) => {
                    tracing::debug!("no response: {e}");
                    if let (HeadError::H2 { unprocessed: true, .. }, Upstream::H2(upstream)) =
                        (&e, &*upstream)
                    {
                        // It may be about to end, and a new one is cheap.
                        incarnation.with_idle(self.thread, |idle| idle.unshare(upstream.handle()));
                    }
                    return Poll::Ready(Err(head_stopped(&e, sending, upstream.sent_nothing())));
                }
                Poll::Pending => {}
            }
            let failed = |failure| Stopped::Failed {
                failure,
                connection: sending.connection,
                nothing_sent: upstream.sent_nothing(),
            };
            if cut.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(failed(Failure::Cut)));
            }
            // Informational heads leave with whatever comes; and a client that is gone shows.
            let gone = matches!(self.client.poll_flush(cx), Poll::Ready(Err(_)))
                || (self.body.is_complete() && self.client.poll_gone(cx).is_ready());
            if gone {
                return Poll::Ready(Err(Stopped::Over(End::Gone)));
            }
            let stage = match uploaded.flushed {
                false => Stage::Taking,
                true if self.body.is_complete() || sending.broken => Stage::Answering,
                true if self.awaits_continue(sending.connection) => Stage::Answering,
                true => Stage::Client,
            };
            if uploaded.progress || sending.stage != Some(stage) {
                sending.stage = Some(stage);
                let now = Instant::now();
                if wait.first_byte.is_none() && !wait.overdue && self.may_give_way(sending.connection) {
                    wait.first_byte = Some(now + self.proxy.pool.first_byte().deadline());
                }
                wait.hard = now + self.patience(stage);
                self.timer.set(wait.due());
            }
            let nothing_sent = upstream.sent_nothing();
            self.poll_overdue(cx, wait, nothing_sent, || match stage {
                Stage::Client => Stopped::Over(End::Answer(Answer::BodyTooSlow)),
                Stage::Taking | Stage::Answering => failed(Failure::Timeout),
            })
            .map(Err)
        })
        .await
    }

    const fn patience(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Client => self.config.client.read_timeout_ms.duration(),
            Stage::Taking => self.config.attempt.write_timeout_ms.duration(),
            Stage::Answering => self.config.attempt.read_timeout_ms.duration(),
        }
    }

    /// Ready when the attempt has waited for too long: for another one that is reserved now, or for good.
    fn poll_overdue(
        &mut self,
        cx: &mut Context<'_>,
        wait: &mut Wait,
        nothing_sent: bool,
        hopeless: impl FnOnce() -> Stopped,
    ) -> Poll<Stopped> {
        while self.timer.poll_due(cx).is_ready() {
            let now = Instant::now();
            if now >= wait.hard {
                return Poll::Ready(hopeless());
            }
            if wait.first_byte.is_some_and(|due| now >= due) {
                if let Some(attempt) = self.flow.current().filter(|_| !wait.overdue) {
                    attempt.waited();
                }
                // With nobody to ask it goes on, and looks again when it has waited twice as long.
                (wait.first_byte, wait.overdue) = (Some(now + (now - wait.began)), true);
                let request = self.progress(Connection::New, nothing_sent);
                if self.flow.overtaken(request, &self.proxy.pool, &self.proxy.metrics) {
                    return Poll::Ready(Stopped::Next);
                }
            }
            self.timer.set(wait.due());
        }
        Poll::Pending
    }
}

fn head_stopped(error: &HeadError, sending: &Sending, sent_nothing: bool) -> Stopped {
    let (failure, unprocessed) = match error {
        HeadError::Invalid(_) => (Failure::BadResponse, false),
        HeadError::H2 { unprocessed, .. } => (Failure::Reset, *unprocessed),
        HeadError::Closed | HeadError::Io(_) => (Failure::Reset, false),
    };
    Stopped::Failed { failure, connection: sending.connection, nothing_sent: sent_nothing || unprocessed }
}
