//! The client's side: what is known of its connection, and what its requests' heads say.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{CONNECTION, CONTENT_LENGTH, GetAll, HeaderName, HeaderValue, TRANSFER_ENCODING};
use pingora::http::{RequestHeader, ResponseHeader};

use super::deadline::HeadDeadline;

/// A client's connection. It outlives its requests.
#[derive(Debug)]
pub struct ClientConnection {
    address: HeaderValue,
    reading_head: AtomicBool,
    response_head: HeadDeadline,
}

impl ClientConnection {
    /// A connection from this address.
    pub fn new(peer: SocketAddr) -> Self {
        let address = peer.ip().to_canonical().to_string();
        // An address has only visible ASCII characters.
        let address = HeaderValue::from_str(&address).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self { address, reading_head: AtomicBool::new(true), response_head: HeadDeadline::default() }
    }

    /// Until when the head of the response to its present request must be there.
    pub const fn response_head(&self) -> &HeadDeadline {
        &self.response_head
    }

    /// A request's head is awaited.
    pub fn await_head(&self) {
        self.reading_head.store(true, Ordering::Relaxed);
    }

    /// The head is there.
    pub(super) fn head_arrived(&self) {
        self.reading_head.store(false, Ordering::Relaxed);
    }

    /// Whether a request's head is awaited.
    pub fn awaits_head(&self) -> bool {
        self.reading_head.load(Ordering::Relaxed)
    }

    /// The value of `X-Forwarded-For`: what the request says already, and this client.
    pub(super) fn forwarded_for(&self, present: GetAll<'_, HeaderValue>) -> HeaderValue {
        let mut list = Vec::new();
        for value in present {
            list.extend_from_slice(value.as_bytes());
            list.extend_from_slice(b", ");
        }
        if list.is_empty() {
            return self.address.clone();
        }
        list.extend_from_slice(self.address.as_bytes());
        HeaderValue::from_bytes(&list).unwrap_or_else(|_| self.address.clone())
    }
}

/// Whether a raw head has a `Content-Length` line.
pub(super) fn has_content_length(raw: &[u8]) -> bool {
    let name = CONTENT_LENGTH.as_str().as_bytes();
    raw.split(|&b| b == b'\n').any(|line| {
        let line_name = line.split(|&b| b == b':').next().unwrap_or_default();
        line.len() > line_name.len() && line_name.trim_ascii().eq_ignore_ascii_case(name)
    })
}

/// The length that the request announces. pingora has refused all that is not one number.
pub(super) fn content_length(request: &RequestHeader) -> Option<u64> {
    let value = request.headers.get(CONTENT_LENGTH)?.to_str().ok()?;
    value.split(',').next()?.trim().parse().ok()
}

/// Removes what concerns only the connection to the upstream (RFC 9110, section 7.6.1). Its framing stays:
/// pingora sees to it.
pub(super) fn strip_hop_by_hop(response: &mut ResponseHeader) {
    let named: Vec<HeaderName> = response
        .headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.eq_ignore_ascii_case("close"))
        .filter_map(|token| token.parse().ok())
        .filter(|name| *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING)
        .collect();
    for name in named {
        response.remove_header(&name);
    }
    response.remove_header("keep-alive");
    response.remove_header("proxy-connection");
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn content_length_is_seen_in_any_spelling() {
        for head in ["GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\n", "GET / HTTP/1.1\ncONTENT-lENGTH:3\n\n"] {
            assert!(has_content_length(head.as_bytes()), "{head}");
        }
        for head in ["GET /content-length HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nX-Content-Length: 3\r\n\r\n"]
        {
            assert!(!has_content_length(head.as_bytes()), "{head}");
        }
    }

    #[test]
    fn the_client_comes_last() {
        let client = ClientConnection::new("[::ffff:192.0.2.1]:5".parse().unwrap());
        let mut headers = HeaderMap::new();
        assert_eq!(client.forwarded_for(headers.get_all("x")), "192.0.2.1");
        headers.append("x", HeaderValue::from_static("a"));
        headers.append("x", HeaderValue::from_static("b, c"));
        assert_eq!(client.forwarded_for(headers.get_all("x")), "a, b, c, 192.0.2.1");
    }

    #[test]
    fn headers_named_by_connection_go() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for (name, value) in
            [("Connection", "close, X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "t"), ("X-End", "2")]
        {
            response.insert_header(name, value).unwrap();
        }
        strip_hop_by_hop(&mut response);
        assert!(response.headers.get("x-hop").is_none() && response.headers.get("keep-alive").is_none());
        assert_eq!(response.headers["x-end"], "2");
    }
}
