//! The control plane's part: pushes upstream sets to a load balancer over one kept connection.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use wire::PutUpstreams;

/// The token of the load balancers that are started here. They live in namespaces nobody else can reach.
pub const TOKEN: &str = "the-token-of-one-comparison";

/// How long a push may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer that is read, in bytes.
const ANSWER_BYTES: usize = 65_536;

/// An open connection to the admin API.
pub struct Admin {
    addr: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

impl Admin {
    /// Connects.
    ///
    /// # Errors
    /// When nobody takes the connection in time.
    pub async fn connect(addr: SocketAddr) -> Result<Self> {
        let stream = timeout(TIMEOUT, TcpStream::connect(addr)).await.context("time-out")?;
        let stream = stream.with_context(|| format!("admin API at {addr}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { addr, sender, _driver: AbortOnDropHandle::new(driver) })
    }

    /// Puts a set in force. When it returns, it is.
    ///
    /// # Errors
    /// When it is refused, with the load balancer's words, or no answer comes.
    pub async fn put(&mut self, set: &PutUpstreams) -> Result<()> {
        self.put_encoded(set.generation, serde_json::to_vec(set)?).await
    }

    /// The same, of a set that is JSON already.
    ///
    /// # Errors
    /// See [`Admin::put`].
    pub async fn put_encoded(&mut self, generation: u64, set: impl Into<Bytes>) -> Result<()> {
        let request = Request::put("/v1/upstreams")
            .header(HOST, self.addr.to_string())
            .header(AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(set.into()))?;
        let exchange = async {
            self.sender.ready().await?;
            let answer = self.sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
            if status != StatusCode::OK {
                bail!("{status}: {}", String::from_utf8_lossy(&body));
            }
            Ok(())
        };
        let put = timeout(TIMEOUT, exchange).await.context("time-out").flatten();
        put.with_context(|| format!("push of generation {generation} to {}", self.addr))
    }
}
