//! A small HTTP client: JSON there and back, every wait and every size bounded.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::ErrorBody;

use crate::identity::Token;

/// Answers larger than this are refused.
const ANSWER_MAX_BYTES: usize = 8 << 20;
/// Idle connections are kept for this long: less than a manager waits for the next request, or one would be closed as
/// it is sent.
pub(crate) const IDLE: Duration = Duration::from_secs(4);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It took too long.
    #[error("{addr} did not answer within {} ms", .limit.as_millis())]
    Timeout {
        /// Who was asked.
        addr: SocketAddr,
        /// How long it might have taken.
        limit: Duration,
    },
    /// The connection failed.
    #[error("cannot reach {addr}: {message}")]
    Transport {
        /// Who was asked.
        addr: SocketAddr,
        /// Why.
        message: String,
    },
    /// The other side refused.
    #[error("{addr} answered {status}: {}", .body.error.message)]
    Refused {
        /// Who was asked.
        addr: SocketAddr,
        /// Its status.
        status: StatusCode,
        /// Its words.
        body: Box<ErrorBody>,
    },
    /// The answer is not what it should be.
    #[error("{addr} gave an answer that cannot be understood: {message}")]
    Answer {
        /// Who was asked.
        addr: SocketAddr,
        /// What is wrong with it.
        message: String,
    },
}

impl Error {
    /// The status of a refusal.
    pub const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Timeout { .. } | Self::Transport { .. } | Self::Answer { .. } => None,
        }
    }
}

/// A client for one server.
#[derive(Clone, Debug)]
pub struct Client {
    addr: SocketAddr,
    token: Option<Token>,
    limit: Duration,
    http: Pooled<HttpConnector, Full<Bytes>>,
}

impl Client {
    /// A client of the server at `addr`; each exchange may take up to `limit`.
    pub fn new(addr: SocketAddr, token: Option<Token>, limit: Duration) -> Self {
        Self::build(addr, token, limit, None)
    }

    /// The same, whose connections come from this host's address `local`: peers take orders from the addresses they know.
    #[must_use]
    pub fn from(self, local: IpAddr) -> Self {
        Self::build(self.addr, self.token, self.limit, Some(local))
    }

    fn build(addr: SocketAddr, token: Option<Token>, limit: Duration, local: Option<IpAddr>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_local_address(local);
        connector.set_connect_timeout(Some(limit));
        let http = Pooled::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .build(connector);
        Self { addr, token, limit, http }
    }

    /// Who is asked.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The same client, with another limit.
    #[cfg(test)]
    pub(crate) const fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Whether there is any answer to a `GET` of `path`: its status and all that follows are not looked at.
    ///
    /// # Errors
    /// If there is none in time.
    pub async fn answers(&self, path: &str) -> Result<(), Error> {
        let exchange = async {
            let request = self.request(Method::GET, path, Bytes::new())?;
            self.http.request(request).await.map(drop).map_err(|error| self.transport(&error))
        };
        self.limited(exchange).await
    }

    /// `GET`s `path`.
    ///
    /// # Errors
    /// If there is no good answer in time.
    pub async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, Error> {
        self.exchange(Method::GET, path, Bytes::new()).await
    }

    /// Sends `body` as JSON.
    ///
    /// # Errors
    /// If there is no good answer in time.
    pub async fn send<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, Error> {
        let bytes = serde_json::to_vec(body).map_err(|error| self.bad(error.to_string()))?;
        self.exchange(method, path, bytes.into()).await
    }

    /// `DELETE`s `path`.
    ///
    /// # Errors
    /// If there is no good answer in time.
    pub async fn delete<A: DeserializeOwned>(&self, path: &str) -> Result<A, Error> {
        self.exchange(Method::DELETE, path, Bytes::new()).await
    }

    async fn exchange<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<A, Error> {
        let exchange = async {
            let request = self.request(method, path, body)?;
            let response = self.http.request(request).await.map_err(|error| self.transport(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await;
            let body = body.map_err(|error| self.bad(error.to_string()))?.to_bytes();
            if status.is_success() {
                serde_json::from_slice(&body).map_err(|error| self.bad(error.to_string()))
            } else {
                Err(self.refused(status, &body))
            }
        };
        self.limited(exchange).await
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<hyper::Request<Full<Bytes>>, Error> {
        let mut request = hyper::Request::builder().method(method).uri(format!("http://{}{path}", self.addr));
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token.header());
        }
        request.body(Full::new(body)).map_err(|error| self.bad(error.to_string()))
    }

    async fn limited<A>(&self, exchange: impl Future<Output = Result<A, Error>>) -> Result<A, Error> {
        let timeout = Error::Timeout { addr: self.addr, limit: self.limit };
        tokio::time::timeout(self.limit, exchange).await.unwrap_or(Err(timeout))
    }

    fn bad(&self, message: String) -> Error {
        Error::Answer { addr: self.addr, message }
    }

    fn transport(&self, error: &dyn std::error::Error) -> Error {
        // hyper's own words are general; the cause is at the chain's end.
        let mut cause = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Error::Transport { addr: self.addr, message: cause.to_string() }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Error {
        let body = serde_json::from_slice(body).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            ErrorBody::new("unknown", text)
        });
        Error::Refused { addr: self.addr, status, body: Box::new(body) }
    }
}
