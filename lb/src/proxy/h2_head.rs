//! Heads of HTTP/2 as heads of ours, and back: RFC 9113, section 8.

use std::net::SocketAddr;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode, Uri, request, response};

use super::rewrite::{Forward, absent_length, request_fields, response_fields, takes_trailers};
use crate::http1::{BodyLength, Fields, Invalid, Known, RequestHead, ResponseHead, Version, is_trailer};

/// Reads a request's head.
///
/// # Errors
/// When it is malformed.
pub(super) fn read_request(head: &mut RequestHead, parts: &request::Parts) -> Result<(), Invalid> {
    let uri = &parts.uri;
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    let target = match (parts.method.as_str(), uri.path_and_query()) {
        ("CONNECT", _) => authority.unwrap_or_default(),
        (_, Some(path)) => path.as_str().as_bytes(),
        (_, None) => b"/",
    };
    head.begin(Version::Http2, parts.method.as_str().as_bytes(), target)?;
    let mut hosts = parts.headers.get_all(http::header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Invalid::HostRepeated);
    }
    match (authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => return Err(Invalid::Host),
        (Some(name), _) | (None, Some(name)) => head.fields_mut().push(b"Host", name),
        (None, None) => return Err(Invalid::HostMissing),
    }
    // The pieces of a cookie are one again for HTTP/1.1: RFC 9113, section 8.2.3.
    let mut cookies = parts.headers.get_all(http::header::COOKIE).iter();
    if let Some(first) = cookies.next() {
        let mut all = first.as_bytes().to_vec();
        for more in cookies {
            all.extend_from_slice(b"; ");
            all.extend_from_slice(more.as_bytes());
        }
        push(head.fields_mut(), b"cookie", &all);
    }
    for (name, value) in &parts.headers {
        if name != http::header::HOST && name != http::header::COOKIE {
            push(head.fields_mut(), name.as_str().as_bytes(), value.as_bytes());
        }
    }
    head.check()
}

/// Reads a response's head.
pub(super) fn read_response(head: &mut ResponseHead, parts: &response::Parts) {
    head.begin(Version::Http2, parts.status.as_u16(), b"");
    for (name, value) in &parts.headers {
        push(head.fields_mut(), name.as_str().as_bytes(), value.as_bytes());
    }
}

/// Reads trailers, but for those that only a head may have: HTTP/1.1 would take them for its own.
pub(super) fn put_trailers(fields: &mut Fields, headers: &HeaderMap) {
    for (name, value) in headers {
        let name = name.as_str().as_bytes();
        if is_trailer(name, Known::of(name)) == Ok(true) {
            push(fields, name, value.as_bytes());
        }
    }
}

fn push(fields: &mut Fields, name: &[u8], value: &[u8]) {
    // HTTP/2 leaves whitespace around a value to its sender; HTTP/1.1 would drop it.
    fields.push(name, value.trim_ascii());
}

/// A request for the upstream at `addr`; none when its head cannot be said in HTTP/2.
pub(super) fn request_of(
    request: &RequestHead,
    body: BodyLength,
    forward: Forward<'_>,
    addr: SocketAddr,
) -> Option<Request<()>> {
    let mut target = Vec::new();
    request.put_target(&mut target);
    // A request that names no host is for whoever gets it.
    let own = addr.to_string();
    let authority = request.authority().filter(|name| !name.is_empty()).unwrap_or(own.as_bytes());
    let uri = Uri::builder()
        .scheme(if forward.tls { "https" } else { "http" })
        .authority(authority)
        .path_and_query(target)
        .build()
        .ok()?;
    let mut out = Request::new(());
    *out.version_mut() = http::Version::HTTP_2;
    *out.method_mut() = http::Method::from_bytes(request.method_name()).ok()?;
    *out.uri_mut() = uri;
    let headers = out.headers_mut();
    request_fields(request, forward, |name, value| append(headers, name, value));
    if let BodyLength::Fixed(length) = body {
        headers.insert(http::header::CONTENT_LENGTH, length.into());
    }
    if takes_trailers(request) {
        headers.insert(http::header::TE, HeaderValue::from_static("trailers"));
    }
    Some(out)
}

/// A response for a client; none when its status is none of HTTP/2.
pub(super) fn response_of(response: &ResponseHead, length: BodyLength) -> Option<Response<()>> {
    let mut out = Response::new(());
    *out.version_mut() = http::Version::HTTP_2;
    *out.status_mut() = StatusCode::from_u16(response.status()).ok()?;
    let headers = out.headers_mut();
    response_fields(response, |name, value| append(headers, name, value));
    match length {
        BodyLength::Fixed(length) => drop(headers.insert(http::header::CONTENT_LENGTH, length.into())),
        BodyLength::Empty => {
            if let Some(length) = absent_length(response) {
                append(headers, b"content-length", length);
            }
        }
        BodyLength::Chunked | BodyLength::UntilClose => {}
    }
    Some(out)
}

/// Trailers as HTTP/2 has them.
pub(super) fn trailers_of(fields: &Fields) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value, known) in fields.iter() {
        if !known.is_hop_by_hop() {
            append(&mut headers, name, value);
        }
    }
    headers
}

fn append(headers: &mut HeaderMap, name: &[u8], value: &[u8]) {
    // What was parsed as a field is one here too, and more fields than the map can hold are refused before.
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
        let _ = headers.try_append(name, value);
    }
}
