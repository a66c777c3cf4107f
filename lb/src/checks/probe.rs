//! One check: one request on a connection of its own.
//!
//! A check is good when a whole answer with the wanted status arrives in time; only the beginning of a long body is
//! waited for. The connection is closed after it: a check on a kept connection would not notice an upstream that takes
//! no new ones.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::Request;
use http::header::USER_AGENT;
use tokio::time::timeout;

use crate::config::Protocol;
use crate::http1::{Decoder, Invalid, ResponseHead};
use crate::net::{Buffered, Connector, Transport, is_out_of_resources};

/// The largest head of an answer.
const HEAD_BYTES: usize = 16 * 1024;

/// The most informational heads before it.
const MAX_INTERIM: u32 = 16;

/// Of a body no more is read than about this.
const BODY_BYTES: usize = 64 * 1024;

const AGENT: &str = "phalanx-lb-check";

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// The upstream is good.
    Good,
    /// The answer has another status.
    Status,
    /// No connection came about.
    Connect,
    /// The answer was not there in time.
    Timeout,
    /// The connection ended before the answer did, or failed.
    Broken,
    /// What came is no valid HTTP.
    Invalid,
    /// The check could not be made, for want of ports, descriptors or memory. It says nothing of the upstream.
    Unmade,
}

impl Finding {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Good, Self::Status, Self::Connect, Self::Timeout, Self::Broken, Self::Invalid, Self::Unmade];

    /// Its name in the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Status => "status",
            Self::Connect => "connect_error",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Invalid => "bad_response",
            Self::Unmade => "unmade",
        }
    }
}

/// What is asked, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) connector: Connector,
    pub(super) protocol: Protocol,
    pub(super) path: &'a str,
    /// For the whole check.
    pub(super) timeout: Duration,
    /// The status of a good answer.
    pub(super) expect_status: u16,
}

/// What there is to say of a check.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) finding: Finding,
    /// Details of what is not good.
    pub(super) reason: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the connection ended before the answer did")]
    Closed,
    #[error("{0}")]
    Invalid(#[from] Invalid),
    #[error("too many informational heads")]
    Interim,
    #[error("HTTP/2: {0}")]
    H2(#[from] h2::Error),
}

impl Error {
    fn finding(&self) -> Finding {
        match self {
            Self::Connect(e) if is_out_of_resources(e) => Finding::Unmade,
            Self::Connect(_) => Finding::Connect,
            Self::Io(_) | Self::Closed => Finding::Broken,
            Self::H2(e) if e.is_io() => Finding::Broken,
            Self::Invalid(_) | Self::Interim | Self::H2(_) => Finding::Invalid,
        }
    }
}

/// Makes one check.
pub(super) async fn ask(addr: SocketAddr, question: Question<'_>) -> Found {
    let answer = async {
        let transport = question.connector.connect(addr).await.map_err(Error::Connect)?;
        match question.protocol {
            Protocol::Http1 => ask_h1(transport, addr, question.path).await,
            Protocol::H2 => ask_h2(transport, addr, question.path).await,
        }
    };
    match timeout(question.timeout, answer).await {
        Ok(Ok(status)) if status == question.expect_status => {
            Found { finding: Finding::Good, reason: String::new() }
        }
        Ok(Ok(status)) => Found {
            finding: Finding::Status,
            reason: format!("status {status} instead of {}", question.expect_status),
        },
        Ok(Err(e)) => Found { finding: e.finding(), reason: e.to_string() },
        Err(_) => Found {
            finding: Finding::Timeout,
            reason: format!("no whole answer within {} ms", question.timeout.as_millis()),
        },
    }
}

async fn ask_h1(transport: Transport, addr: SocketAddr, path: &str) -> Result<u16, Error> {
    let mut io = Buffered::new(transport);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUser-Agent: {AGENT}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    io.output().extend_from_slice(request.as_bytes());
    poll_fn(|cx| io.poll_flush(cx)).await?;
    let mut head = ResponseHead::default();
    for _ in 0..=MAX_INTERIM {
        head.clear();
        poll_fn(|cx| poll_head(cx, &mut io, &mut head)).await?;
        if !head.is_interim() {
            let mut decoder = Decoder::new(head.body_length(false)?);
            let mut bytes = 0;
            poll_fn(|cx| poll_body(cx, &mut io, &mut decoder, &mut bytes)).await?;
            return Ok(head.status());
        }
    }
    Err(Error::Interim)
}

fn poll_head(cx: &mut Context<'_>, io: &mut Buffered, head: &mut ResponseHead) -> Poll<Result<(), Error>> {
    loop {
        if !io.input().is_empty()
            && let Some(n) = head.parse(io.input(), HEAD_BYTES)?
        {
            io.consume(n);
            return Poll::Ready(Ok(()));
        }
        if ready!(io.poll_fill(cx))? == 0 {
            return Poll::Ready(Err(Error::Closed));
        }
    }
}

/// Reads the body to its end, or as much of it as is of interest.
fn poll_body(
    cx: &mut Context<'_>,
    io: &mut Buffered,
    decoder: &mut Decoder,
    bytes: &mut usize,
) -> Poll<Result<(), Error>> {
    while !decoder.is_done() && *bytes < BODY_BYTES {
        if !io.input().is_empty() {
            let step = decoder.step(io.input())?;
            *bytes += step.consumed;
            io.consume(step.consumed);
        } else if ready!(io.poll_fill(cx))? == 0 {
            return Poll::Ready(if decoder.finish_on_eof() { Ok(()) } else { Err(Error::Closed) });
        }
    }
    Poll::Ready(Ok(()))
}

async fn ask_h2(transport: Transport, addr: SocketAddr, path: &str) -> Result<u16, Error> {
    let header_bytes = u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX);
    let mut builder = Builder::new();
    builder.enable_push(false).max_header_list_size(header_bytes);
    let (send, connection) = builder.handshake::<_, Bytes>(transport).await?;
    let mut status = pin!(ask_stream(send, addr, path));
    // It carries the stream. How it ended, the stream says, which may have had its answer before.
    let carry = async { drop(connection.await) };
    tokio::select! {
        status = &mut status => status,
        () = carry => status.await,
    }
}

async fn ask_stream(send: SendRequest<Bytes>, addr: SocketAddr, path: &str) -> Result<u16, Error> {
    let mut send = send.ready().await?;
    let request = Request::get(format!("http://{addr}{path}")).header(USER_AGENT, AGENT).body(());
    let request = request.map_err(io::Error::other)?;
    let (response, _) = send.send_request(request, true)?;
    let (head, mut body) = response.await?.into_parts();
    let mut bytes = 0;
    while bytes < BODY_BYTES
        && let Some(data) = body.data().await
    {
        let n = data?.len();
        bytes += n;
        body.flow_control().release_capacity(n)?;
    }
    Ok(head.status.as_u16())
}
