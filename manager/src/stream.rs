//! One stream of events, held open, event by event: `GET /heartbeat` of a VM, `GET /v1/events` of a manager.
//!
//! It reports what it sees and decides nothing: how long silence may last is the core's to say. Each connection
//! is a new TCP connection, because an old one proves nothing.

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;
use wire::Heartbeat;

/// A TCP connection must be there within this time. Below the one second after which TCP repeats a lost SYN: a VM
/// that begins to listen in between is found sooner by a new attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);

/// An event larger than this is none of ours.
const EVENT_MAX_BYTES: usize = 16 << 10;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be opened in time.
    #[error("no connection within {} ms", CONNECT_TIMEOUT.as_millis())]
    ConnectTimeout,
    /// It was opened, and then nothing was said.
    #[error("no answer within {} ms", .0.as_millis())]
    AnswerTimeout(Duration),
    /// It could not be opened, or the socket failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The other side does not speak HTTP, or broke off.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The answer is not a stream of events.
    #[error("answered with status {0}")]
    Status(http::StatusCode),
    /// An event is not of the kind that was expected.
    #[error("event cannot be understood: {0}")]
    Event(String),
    /// The stream ended in good order.
    #[error("the stream was closed")]
    Closed,
}

/// An open stream of events, each a `T`; dropping it closes the connection.
pub struct Stream<T = Heartbeat> {
    body: hyper::body::Incoming,
    events: Events,
    kind: PhantomData<fn() -> T>,
    _connection: AbortOnDropHandle<()>,
}

impl<T: DeserializeOwned> Stream<T> {
    /// Opens a connection to `addr` and asks for `path`; the answer's head may take up to `limit`.
    ///
    /// # Errors
    /// If it cannot be opened within 250 ms, or the answer is no stream or does not come in time.
    pub async fn open(addr: SocketAddr, path: &str, limit: Duration) -> Result<Self, Error> {
        let connect = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(addr));
        let socket = connect.await.map_err(|_| Error::ConnectTimeout)??;
        socket.set_nodelay(true)?;
        let ask = async {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
            // Its errors reach the reader of the body.
            let connection = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
            let request = hyper::Request::get(path)
                .header(http::header::HOST, addr.to_string())
                .header(http::header::ACCEPT, "text/event-stream")
                .body(Empty::<Bytes>::new())
                .map_err(|error| Error::Event(error.to_string()))?;
            let response = sender.send_request(request).await?;
            if response.status() != http::StatusCode::OK {
                return Err(Error::Status(response.status()));
            }
            Ok(Self {
                body: response.into_body(),
                events: Events::default(),
                kind: PhantomData,
                _connection: connection,
            })
        };
        tokio::time::timeout(limit, ask).await.map_err(|_| Error::AnswerTimeout(limit))?
    }

    /// The next event. Waits for as long as the other side is silent.
    ///
    /// # Errors
    /// When the connection has ended, or what came is no `T`.
    pub async fn next(&mut self) -> Result<T, Error> {
        loop {
            if let Some(event) = self.events.next()? {
                return Ok(event);
            }
            let frame = self.body.frame().await.ok_or(Error::Closed)??;
            if let Ok(data) = frame.into_data() {
                self.events.push(&data)?;
            }
        }
    }
}

/// Takes a stream of bytes apart into events (WHATWG HTML, section 9.2.6), for the one kind that ours
/// are: a single `data` line of JSON.
#[derive(Default)]
struct Events {
    buffer: Vec<u8>,
}

impl Events {
    fn push(&mut self, data: &[u8]) -> Result<(), Error> {
        self.buffer.extend(data.iter().filter(|byte| **byte != b'\r'));
        // Several events may come at once, but one that does not end is no event.
        if self.buffer.len() > EVENT_MAX_BYTES && self.end().is_none_or(|end| end > EVENT_MAX_BYTES) {
            return Err(Error::Event(format!("longer than {EVENT_MAX_BYTES} bytes")));
        }
        Ok(())
    }

    fn end(&self) -> Option<usize> {
        self.buffer.windows(2).position(|pair| pair == b"\n\n")
    }

    fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        while let Some(end) = self.end() {
            let block: Vec<_> = self.buffer.drain(..end + 2).collect();
            let data = block.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data:"));
            // A block without data is a comment, sent to keep the connection open.
            if let Some(data) = data {
                let event = serde_json::from_slice(data).map_err(|error| Error::Event(error.to_string()))?;
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
