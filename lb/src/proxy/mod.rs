//! The general data path: glue between pingora's `ProxyHttp` and the request's [`Flow`].
//!
//! pingora parses, pools connections and copies bytes; everything that is decided is decided in [`Flow`]. An
//! upstream is reserved before pingora asks for one, and an error leads to another attempt exactly when the
//! flow has reserved the next. Refused here: `CONNECT` (by pingora), upgrades, requests with both a
//! `Content-Length` and a `Transfer-Encoding`, and heads and bodies beyond the limits.

mod answer;
mod client;
mod failure;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{HeaderName, TRANSFER_ENCODING};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::l4::ext::TcpKeepalive;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy, PeerOptions};
use pingora::{Error, ErrorSource, ErrorType, Result};

use self::answer::Answer;
pub use self::client::ClientConnection;
use crate::config::Config;
use crate::flow::{Flow, Request};
use crate::metrics::{Metrics, Outcome};
use crate::policy::retry::{Failure, Rules};
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
    /// The response that is the client's has one of the statuses that count as failures.
    failed_status: Option<u16>,
    /// What an answer of our own said, for the metrics.
    answered: Option<u16>,
    _in_flight: InFlight,
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
    fn attempt_failed(&self, failure: Failure, session: &mut Session, ctx: &mut Context) -> bool {
        let request = Request {
            idempotent: session.req_header().method.is_idempotent(),
            replayable: !session.as_ref().retry_buffer_truncated(),
            response_begun: session.response_written().is_some(),
        };
        let upstream = ctx.flow.current().map(|attempt| attempt.incarnation().id.clone()).unwrap_or_default();
        let again = ctx.flow.failed(failure, request, &self.pool, &self.rules, &self.metrics);
        tracing::debug!(upstream, failure = failure.as_str(), again, "attempt failed");
        again
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
        let Some(answer) = refused else { return Ok(false) };
        self.answer(session, answer, ctx).await;
        Ok(true)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
        _ctx: &mut Context,
    ) -> Result<()> {
        // What was read, not what passes here: a further attempt gets the beginning again.
        if session.as_ref().body_bytes_read() > self.config.limits.max_body_bytes.size() {
            return Err(Error::new_down(ErrorType::HTTPStatus(413)));
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
        // The request's time is for all attempts together, so a late one gets what is left.
        let left = self.config.request_timeout_ms.duration().saturating_sub(ctx.flow.elapsed());
        let left = left.max(Duration::from_millis(1));
        for timeout in [
            &mut peer.options.connection_timeout,
            &mut peer.options.total_connection_timeout,
            &mut peer.options.read_timeout,
        ] {
            *timeout = timeout.map(|timeout| timeout.min(left));
        }
        Ok(Box::new(peer))
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
        if self.rules.statuses.contains(&status) {
            if self.attempt_failed(Failure::Status(status), session, ctx) {
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
        let again = self.attempt_failed(failure, session, ctx);
        error.set_retry(again);
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Context,
        _client_reused: bool,
    ) -> Box<Error> {
        let again = match failure::proxying(&error, session.as_mut().is_body_done()) {
            // Settled by `upstream_response_filter`, which has reserved the next upstream if there is to be one.
            _ if matches!(error.etype(), ErrorType::HTTPStatus(status) if self.rules.statuses.contains(status)) => {
                ctx.flow.failure().is_none() && ctx.flow.current().is_some()
            }
            // A response whose status counts as a failure broke off: its attempt is over and counted.
            Some(_) if ctx.flow.current().is_none() => false,
            Some(failure) => self.attempt_failed(failure, session, ctx),
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
            Some(answer) if session.response_written().is_none() => {
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
        let written = session.response_written().map(|response| response.status.as_u16());
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
