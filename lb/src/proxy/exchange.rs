//! One request, from its head to the end of its answer: attempts one after another until one is the client's.
//!
//! All decisions are made elsewhere (`flow`, `policy`, `pool`); here they meet the bytes. It refuses to splice: as
//! soon as a byte of a response may have gone out, that response is the client's, whole or visibly broken.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::answer::Answer;
use super::attempt::Stopped;
use super::body::RequestBody;
use super::downstream::Downstream;
use super::rewrite::{Forward, request_id};
use super::{InFlight, Proxy, hash_key};
use crate::config::Config;
use crate::flow::{Flow, GaveUp, Request};
use crate::http1::{BodyLength, Method, RequestHead, ResponseHead};
use crate::metrics::Outcome;
use crate::net::Timer;
use crate::policy::retry::{Connection, Failure};
use crate::pool::{Choice, NoUpstream};

/// A buffer of this size is kept for the next request; a larger one is given back.
const KEPT_BYTES: usize = 4 * 1024;

/// What a connection's requests have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// The client's address.
    pub(crate) ip: IpAddr,
    /// The version of TLS that it speaks.
    pub(crate) tls: Option<&'static str>,
}

/// Memory that a connection's requests use one after another.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(super) response: ResponseHead,
    pub(super) head: Vec<u8>,
    kept: Vec<u8>,
    request_id: String,
    key: Vec<u8>,
}

impl Scratch {
    /// Between two requests: gives back what is larger than usual.
    pub(crate) fn trim(&mut self) {
        for buffer in [&mut self.head, &mut self.kept, &mut self.key] {
            if buffer.capacity() > KEPT_BYTES {
                *buffer = Vec::new();
            }
        }
    }
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client has an upstream's answer.
    Sent {
        /// Its status.
        status: u16,
        /// The connection cannot be used for another request.
        close: bool,
    },
    /// The client gets an answer of our own.
    Answer(Answer),
    /// The client is gone, or its request broke off.
    Gone,
    /// The answer broke off with this status.
    Broken(u16),
}

/// One request.
pub(crate) struct Exchange<'a, 'c> {
    pub(super) proxy: &'a Arc<Proxy>,
    pub(super) config: &'a Config,
    pub(super) thread: usize,
    pub(super) peer: Peer,
    pub(super) request: &'a RequestHead,
    pub(super) client: &'a mut Downstream<'c>,
    pub(super) timer: &'a mut Timer,
    /// Whether the client may send another request on the connection.
    pub(super) persists: bool,
    pub(super) response: &'a mut ResponseHead,
    pub(super) head: &'a mut Vec<u8>,
    pub(super) body: RequestBody<'a>,
    pub(super) flow: Flow,
    pub(super) request_id: &'a str,
    key: &'a [u8],
    random: u64,
    pub(super) sent_bytes: u64,
    /// How it ended, in one word.
    pub(super) ending: &'static str,
    /// How long it took until another protocol was agreed.
    pub(super) upgraded: Option<Duration>,
}

/// What may become of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Another request may come on it.
    Reuse,
    /// It ends with the answer.
    Close,
    /// It is of no use any more.
    Abort,
}

/// What an exchange begins with.
pub(crate) struct Begin<'a, 'c> {
    pub(crate) proxy: &'a Arc<Proxy>,
    pub(crate) thread: usize,
    pub(crate) peer: Peer,
    pub(crate) request: &'a RequestHead,
    /// The length of the request's body.
    pub(crate) length: BodyLength,
    pub(crate) client: &'a mut Downstream<'c>,
    pub(crate) timer: &'a mut Timer,
    pub(crate) scratch: &'a mut Scratch,
    /// Whether the client may send another request on the connection.
    pub(crate) persists: bool,
}

/// Serves a request.
pub(crate) async fn serve(begin: Begin<'_, '_>) -> After {
    let Begin { proxy, thread, peer, request, length, client, timer, scratch, persists } = begin;
    let config = proxy.config();
    let _in_flight = InFlight::new(&proxy.metrics);
    let Scratch { response, head, kept, request_id: id, key } = scratch;
    request_id(id, request, config.client.trust_forwarded, rand::random());
    hash_key(key, &config, request, peer.ip);
    // Of the request before, on the same connection.
    head.clear();
    let mut exchange = Exchange {
        proxy,
        config: &config,
        thread,
        peer,
        request,
        client,
        timer,
        persists,
        response,
        head,
        body: RequestBody::new(length, kept, config.retry.body_limit_bytes.size()),
        flow: Flow::new(std::time::Instant::now(), proxy.access_log.is_some()),
        request_id: id,
        key,
        random: rand::random(),
        sent_bytes: 0,
        ending: "complete",
        upgraded: None,
    };
    let end = match exchange.run().await {
        End::Answer(answer) => {
            exchange.flow.end(Outcome::Abandoned);
            exchange.answer(answer).await
        }
        end => end,
    };
    exchange.conclude(end)
}

/// Answers what is no request, or none that can be understood. True when the client has the answer.
pub(crate) async fn refuse(
    proxy: &Proxy,
    client: &mut Downstream<'_>,
    answer: Answer,
    timer: &mut Timer,
) -> bool {
    proxy.metrics.request(answer.status(), 0.0);
    answer.put(client, &mut ResponseHead::default(), "", Method::Other, true);
    flush(client, timer, proxy.config().client.write_timeout_ms.duration()).await
}

/// True when the client takes all that was put out, in this time.
async fn flush(client: &mut Downstream<'_>, timer: &mut Timer, patience: Duration) -> bool {
    timer.set(Instant::now() + patience);
    poll_fn(|cx| match client.poll_flush(cx) {
        Poll::Pending => timer.poll_due(cx).map(|()| false),
        Poll::Ready(flushed) => Poll::Ready(flushed.is_ok()),
    })
    .await
}

impl<'a> Exchange<'a, '_> {
    async fn run(&mut self) -> End {
        if let Some(answer) = self.refusal() {
            return End::Answer(answer);
        }
        let started = self.flow.start(&self.proxy.pool, self.choice());
        if let Err(why) = started
            && let Err(end) = self.wait_for_help(why, Answer::NoUpstream).await
        {
            return end;
        }
        loop {
            let stopped = match self.attempt().await {
                Ok((upstream, incarnation)) => self.answer_with(upstream, &incarnation).await,
                Err(stopped) => Err(stopped),
            };
            match stopped {
                Ok(end) | Err(Stopped::Over(end)) => return end,
                Err(Stopped::Next) => {}
                Err(Stopped::Failed { failure, connection, nothing_sent }) => {
                    if let Err(end) = self.after(failure, self.progress(connection, nothing_sent)).await {
                        return end;
                    }
                }
            }
        }
    }

    /// An attempt has failed: goes on when another one is reserved.
    async fn after(&mut self, failure: Failure, request: Request<'_>) -> Result<(), End> {
        let upstream = self.flow.current().map(|attempt| Arc::clone(attempt.incarnation().id()));
        let again = self.flow.failed(failure, request, &self.proxy.pool, &self.proxy.metrics);
        tracing::debug!(upstream = upstream.as_deref(), failure = failure.as_str(), again, "attempt failed");
        if again { Ok(()) } else { self.after_the_last(failure).await }
    }

    /// Why the request is not for any upstream.
    fn refusal(&self) -> Option<Answer> {
        if self.request.method() == Method::Connect {
            return Some(Answer::ConnectRefused);
        }
        let target = self.request.path_and_query();
        let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
        // Targets are ASCII.
        if self.config.hidden_paths.contains(std::str::from_utf8(path).unwrap_or_default()) {
            return Some(Answer::Hidden);
        }
        let limit = self.config.limits.body_bytes.get();
        if matches!(self.body.length(), BodyLength::Fixed(length) if length > limit) {
            return Some(Answer::BodyTooLarge { limit });
        }
        let limit = self.config.limits.requests.get();
        // This one is counted already.
        if u64::try_from(self.proxy.metrics.in_flight.get()).is_ok_and(|in_flight| in_flight > limit) {
            return Some(Answer::Overloaded { limit });
        }
        let limit = self.config.limits.requests_per_second_per_client.get();
        (limit > 0 && self.proxy.is_over_rate(self.peer.ip, limit))
            .then_some(Answer::TooManyRequests { limit })
    }

    pub(super) const fn choice(&self) -> Choice<'a> {
        Choice { key: self.key, random: self.random }
    }

    /// What the rules want to know of the request.
    pub(super) const fn progress(&self, connection: Connection, nothing_sent: bool) -> Request<'a> {
        Request {
            idempotent: self.request.method().is_idempotent(),
            nothing_sent,
            replayable: self.body.is_replayable(),
            response_begun: false,
            connection,
            choice: self.choice(),
        }
    }

    pub(super) const fn forward(&self) -> Forward<'a> {
        Forward {
            peer: self.peer.ip,
            tls: self.peer.tls.is_some(),
            trust: self.config.client.trust_forwarded,
            request_id: self.request_id,
        }
    }

    /// No attempt is left. There may be one more when somebody can still bring an upstream.
    async fn after_the_last(&mut self, failure: Failure) -> Result<(), End> {
        let Some((_, why)) = self.flow.failure() else { return Ok(()) };
        let attempts = self.flow.attempts();
        let answer = move |why| Answer::Failed { failure, why, attempts };
        match why {
            GaveUp::NoUpstream(none @ (NoUpstream::None | NoUpstream::AllFull)) => {
                self.wait_for_help(none, Answer::NoUpstream).await?;
            }
            // All that there are have failed. Whoever pushes upstreams is about to say so.
            GaveUp::NoUpstream(NoUpstream::AllTried) if self.config.upstreams.is_empty() => {
                self.wait_for_help(NoUpstream::AllTried, move |_| answer(why)).await?;
            }
            GaveUp::NoUpstream(_) | GaveUp::Rules(_) | GaveUp::Budget => {
                return Err(End::Answer(answer(why)));
            }
        }
        self.proxy.metrics.retry(failure);
        Ok(())
    }

    /// Waits until an upstream takes the request, within bounds of time and number.
    async fn wait_for_help(
        &mut self,
        why: NoUpstream,
        answer: impl Fn(NoUpstream) -> Answer,
    ) -> Result<(), End> {
        let mut why = why;
        let most = self.config.queue_requests.size();
        let Some(_place) = self.proxy.queue_place(most) else { return Err(End::Answer(answer(why))) };
        let is_first = self.flow.attempts() == 0;
        self.timer.set(Instant::now() + self.patience_for_help(is_first));
        let proxy = self.proxy;
        loop {
            let mut changed = pin!(proxy.pool.wait(!is_first));
            // From here on no change is missed.
            changed.as_mut().enable();
            match self.flow.start(&proxy.pool, self.choice()) {
                Ok(()) => {
                    if is_first {
                        self.flow.begins_late();
                    }
                    return Ok(());
                }
                Err(now) => why = now,
            }
            let (client, timer) = (&mut *self.client, &mut *self.timer);
            poll_fn(|cx| {
                if changed.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(()));
                }
                if client.is_body_done() && client.poll_gone(cx).is_ready() {
                    return Poll::Ready(Err(End::Gone));
                }
                timer.poll_due(cx).map(|()| Err(End::Answer(answer(why))))
            })
            .await?;
        }
    }

    /// How long help may take. A further attempt must also begin within the time for all.
    fn patience_for_help(&self, is_first: bool) -> Duration {
        let (patience, limit) = (self.config.queue_ms.duration(), self.config.retry.timeout_ms.duration());
        if is_first || limit.is_zero() {
            return patience;
        }
        patience.min(limit.saturating_sub(self.flow.tried_for()))
    }

    /// Sends an answer of our own.
    async fn answer(&mut self, answer: Answer) -> End {
        let close = !self.persists || !self.client.is_body_done();
        let length = answer.put(self.client, self.response, self.request_id, self.request.method(), close);
        self.sent_bytes = length;
        let patience = self.config.client.write_timeout_ms.duration();
        let flushed = flush(self.client, self.timer, patience).await;
        if flushed { End::Sent { status: answer.status(), close } } else { End::Gone }
    }

    /// Counts and logs the request.
    fn conclude(&mut self, end: End) -> After {
        let (status, after) = match end {
            End::Sent { status, close: false } => (status, After::Reuse),
            End::Sent { status, close: true } => (status, After::Close),
            End::Broken(status) => {
                self.client.abort();
                self.ending = "broken";
                (status, After::Abort)
            }
            End::Gone | End::Answer(_) => {
                self.client.abort();
                self.ending = "client_gone";
                (0, After::Abort)
            }
        };
        self.flow.end(if matches!(end, End::Sent { .. }) { Outcome::Ok } else { Outcome::Abandoned });
        let elapsed = self.flow.elapsed();
        // How long a tunnel lives says nothing of how fast its request was answered.
        self.proxy.metrics.request(status, self.upgraded.unwrap_or(elapsed).as_secs_f64());
        self.proxy.log(self, status, elapsed);
        after
    }
}
