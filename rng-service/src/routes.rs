//! From a request to its answer: which route, which method, which value. Knows nothing of sockets.

use std::time::{Duration, Instant};

use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use serde::Serialize;
use tokio::sync::watch;
use wire::{ErrorBody, Status};

use crate::accept::{self, Format};
use crate::answer::{self, Answer, AnswerBody};
use crate::connection::OpenRequest;
use crate::heartbeat::{Phase, Readers};
use crate::load::Gauge;
use crate::metrics::Metrics;
use crate::origin::Origin;
use crate::query;
use crate::value::{Kind, Value};

/// All that answers need.
pub(crate) struct App {
    pub(crate) instance: String,
    pub(crate) body_bytes: usize,
    pub(crate) body_timeout: Duration,
    pub(crate) readers: Readers,
    pub(crate) load: std::sync::Arc<Gauge>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) metrics: Metrics,
}

#[derive(Clone, Copy)]
enum Route {
    Value(Kind),
    Heartbeat,
    Metrics,
    Health,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/bool" => Self::Value(Kind::Bool),
            "/int" => Self::Value(Kind::Int),
            "/float" => Self::Value(Kind::Float),
            "/double" => Self::Value(Kind::Double),
            "/heartbeat" => Self::Heartbeat,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            _ => return None,
        })
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Value(kind) => kind.as_str(),
            Self::Heartbeat => "heartbeat",
            Self::Metrics => "metrics",
            Self::Health => "healthz",
        }
    }
}

/// The JSON form of a value.
#[derive(Serialize)]
struct ValueBody<'a> {
    kind: Kind,
    value: Value,
    instance: &'a str,
}

#[derive(Serialize)]
struct HealthBody {
    status: Status,
}

impl App {
    /// Answers one request. The body is read first, so that the connection stays usable.
    pub(crate) async fn answer<B>(&self, request: Request<B>, open: OpenRequest, origin: Origin) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let began = Instant::now();
        let (head, body) = request.into_parts();
        let route = Route::of(head.uri.path());
        let in_flight = (!matches!(route, Some(Route::Heartbeat))).then(|| self.load.enter());
        let mut answer = match self.discard(body).await {
            Ok(()) => self.route(route, &head.method, &head.uri, &head.headers, origin),
            Err(refusal) => refusal,
        };
        if *self.phase.borrow() > Phase::Serving {
            answer = answer::closing(answer);
        }
        let code = answer.status().as_u16();
        self.metrics.answered(route.map_or("other", Route::label), code, began.elapsed());
        answer.body_mut().counted(in_flight, open);
        answer
    }

    fn route(
        &self,
        route: Option<Route>,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        origin: Origin,
    ) -> Answer {
        let Some(route) = route else {
            let shown: String = uri.path().chars().take(64).collect();
            return answer::error(StatusCode::NOT_FOUND, &ErrorBody::new("not_found", format!("no {shown}")));
        };
        if method != Method::GET && method != Method::HEAD {
            let body = ErrorBody::new("method_not_allowed", "only GET and HEAD are possible");
            return answer::with_allow(answer::error(StatusCode::METHOD_NOT_ALLOWED, &body));
        }
        match route {
            Route::Value(kind) => answer::with_vary(self.value(kind, uri, headers)),
            Route::Heartbeat => self.heartbeat(method, origin),
            Route::Metrics => self.metrics(),
            Route::Health => self.health(),
        }
    }

    fn value(&self, kind: Kind, uri: &Uri, headers: &HeaderMap) -> Answer {
        let draw = match query::parse(kind, uri.query()) {
            Ok(draw) => draw,
            Err(error) => {
                let body = ErrorBody::new(error.code, error.message).at(error.parameter);
                return answer::error(StatusCode::BAD_REQUEST, &body);
            }
        };
        let Some(format) = accept::negotiate(headers) else {
            let body = ErrorBody::new("not_acceptable", "values come as application/json or text/plain");
            return answer::error(StatusCode::NOT_ACCEPTABLE, &body.at("Accept"));
        };
        let value = draw.draw(&mut rand::rng());
        let written = match format {
            Format::Json => serde_json::to_vec(&ValueBody { kind, value, instance: &self.instance }),
            Format::Text => serde_json::to_vec(&value),
        };
        match (written, format) {
            (Ok(bytes), Format::Json) => answer::ok(answer::JSON, AnswerBody::whole(bytes)),
            (Ok(bytes), Format::Text) => answer::ok(answer::TEXT, AnswerBody::whole(bytes)),
            (Err(error), _) => internal(&error),
        }
    }

    fn heartbeat(&self, method: &Method, origin: Origin) -> Answer {
        if method == Method::HEAD {
            return answer::ok(answer::EVENTS, AnswerBody::stream_head());
        }
        match self.readers.open(origin) {
            Some(events) => answer::ok(answer::EVENTS, AnswerBody::stream(events)),
            None => {
                let body =
                    ErrorBody::new("too_many_readers", "as many heartbeat readers as allowed are open");
                let limit = match origin {
                    Origin::Manager => "limits.manager_readers",
                    Origin::Public => "heartbeat.max_readers",
                };
                answer::error(StatusCode::SERVICE_UNAVAILABLE, &body.at(limit))
            }
        }
    }

    fn metrics(&self) -> Answer {
        match self.metrics.render() {
            Ok(text) => answer::ok(answer::PROMETHEUS, AnswerBody::whole(text)),
            Err(error) => internal(&error),
        }
    }

    /// 503 while draining: whoever asks here decides by the status whether to send more.
    fn health(&self) -> Answer {
        let status = self.phase.borrow().status();
        match (status, serde_json::to_vec(&HealthBody { status })) {
            (Status::Ok, Ok(json)) => answer::ok(answer::JSON, AnswerBody::whole(json)),
            (Status::Draining, _) => {
                let body = ErrorBody::new("draining", "the service is about to stop");
                answer::error(StatusCode::SERVICE_UNAVAILABLE, &body)
            }
            (Status::Ok, Err(error)) => internal(&error),
        }
    }

    async fn discard<B>(&self, body: B) -> Result<(), Answer>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if body.is_end_stream() {
            return Ok(());
        }
        let refuse = |status, code, message: &str, path| {
            answer::closing(answer::error(status, &ErrorBody::new(code, message).at(path)))
        };
        let too_large = || {
            let message = format!("a body may have {} bytes", self.body_bytes);
            refuse(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &message, "limits.body_bytes")
        };
        if body.size_hint().lower() > self.body_bytes as u64 {
            return Err(too_large());
        }
        let mut body = std::pin::pin!(Limited::new(body, self.body_bytes));
        let drained = tokio::time::timeout(self.body_timeout, async {
            while let Some(frame) = body.frame().await {
                frame?;
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        });
        match drained.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(error)) => Err(refuse(
                StatusCode::BAD_REQUEST,
                "broken_body",
                &format!("the body broke off: {error}"),
                "body",
            )),
            Err(_) => Err(refuse(
                StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                "the body took too long",
                "limits.body_timeout_ms",
            )),
        }
    }
}

fn internal(error: &dyn std::error::Error) -> Answer {
    tracing::error!(%error, "an answer could not be written");
    answer::error(StatusCode::INTERNAL_SERVER_ERROR, &ErrorBody::new("internal", error.to_string()))
}
