//! The lab's own HTTP client: one request per connection, everything limited.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a reading request may take in all.
pub(crate) const READ_WITHIN: Duration = Duration::from_secs(2);
/// The largest answer that is read, in bytes.
const MAX_BODY: usize = 4 << 20;

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl Response {
    /// The body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("the answer is not as expected: {}", self.text()))
    }

    /// The body as text, shortened for a message.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().take(300).collect()
    }
}

/// Sends one request and reads the answer.
pub(crate) async fn send(
    to: SocketAddr,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Option<&str>,
    limit: Duration,
) -> Result<Response> {
    let mut request = Request::builder().method(&method).uri(path).header(header::HOST, to.to_string());
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(Bytes::from(body.unwrap_or_default().to_owned())))?;
    let what = format!("{method} http://{to}{path}");
    match timeout(limit, exchange(to, request)).await {
        Ok(result) => result.with_context(|| what),
        Err(_) => Err(anyhow!("no answer within {} ms", limit.as_millis()).context(what)),
    }
}

async fn exchange(to: SocketAddr, request: Request<Full<Bytes>>) -> Result<Response> {
    let stream = TcpStream::connect(to).await.context("cannot connect")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body =
        Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(|error| anyhow!(error))?;
    connection.abort();
    Ok(Response { status, body: body.to_bytes() })
}

/// `GET`s JSON; any status but 200 is an error.
pub(crate) async fn get<T: DeserializeOwned>(from: SocketAddr, path: &str) -> Result<T> {
    let response = send(from, Method::GET, path, None, None, READ_WITHIN).await?;
    if response.status != StatusCode::OK {
        bail!("GET http://{from}{path}: {}: {}", response.status, response.text());
    }
    response.json()
}
