//! What a head becomes on its way through: fields of one hop are dropped, those of a proxy added.
//!
//! Both functions name the fields one by one to whoever writes them, so that HTTP/1.1 and HTTP/2 share them.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::http1::{
    BodyLength, Fields, Known, RequestHead, ResponseHead, connection_lists, list, put_field, put_number_field,
};

/// What a proxy tells an upstream about a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forward<'a> {
    /// Who asks.
    pub(super) peer: IpAddr,
    /// Whether it asks over TLS.
    pub(super) tls: bool,
    /// Whether what the client says about those before it is kept.
    pub(super) trust: bool,
    /// The request's name in logs.
    pub(super) request_id: &'a str,
}

/// The longest `X-Request-Id` of a client that is kept, in bytes.
const REQUEST_ID_BYTES: usize = 128;

/// The request's name: the client's, if that is to be trusted, or a new one of 128 random bits.
pub(super) fn request_id(out: &mut String, request: &RequestHead, trust: bool, random: u128) {
    out.clear();
    let given = request.fields().get(Known::XRequestId).filter(|_| trust);
    let usable =
        |id: &&str| (1..=REQUEST_ID_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    if let Some(id) = given.and_then(|id| std::str::from_utf8(id).ok()).filter(usable) {
        out.push_str(id);
    } else {
        for byte in random.to_be_bytes() {
            out.extend(
                [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])),
            );
        }
    }
}

/// Names the fields of a request for its upstream, but for `Host` and those of framing.
pub(super) fn request_fields(request: &RequestHead, forward: Forward<'_>, mut put: impl FnMut(&[u8], &[u8])) {
    let fields = request.fields();
    let nominates = fields.has(Known::Connection);
    for (name, value, known) in fields.iter() {
        let replaced = match known {
            Known::Host | Known::ContentLength | Known::XRequestId => true,
            Known::XForwardedFor => true,
            Known::XForwardedProto | Known::XForwardedHost => !forward.trust,
            Known::Other => is_disguised(name) || (!forward.trust && is_claim(name)),
            known => known.is_hop_by_hop(),
        };
        let nominated = nominates && is_nominated(fields, name, known);
        if !replaced && !nominated {
            put(name, value);
        }
    }
    let mut addresses = String::new();
    if forward.trust {
        for value in fields.values(Known::XForwardedFor).filter_map(|value| std::str::from_utf8(value).ok()) {
            addresses.push_str(value);
            addresses.push_str(", ");
        }
    }
    // Writing to a string cannot fail.
    let _ = write!(addresses, "{}", forward.peer.to_canonical());
    put(b"X-Forwarded-For", addresses.as_bytes());
    if !(forward.trust && fields.has(Known::XForwardedProto)) {
        put(b"X-Forwarded-Proto", if forward.tls { b"https" } else { b"http" });
    }
    if !(forward.trust && fields.has(Known::XForwardedHost)) {
        put(b"X-Forwarded-Host", request.authority().unwrap_or_default());
    }
    put(b"X-Request-Id", forward.request_id.as_bytes());
}

/// Whether a field says what a proxy before us knows of the request: `X-Forwarded-*`, and RFC 7239.
fn is_claim(name: &[u8]) -> bool {
    name.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"))
        || name.eq_ignore_ascii_case(b"forwarded")
}

/// Whether a name becomes one that matters to a proxy for an upstream that takes `_` for `-`, as CGI and WSGI do: it
/// would go round all that is decided about the real one.
fn is_disguised(name: &[u8]) -> bool {
    if !name.contains(&b'_') {
        return false;
    }
    let plain: Vec<u8> = name.iter().map(|&byte| if byte == b'_' { b'-' } else { byte }).collect();
    Known::of(&plain) != Known::Other || is_claim(&plain)
}

/// A client may nominate fields of its own, not those that the message's meaning depends on.
fn is_nominated(fields: &Fields, name: &[u8], known: Known) -> bool {
    !matches!(known, Known::Host | Known::ContentType | Known::Cookie | Known::Authorization | Known::Expect)
        && connection_lists(fields, name)
}

/// Whether the client takes trailers: RFC 9110, section 10.1.4.
pub(super) fn takes_trailers(request: &RequestHead) -> bool {
    request.fields().values(Known::Te).flat_map(list).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// Puts out the head of an HTTP/1.1 request for an upstream.
pub(super) fn put_request(
    out: &mut Vec<u8>,
    request: &RequestHead,
    body: BodyLength,
    upgrade: Option<&[u8]>,
    forward: Forward<'_>,
) {
    out.extend_from_slice(request.method_name());
    out.push(b' ');
    request.put_target(out);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    put_field(out, b"Host", request.authority().unwrap_or_default());
    request_fields(request, forward, |name, value| put_field(out, name, value));
    match body {
        // A method that usually has a body says that it has none: RFC 9110, section 8.6.
        BodyLength::Empty if request.fields().has(Known::ContentLength) => {
            put_field(out, b"Content-Length", b"0");
        }
        BodyLength::Empty => {}
        BodyLength::Fixed(length) => put_number_field(out, b"Content-Length", length),
        BodyLength::Chunked | BodyLength::UntilClose => put_field(out, b"Transfer-Encoding", b"chunked"),
    }
    if takes_trailers(request) {
        put_field(out, b"TE", b"trailers");
        if upgrade.is_none() {
            put_field(out, b"Connection", b"TE");
        }
    }
    if let Some(protocol) = upgrade {
        put_field(out, b"Connection", b"upgrade");
        put_field(out, b"Upgrade", protocol);
    }
    out.extend_from_slice(b"\r\n");
}

/// Names the fields of a response for its client, but for those of framing.
pub(super) fn response_fields(response: &ResponseHead, mut put: impl FnMut(&[u8], &[u8])) {
    let fields = response.fields();
    let nominates = fields.has(Known::Connection);
    for (name, value, known) in fields.iter() {
        let dropped = known == Known::ContentLength
            || known.is_hop_by_hop()
            || (nominates && known == Known::Other && connection_lists(fields, name));
        if !dropped {
            put(name, value);
        }
    }
}

/// What a head without a body says of the one that it does not have: that of a HEAD or a 304, and not where RFC 9110,
/// section 8.6, forbids it.
pub(super) fn absent_length(response: &ResponseHead) -> Option<&[u8]> {
    let length = response.fields().get(Known::ContentLength);
    length.filter(|_| !matches!(response.status(), 100..=199 | 204))
}

#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod tests;
