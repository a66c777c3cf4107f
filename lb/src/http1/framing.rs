//! Where a message ends, and whether its connection lives on: RFC 9112, sections 6 and 9.
//!
//! A message whose length two readers could see differently is refused, even where the RFC lets a proxy repair it.

use super::fields::{Fields, Known, connection_lists, list};
use super::head::{RequestHead, ResponseHead, Version};
use super::invalid::Invalid;
use super::syntax;

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyLength {
    /// There is no body.
    #[default]
    Empty,
    /// So many bytes.
    Fixed(u64),
    /// Chunks, and trailers after them.
    Chunked,
    /// All up to the end of the connection, or of the stream in HTTP/2.
    UntilClose,
}

impl RequestHead {
    /// The length of the request's body. A request of HTTP/2 without `Content-Length` has all up to the end of its
    /// stream.
    ///
    /// # Errors
    /// When `Content-Length` or `Transfer-Encoding` is invalid, repeated, or both are there.
    pub fn body_length(&self) -> Result<BodyLength, Invalid> {
        Ok(declared(&self.fields, self.version)?.unwrap_or(match self.version {
            Version::Http10 | Version::Http11 => BodyLength::Empty,
            Version::Http2 => BodyLength::UntilClose,
        }))
    }

    /// Whether the client will send another request on this connection: RFC 9112, section 9.3.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(&self.fields, self.version)
    }

    /// The protocols the client would change to: RFC 9110, section 7.8. `None` unless `Connection` has `upgrade` and
    /// there is one `Upgrade` line, in HTTP/1.1.
    #[must_use]
    pub fn upgrade(&self) -> Option<&[u8]> {
        upgrade(&self.fields, self.version)
    }

    /// Whether the client waits for a 100 before it sends the body: RFC 9110, section 10.1.1.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.version != Version::Http10
            && self
                .fields
                .values(Known::Expect)
                .flat_map(list)
                .any(|one| one.eq_ignore_ascii_case(b"100-continue"))
    }
}

impl ResponseHead {
    /// The length of the response's body: none for 1xx, 204 and 304, and none when `request_is_head`. What follows a
    /// 101, or a 2xx to CONNECT, is no body and for the caller to know.
    ///
    /// # Errors
    /// When `Content-Length` or `Transfer-Encoding` is invalid, repeated, or both are there; also where there is no
    /// body, since the fields would be passed on.
    pub fn body_length(&self, request_is_head: bool) -> Result<BodyLength, Invalid> {
        let declared = declared(&self.fields, self.version)?;
        if request_is_head || matches!(self.status, 100..=199 | 204 | 304) {
            return Ok(BodyLength::Empty);
        }
        Ok(declared.unwrap_or(BodyLength::UntilClose))
    }

    /// Whether the upstream will answer another request on this connection: RFC 9112, section 9.3. Never after a body
    /// that ends with the connection, nor after 101.
    #[must_use]
    pub fn keeps_alive(&self, body: BodyLength) -> bool {
        body != BodyLength::UntilClose && self.status != 101 && keeps_alive(&self.fields, self.version)
    }

    /// The protocol the upstream has changed to, or would, under the conditions of [`RequestHead::upgrade`].
    #[must_use]
    pub fn upgrade(&self) -> Option<&[u8]> {
        upgrade(&self.fields, self.version)
    }
}

/// The length that the fields declare, if any: RFC 9112, section 6.3, rules 3 to 6.
fn declared(fields: &Fields, version: Version) -> Result<Option<BodyLength>, Invalid> {
    let mut codings = fields.values(Known::TransferEncoding);
    let mut lengths = fields.values(Known::ContentLength);
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Invalid::LengthAndCoding),
        (None, Some(_)) if lengths.next().is_some() => Err(Invalid::LengthRepeated),
        (None, Some(length)) => number(length).map(|length| Some(BodyLength::Fixed(length))),
        (Some(_), None) if version != Version::Http11 => Err(Invalid::CodingVersion),
        (Some(_), None) if codings.next().is_some() => Err(Invalid::CodingRepeated),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Some(BodyLength::Chunked)),
        (Some(coding), None) => Err(refuse_coding(coding)),
    }
}

/// `gzip, chunked` is well formed and not supported; all else is malformed.
fn refuse_coding(coding: &[u8]) -> Invalid {
    let is_chunked = |element: &&[u8]| element.eq_ignore_ascii_case(b"chunked");
    let last = coding.rsplit(|&byte| byte == b',').next().map(syntax::trim);
    let once = list(coding).filter(is_chunked).count() == 1;
    if once && last.as_ref().is_some_and(is_chunked) && list(coding).count() > 1 {
        Invalid::UnsupportedCoding
    } else {
        Invalid::Coding
    }
}

/// `1*DIGIT` without overflow. Leading zeros are allowed, as in the grammar, up to 20 digits.
fn number(text: &[u8]) -> Result<u64, Invalid> {
    if text.is_empty() || text.len() > 20 || !text.iter().all(u8::is_ascii_digit) {
        return Err(Invalid::Length);
    }
    text.iter()
        .try_fold(0_u64, |sum, &digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .ok_or(Invalid::Length)
}

fn keeps_alive(fields: &Fields, version: Version) -> bool {
    match version {
        Version::Http10 => connection_lists(fields, b"keep-alive") && !connection_lists(fields, b"close"),
        Version::Http11 => !connection_lists(fields, b"close"),
        Version::Http2 => true,
    }
}

fn upgrade(fields: &Fields, version: Version) -> Option<&[u8]> {
    let mut values = fields.values(Known::Upgrade);
    let value = values.next().filter(|value| !value.is_empty())?;
    let alone = values.next().is_none();
    (alone && version == Version::Http11 && connection_lists(fields, b"upgrade")).then_some(value)
}
