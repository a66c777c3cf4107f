//! The general data path: glue between pingora's `ProxyHttp` and the request's [`Flow`].
//!
//! pingora parses, pools connections and copies bytes; everything that is decided is decided in [`Flow`]. An
//! upstream is reserved before pingora asks for one, and an error leads to another attempt exactly when the
//! flow has reserved the next. Refused here: `CONNECT` (by pingora), upgrades, requests with both a
//! `Content-Length` and a `Transfer-Encoding`, hidden paths, and heads and bodies beyond the limits.

mod answer;
mod client;
mod deadline;
mod failure;
mod socket;

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderName, TRANSFER_ENCODING};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::protocols::l4::ext::TcpKeepalive;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy, PeerOptions};
use pingora::{Error, ErrorSource, ErrorType, Result};
use tokio::time::Instant;

use self::answer::Answer;
pub use self::client::ClientConnection;
use crate::config::Config;
use crate::flow::{Flow, Request};
use crate::metrics::{Metrics, Outcome};
use crate::policy::retry::{Connection, Failure, Rules};
use crate::pool::Pool;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxy: what all requests share.
pub struct Proxy {
    pool: Arc<Pool>,
    metrics: Arc<Metrics>,
    rules: Rules,
    config: Config,
    peer_options: PeerOptions,
}

/// One request.
pub struct Context {
    flow: Flow,
    client: Option<Arc<ClientConnection>>,
    /// A head came from the current attempt's upstream.
    heard: bool,
    /// The response that is the client's has one of the statuses that count as failures.
    failed_status: Option<u16>,
    /// What an answer of our own said, for the metrics.
    answered: Option<u16>,
    _in_flight: InFlight,
}

impl Context {
    /// The head of a response is not awaited any more. True when it did not come in time.
    fn end_head_deadline(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.response_head().end())
    }
}

/// The head of the response that went to the client. An informational one is not it, since another follows.
/// 101 is final: what follows it is not HTTP.
fn response_begun(session: &Session) -> Option<StatusCode> {
    let status = session.response_written()?.status;
    (!status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS).then_some(status)
}

/// Counts the request as being served while it lives.
struct InFlight(Arc<Metrics>);

impl InFlight {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.in_flight.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

impl Proxy {
    /// A proxy over this pool.
    pub fn new(config: Config, pool: Arc<Pool>, metrics: Arc<Metrics>) -> Self {
        let peer_options = peer_options(&config);
        Self { rules: config.rules(), pool, metrics, config, peer_options }
    }

    /// The failed attempt's successor is reserved, or there is none: the error says so to pingora.
    fn attempt_failed(
        &self,
        failure: Failure,
        connection: Connection,
        session: &mut Session,
        ctx: &mut Context,
    ) -> bool {
        let request = Request {
            idempotent: session.req_header().method.is_idempotent(),
            replayable: !session.as_ref().retry_buffer_truncated(),
            response_begun: response_begun(session).is_some(),
            connection,
        };
        let upstream = ctx.flow.current().map(|attempt| attempt.incarnation().id.clone()).unwrap_or_default();
        let again = ctx.flow.failed(failure, request, &self.pool, &self.rules, &self.metrics);
        tracing::debug!(upstream, failure = failure.as_str(), again, "attempt failed");
        again
    }

    /// From now on the head of a response must come within the time for it, and within the request's time for
    /// all attempts. There is no deadline before the request is complete.
    fn head_due(&self, ctx: &Context) -> Option<Instant> {
        let left = ctx.flow.left(self.config.request_timeout_ms.duration());
        let timeout = self.config.upstream.read_timeout_ms.duration().min(left);
        ctx.flow.is_request_complete().then(|| Instant::now() + timeout)
    }

    fn renew_head_deadline(&self, ctx: &Context) {
        if let (Some(client), Some(due)) = (&ctx.client, self.head_due(ctx)) {
            client.response_head().set(due);
        }
    }

    /// Writes an answer of our own.
    async fn answer(&self, session: &mut Session, answer: Answer, ctx: &mut Context) {
        ctx.answered = Some(answer.status());
        if let Err(e) = answer.write(session).await {
            tracing::debug!("client gone before its answer: {e}");
        }
    }

    fn check_head(&self, session: &mut Session) -> Result<(), Answer> {
        let raw = session.as_ref().to_h1_raw();
        let limit = self.config.limits.max_header_bytes.size();
        if raw.len() > limit {
            return Err(Answer::HeaderTooLarge { limit });
        }
        let request = session.req_header();
        if self.config.hidden_paths.contains(request.uri.path()) {
            return Err(Answer::Hidden);
        }
        // pingora drops the Content-Length of such a request, so only the raw head still shows it.
        if request.headers.contains_key(TRANSFER_ENCODING) && client::has_content_length(&raw) {
            return Err(Answer::AmbiguousLength);
        }
        let limit = self.config.limits.max_body_bytes.get();
        if client::content_length(request).is_some_and(|length| length > limit) {
            return Err(Answer::BodyTooLarge { limit });
        }
        Ok(())
    }
}

fn peer_options(config: &Config) -> PeerOptions {
    let upstream = &config.upstream;
    let mut options = PeerOptions::new();
    options.connection_timeout = Some(upstream.connect_timeout_ms.duration());
    options.total_connection_timeout = options.connection_timeout;
    options.read_timeout = Some(upstream.read_timeout_ms.duration());
    options.write_timeout = Some(upstream.write_timeout_ms.duration());
    options.idle_timeout = Some(upstream.idle_timeout_ms.duration());
    options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    options.tcp_keepalive = Some(TcpKeepalive {
        idle: Duration::from_secs(5),
        interval: Duration::from_secs(1),
        count: 3,
        user_timeout: upstream.ack_timeout_ms.duration(),
    });
    options
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context {
            flow: Flow::new(),
            client: None,
            heard: false,
            failed_status: None,
            answered: None,
            _in_flight: InFlight::new(&self.metrics),
        }
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    fn on_connection_reuse(
        &self,
        _session: &mut Session,
        ctx: &mut Context,
        connection: Box<dyn std::any::Any + Send + Sync>,
    ) {
        if let Ok(client) = connection.downcast::<Arc<ClientConnection>>() {
            client.head_arrived();
            ctx.client = Some(*client);
        }
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        session.set_read_timeout(Some(self.config.client.read_timeout_ms.duration()));
        session.set_write_timeout(Some(self.config.client.write_timeout_ms.duration()));
        session.set_total_drain_timeout(Some(self.config.client.read_timeout_ms.duration()));
        let refused = self.check_head(session).err().or_else(|| {
            let none = ctx.flow.start(&self.pool).err()?;
            Some(Answer::NoUpstream(none))
        });
        if session.as_mut().is_body_done() {
            ctx.flow.request_complete();
        }
        let Some(answer) = refused else { return Ok(false) };
        self.answer(session, answer, ctx).await;
        Ok(true)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        _body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        // What was read, not what passes here: a further attempt gets the beginning again.
        if session.as_ref().body_bytes_read() > self.config.limits.max_body_bytes.size() {
            return Err(Error::new_down(ErrorType::HTTPStatus(413)));
        }
        if end_of_stream {
            ctx.flow.request_complete();
            self.renew_head_deadline(ctx);
        }
        Ok(())
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        let Some(attempt) = ctx.flow.current() else {
            return Err(Error::explain(ErrorType::InternalError, "no attempt was reserved"));
        };
        let mut peer = HttpPeer::new(attempt.addr(), false, String::new());
        peer.group_key = attempt.incarnation().key;
        peer.options = self.peer_options.clone();
        if ctx.flow.needs_new_connection() {
            // pingora is told so by a key that has no connection in the pool, and never gets one to keep.
            peer.group_key = self.pool.new_key();
            peer.options.idle_timeout = Some(Duration::ZERO);
        }
        // The request's time is for all attempts together, so a late one gets what is left.
        let left = ctx.flow.left(self.config.request_timeout_ms.duration()).max(Duration::from_millis(1));
        for timeout in [&mut peer.options.connection_timeout, &mut peer.options.total_connection_timeout] {
            *timeout = timeout.map(|timeout| timeout.min(left));
        }
        // pingora's timer for reads also runs while the client sends, and stays for the response's body. The
        // head of the response has its own deadline.
        if !ctx.flow.is_request_complete() {
            let client = self.config.client.read_timeout_ms.duration();
            peer.options.read_timeout = peer.options.read_timeout.map(|timeout| timeout.max(client));
        }
        Ok(Box::new(peer))
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        fd: RawFd,
        _digest: Option<&Digest>,
        ctx: &mut Context,
    ) -> Result<()> {
        ctx.heard = false;
        let Some(client) = &ctx.client else { return Ok(()) };
        let socket = socket::hold(fd).map_err(|e| {
            Error::because(ErrorType::InternalError, "no descriptor for the deadline of a response", e)
        })?;
        client.response_head().begin(socket, self.head_due(ctx));
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        upstream_request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if let Some(client) = &ctx.client {
            let value = client.forwarded_for(upstream_request.headers.get_all(&X_FORWARDED_FOR));
            upstream_request.insert_header(X_FORWARDED_FOR, value)?;
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        upstream_response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let status = upstream_response.status.as_u16();
        ctx.heard = true;
        if upstream_response.status.is_informational() {
            self.renew_head_deadline(ctx);
        } else if ctx.end_head_deadline() {
            return Err(Error::new_up(ErrorType::ReadTimedout));
        }
        if self.rules.statuses.contains(&status) {
            if self.attempt_failed(Failure::Status(status), Connection::Heard, session, ctx) {
                let mut error = Error::new_up(ErrorType::HTTPStatus(status));
                error.set_retry(true);
                return Err(error);
            }
            ctx.failed_status = Some(status);
        }
        client::strip_hop_by_hop(upstream_response);
        Ok(())
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let failure = failure::connecting(error.etype());
        let again = self.attempt_failed(failure, Connection::New, session, ctx);
        error.set_retry(again);
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        let overdue = ctx.end_head_deadline();
        let again = match failure::proxying(&error, session.as_mut().is_body_done()) {
            // Settled by `upstream_response_filter`, which has reserved the next upstream if there is to be one.
            _ if matches!(error.etype(), ErrorType::HTTPStatus(status) if self.rules.statuses.contains(status)) => {
                ctx.flow.failure().is_none() && ctx.flow.current().is_some()
            }
            // A response whose status counts as a failure broke off: its attempt is over and counted.
            Some(_) if ctx.flow.current().is_none() => false,
            Some(failure) => {
                let failure = if overdue { Failure::Timeout } else { failure };
                let connection = match (ctx.heard, reused) {
                    (true, _) => Connection::Heard,
                    (false, true) => Connection::Pooled,
                    (false, false) => Connection::New,
                };
                self.attempt_failed(failure, connection, session, ctx)
            }
            None => {
                ctx.flow.end(Outcome::Abandoned);
                false
            }
        };
        error.set_retry(again);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, ctx: &mut Context) -> FailToProxy {
        let answer = failure::answer(e, &ctx.flow, &self.config);
        let error_code = answer.as_ref().map_or(0, Answer::status);
        match answer {
            Some(answer) if response_begun(session).is_none() => {
                // pingora closes the connection after an error, so the client must be told.
                session.set_keepalive(None);
                self.answer(session, answer, ctx).await;
            }
            _ => {}
        }
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, ctx: &mut Context) {
        if e.is_none() && ctx.failed_status.is_none() {
            ctx.flow.end(Outcome::Ok);
        }
        let written = response_begun(session).map(|status| status.as_u16());
        let status = ctx.answered.or(written).unwrap_or(0);
        self.metrics.request(status, ctx.flow.elapsed().as_secs_f64());
        let Some(e) = e else { return };
        let (source, attempts) = (e.esource().as_str(), ctx.flow.attempts());
        if *e.esource() == ErrorSource::Downstream {
            tracing::debug!(status, attempts, source, "request failed: {e}");
        } else {
            tracing::warn!(status, attempts, source, "request failed: {e}");
        }
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Context, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Context,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
