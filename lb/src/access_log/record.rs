//! What is known of a request when it is over.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use http::Version;

/// A request and its response, as the proxy saw them. It borrows: making one costs nothing.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// When its first byte arrived.
    pub time: SystemTime,
    /// The client's address.
    pub client: IpAddr,
    /// The method, as sent.
    pub method: &'a [u8],
    /// The target, as sent.
    pub target: &'a [u8],
    /// The version that the client spoke.
    pub version: Version,
    /// `Host` or `:authority`.
    pub host: Option<&'a [u8]>,
    /// `Referer`.
    pub referer: Option<&'a [u8]>,
    /// `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
    /// The response's status; 0 if none was sent.
    pub status: u16,
    /// Bytes of the response's body that were sent.
    pub bytes: u64,
    /// From the first byte of the request to the last byte of the response.
    pub duration: Duration,
    /// The upstreams that were tried, in order.
    pub attempts: &'a [Attempt],
    /// `X-Request-Id`, as passed on.
    pub request_id: &'a [u8],
    /// The version of TLS, such as `TLSv1.3`; none without TLS.
    pub tls: Option<&'static str>,
    /// How it ended, in one word of the proxy's, such as `complete`.
    pub end: &'static str,
}

/// An upstream that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Its address.
    pub upstream: SocketAddr,
    /// How it went.
    pub outcome: Outcome,
    /// From the choice of the upstream to the head of its response, or the failure.
    pub duration: Duration,
}

/// How an attempt went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream answered, with this status.
    Status(u16),
    /// It did not, for this reason: one word, such as `connect_error`.
    Failed(&'static str),
}

/// The most attempts that are logged of a request: the first ones.
pub(super) const MAX_ATTEMPTS: usize = 16;

/// The most bytes that are logged of each text.
const MAX_METHOD: usize = 32;
const MAX_TARGET: usize = 4096;
const MAX_HOST: usize = 256;
const MAX_REFERER: usize = 2048;
const MAX_USER_AGENT: usize = 1024;
const MAX_REQUEST_ID: usize = 128;

/// A record that owns its texts, in one piece of memory.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) time: SystemTime,
    pub(super) client: IpAddr,
    pub(super) version: Version,
    pub(super) status: u16,
    pub(super) bytes: u64,
    pub(super) duration: Duration,
    pub(super) attempts: Box<[Attempt]>,
    /// Attempts beyond those in `attempts`.
    pub(super) more_attempts: usize,
    pub(super) tls: Option<&'static str>,
    pub(super) end: &'static str,
    texts: Box<[u8]>,
    pieces: [Piece; 6],
}

/// Where a text ends; it begins where the one before it does.
#[derive(Debug, Clone, Copy, Default)]
struct Piece {
    end: u16,
    given: bool,
    cut: bool,
}

/// A text of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    /// Its bytes, whatever they are.
    pub(super) bytes: &'a [u8],
    /// Whether it goes on.
    pub(super) cut: bool,
}

impl Stored {
    pub(super) fn new(record: &Record<'_>) -> Self {
        let texts = [
            (Some(record.method), MAX_METHOD),
            (Some(record.target), MAX_TARGET),
            (record.host, MAX_HOST),
            (record.referer, MAX_REFERER),
            (record.user_agent, MAX_USER_AGENT),
            (Some(record.request_id), MAX_REQUEST_ID),
        ];
        let kept = |(text, max): (Option<&[u8]>, usize)| text.map_or(0, |text| text.len().min(max));
        let mut all = Vec::with_capacity(texts.iter().copied().map(kept).sum());
        let pieces = texts.map(|(text, max)| {
            let len = kept((text, max));
            all.extend_from_slice(&text.unwrap_or_default()[..len]);
            let cut = text.is_some_and(|text| text.len() > len);
            Piece { end: u16::try_from(all.len()).unwrap_or(u16::MAX), given: text.is_some(), cut }
        });
        let attempts = &record.attempts[..record.attempts.len().min(MAX_ATTEMPTS)];
        Self {
            time: record.time,
            client: record.client,
            version: record.version,
            status: record.status,
            bytes: record.bytes,
            duration: record.duration,
            attempts: attempts.into(),
            more_attempts: record.attempts.len() - attempts.len(),
            tls: record.tls,
            end: record.end,
            texts: all.into(),
            pieces,
        }
    }

    pub(super) fn method(&self) -> Text<'_> {
        self.text(0).unwrap_or(Text { bytes: b"", cut: false })
    }

    pub(super) fn target(&self) -> Text<'_> {
        self.text(1).unwrap_or(Text { bytes: b"", cut: false })
    }

    pub(super) fn host(&self) -> Option<Text<'_>> {
        self.text(2)
    }

    pub(super) fn referer(&self) -> Option<Text<'_>> {
        self.text(3)
    }

    pub(super) fn user_agent(&self) -> Option<Text<'_>> {
        self.text(4)
    }

    pub(super) fn request_id(&self) -> Text<'_> {
        self.text(5).unwrap_or(Text { bytes: b"", cut: false })
    }

    fn text(&self, index: usize) -> Option<Text<'_>> {
        let Piece { end, given, cut } = self.pieces[index];
        let begin = index.checked_sub(1).map_or(0, |before| self.pieces[before].end);
        given.then(|| Text { bytes: &self.texts[usize::from(begin)..usize::from(end)], cut })
    }
}

// The ends of the texts are 16 bits wide.
const _: () =
    assert!(MAX_METHOD + MAX_TARGET + MAX_HOST + MAX_REFERER + MAX_USER_AGENT + MAX_REQUEST_ID <= 65_535);
