use super::{LIMIT, request, response};
use crate::http1::{Invalid, MAX_FIELD_LINES, RequestHead, ResponseHead};

/// A head with `fields` after a Host line, which is line 1.
fn with(fields: &[u8]) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nHost: a\r\n", fields, b"\r\n\r\n"].concat()
}

#[test]
fn request_lines_that_are_refused() {
    let cases: &[(&[u8], Invalid)] = &[
        (b"GET / HTTP/1.1\n", Invalid::BareLf),
        (b"\nGET / HTTP/1.1\r\n", Invalid::BareLf),
        (b"\r\n\nGET / HTTP/1.1\r\n", Invalid::BareLf),
        (b"\rGET / HTTP/1.1\r\n", Invalid::BareCr),
        (b"GET /\r HTTP/1.1\r\n", Invalid::BareCr),
        (b"GET / HTTP/1.1\r\r\n", Invalid::BareCr),
        (b"\r\r\n", Invalid::BareCr),
        (b" \r\n", Invalid::RequestLine),
        (b"GET\r\n", Invalid::RequestLine),
        (b"GET \r\n", Invalid::RequestLine),
        (b"GET HTTP/1.1\r\n", Invalid::RequestLine),
        (b" GET / HTTP/1.1\r\n", Invalid::RequestLine),
        (b"GET  / HTTP/1.1\r\n", Invalid::RequestLine),
        (b"GET /  HTTP/1.1\r\n", Invalid::RequestLine),
        (b"GET /a b HTTP/1.1\r\n", Invalid::RequestLine),
        (b"GET / HTTP/1.1 \r\n", Invalid::RequestLine),
        (b"GET\t/ HTTP/1.1\r\n", Invalid::Method),
        (b"GET /\r\n", Invalid::Http09),
        (b"GET /\tHTTP/1.1\r\n", Invalid::Http09),
        (b"G(T / HTTP/1.1\r\n", Invalid::Method),
        (b"G\0T / HTTP/1.1\r\n", Invalid::Method),
        (b"\x16\x03\x01 / HTTP/1.1\r\n", Invalid::Method),
        (b"GET / http/1.1\r\n", Invalid::Version),
        (b"GET / HTTP/1\r\n", Invalid::Version),
        (b"GET / HTTP/1.1x\r\n", Invalid::Version),
        (b"GET / HTTP/1.10\r\n", Invalid::Version),
        (b"GET / HTTP/01.1\r\n", Invalid::Version),
        (b"GET / HTTPS/1.1\r\n", Invalid::Version),
        (b"GET / HTTP/0.9\r\n", Invalid::UnsupportedVersion),
        (b"GET / HTTP/2.0\r\n", Invalid::UnsupportedVersion),
        (b"PRI * HTTP/2.0\r\n", Invalid::UnsupportedVersion),
        (b"GET /a\0b HTTP/1.1\r\n", Invalid::TargetCharacter),
        (b"GET /a\tb HTTP/1.1\r\n", Invalid::TargetCharacter),
        (b"GET /\x7f HTTP/1.1\r\n", Invalid::TargetCharacter),
        (b"GET /\xc3\xa9 HTTP/1.1\r\n", Invalid::TargetCharacter),
        (b"GET /a#b HTTP/1.1\r\n", Invalid::TargetCharacter),
        (b"GET a HTTP/1.1\r\n", Invalid::TargetForm),
        (b"GET ?a HTTP/1.1\r\n", Invalid::TargetForm),
        (b"GET * HTTP/1.1\r\n", Invalid::TargetForm),
        (b"OPTIONS ** HTTP/1.1\r\n", Invalid::TargetForm),
        (b"GET a:80 HTTP/1.1\r\n", Invalid::TargetForm),
        (b"GET ftp://a/ HTTP/1.1\r\n", Invalid::TargetForm),
        (b"GET http:/a HTTP/1.1\r\n", Invalid::TargetForm),
        (b"CONNECT / HTTP/1.1\r\n", Invalid::TargetForm),
        (b"CONNECT a HTTP/1.1\r\n", Invalid::TargetForm),
        (b"CONNECT a: HTTP/1.1\r\n", Invalid::TargetForm),
        (b"CONNECT http://a:80/ HTTP/1.1\r\n", Invalid::TargetForm),
        (b"GET http:// HTTP/1.1\r\n", Invalid::TargetAuthority),
        (b"GET http:///a HTTP/1.1\r\n", Invalid::TargetAuthority),
        (b"GET http://u@a/ HTTP/1.1\r\n", Invalid::TargetAuthority),
        (b"GET http://a:b/ HTTP/1.1\r\n", Invalid::TargetAuthority),
    ];
    for (line, error) in cases {
        let input = [line, &b"Host: a\r\n\r\n"[..]].concat();
        assert_eq!(request(&input).err(), Some(*error), "{}", line.escape_ascii());
        // Known when the line is complete.
        assert_eq!(RequestHead::default().parse(line, LIMIT), Err(*error), "{}", line.escape_ascii());
    }
}

#[test]
fn field_lines_that_are_refused() {
    let cases: &[(&[u8], Invalid)] = &[
        (b"a: b\n", Invalid::BareLf),
        (b"a: b\nc: d", Invalid::BareLf),
        (b"a: b\r\n\nc: d", Invalid::BareLf),
        (b"a: b\rc: d", Invalid::BareCr),
        (b"a: b\r", Invalid::BareCr),
        (b"a\r: b", Invalid::BareCr),
        (b"\ra: b", Invalid::BareCr),
        (b" a: b", Invalid::Folded { line: 2 }),
        (b"a: b\r\n c", Invalid::Folded { line: 3 }),
        (b"a: b\r\n\tc: d", Invalid::Folded { line: 3 }),
        (b"a: b\r\n \r\nc: d", Invalid::Folded { line: 3 }),
        (b"a : b", Invalid::SpaceBeforeColon { line: 2 }),
        (b"a\t: b", Invalid::SpaceBeforeColon { line: 2 }),
        (b"a", Invalid::NoColon { line: 2 }),
        (b"a b", Invalid::NoColon { line: 2 }),
        (b": b", Invalid::EmptyName { line: 2 }),
        (b":", Invalid::EmptyName { line: 2 }),
        (b"a b: c", Invalid::Name { line: 2 }),
        (b"a\0: b", Invalid::Name { line: 2 }),
        (b"a\x0b: b", Invalid::Name { line: 2 }),
        (b"(a): b", Invalid::Name { line: 2 }),
        (b"\xc3\xa9: b", Invalid::Name { line: 2 }),
        (b"\xef\xbb\xbfa: b", Invalid::Name { line: 2 }),
        (b"a: b\0", Invalid::Value { line: 2 }),
        (b"a: \x01b", Invalid::Value { line: 2 }),
        (b"a: b\x0b", Invalid::Value { line: 2 }),
        (b"a: \x1b[2J", Invalid::Value { line: 2 }),
        (b"a: \x7f", Invalid::Value { line: 2 }),
        (b"Transfer-Encoding : chunked", Invalid::SpaceBeforeColon { line: 2 }),
        (b"Transfer-Encoding\x0b: chunked", Invalid::Name { line: 2 }),
        (b"Transfer-Encoding: \x0bchunked", Invalid::Value { line: 2 }),
        (b"Transfer-Encoding: chunked\x0b", Invalid::Value { line: 2 }),
        (b"Transfer-Encoding: chunked\0", Invalid::Value { line: 2 }),
        (b"X: y\nTransfer-Encoding: chunked", Invalid::BareLf),
        (b"X: y\rTransfer-Encoding: chunked", Invalid::BareCr),
        (b"Transfer-Encoding:\r\n chunked", Invalid::Folded { line: 3 }),
        (b"\x00Transfer-Encoding: chunked", Invalid::Name { line: 2 }),
    ];
    for (fields, error) in cases {
        assert_eq!(request(with(fields)).err(), Some(*error), "{}", fields.escape_ascii());
        let input = [b"HTTP/1.1 200 OK\r\nx: y\r\n", *fields, b"\r\n\r\n"].concat();
        assert_eq!(response(&input).err(), Some(*error), "{}", fields.escape_ascii());
    }
}

#[test]
fn hosts_that_are_refused() {
    let cases: &[(&[u8], Invalid)] = &[
        (b"", Invalid::HostMissing),
        (b"Hos: a\r\n", Invalid::HostMissing),
        (b"Host: a\r\nHost: a\r\n", Invalid::HostRepeated),
        (b"Host: a\r\nhOST: b\r\n", Invalid::HostRepeated),
        (b"Host:\r\nHost: a\r\n", Invalid::HostRepeated),
        (b"Host: a b\r\n", Invalid::Host),
        (b"Host: a, b\r\n", Invalid::Host),
        (b"Host: a/b\r\n", Invalid::Host),
        (b"Host: a?b\r\n", Invalid::Host),
        (b"Host: a#b\r\n", Invalid::Host),
        (b"Host: a\\b\r\n", Invalid::Host),
        (b"Host: <a>\r\n", Invalid::Host),
        (b"Host: u@a\r\n", Invalid::Host),
        (b"Host: http://a\r\n", Invalid::Host),
        (b"Host: a:b\r\n", Invalid::Host),
        (b"Host: a:80:80\r\n", Invalid::Host),
        (b"Host: a:+80\r\n", Invalid::Host),
        (b"Host: a:65536\r\n", Invalid::Host),
        (b"Host: a:000080\r\n", Invalid::Host),
        (b"Host: :80\r\n", Invalid::Host),
        (b"Host: a%2\r\n", Invalid::Host),
        (b"Host: a%zz\r\n", Invalid::Host),
        (b"Host: \xc3\xa9\r\n", Invalid::Host),
        (b"Host: ::1\r\n", Invalid::Host),
        (b"Host: [::1\r\n", Invalid::Host),
        (b"Host: [::1]80\r\n", Invalid::Host),
        (b"Host: [::g]\r\n", Invalid::Host),
        (b"Host: [fe80::1%25eth0]\r\n", Invalid::Host),
        (b"Host: [127.0.0.1]\r\n", Invalid::Host),
        (b"Host: []\r\n", Invalid::Host),
    ];
    for (fields, error) in cases {
        for target in ["/", "http://other/"] {
            let input = [format!("GET {target} HTTP/1.1\r\n").as_bytes(), fields, b"\r\n"].concat();
            assert_eq!(request(&input).err(), Some(*error), "{}", fields.escape_ascii());
        }
    }
    assert_eq!(request("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n").err(), Some(Invalid::HostRepeated));
    assert_eq!(request("GET / HTTP/1.0\r\nHost: a b\r\n\r\n").err(), Some(Invalid::Host));
}

#[test]
fn status_lines_that_are_refused() {
    let cases: &[(&[u8], Invalid)] = &[
        (b"\r\n", Invalid::StatusLine),
        (b"OK\r\n", Invalid::StatusLine),
        (b"HTTP/1.1\r\n", Invalid::StatusLine),
        (b"HTTP/1.1 \r\n", Invalid::StatusLine),
        (b"HTTP/1.1 20\r\n", Invalid::StatusLine),
        (b"HTTP/1.1 2000\r\n", Invalid::StatusLine),
        (b"HTTP/1.1  200 OK\r\n", Invalid::StatusLine),
        (b"HTTP/1.1\t200 OK\r\n", Invalid::StatusLine),
        (b"HTTP/1.1 200\tOK\r\n", Invalid::StatusLine),
        (b"HTTP/1.1 099 OK\r\n", Invalid::StatusLine),
        (b"HTTP/1.1 -20 OK\r\n", Invalid::StatusLine),
        (b"HTTP/1.1 2x0 OK\r\n", Invalid::StatusLine),
        (b"HTTP/1.1 200 O\0K\r\n", Invalid::StatusLine),
        (b"HTTP/1.1 200 O\x7fK\r\n", Invalid::StatusLine),
        (b"HTTP/1.1 200 O\rK\r\n", Invalid::BareCr),
        (b"HTTP/1.1 200 OK\n", Invalid::BareLf),
        (b"ICY/1.1 200 OK\r\n", Invalid::Version),
        (b"http/1.1 200 OK\r\n", Invalid::Version),
        (b"HTTP/2.0 200 OK\r\n", Invalid::UnsupportedVersion),
    ];
    for (line, error) in cases {
        let input = [line, &b"a: b\r\n\r\n"[..]].concat();
        assert_eq!(response(&input).err(), Some(*error), "{}", line.escape_ascii());
    }
}

#[test]
fn limits() {
    let head = with(b"a: b");
    let length = head.len();
    for (limit, expected) in [
        (length, Ok(Some(length))),
        (length - 1, Err(Invalid::HeadTooLarge)),
        (0, Err(Invalid::TargetTooLong)),
    ] {
        assert_eq!(RequestHead::default().parse(&head, limit), expected);
    }
    // The line end of the request line is part of it.
    assert_eq!(RequestHead::default().parse(&head, 15), Err(Invalid::TargetTooLong));
    assert_eq!(RequestHead::default().parse(&head, 16), Err(Invalid::HeadTooLarge));
    assert_eq!(RequestHead::default().parse(&head[..15], 16), Ok(None));
    assert_eq!(RequestHead::default().parse(&[b'a'; 64], 64), Err(Invalid::TargetTooLong));
    assert_eq!(RequestHead::default().parse(&b"\r\n".repeat(32), 64), Err(Invalid::TargetTooLong));
    assert_eq!(ResponseHead::default().parse(&[b'a'; 64], 64), Err(Invalid::HeadTooLarge));

    let lines = |count| with("a: b\r\n".repeat(count - 1).trim_end().as_bytes());
    assert_eq!(request(lines(MAX_FIELD_LINES)).map(|head| head.fields().len()), Ok(MAX_FIELD_LINES));
    assert_eq!(request(lines(MAX_FIELD_LINES + 1)).err(), Some(Invalid::TooManyLines));
}

#[test]
fn statuses() {
    for (error, status) in [
        (Invalid::BareLf, 400),
        (Invalid::HostMissing, 400),
        (Invalid::LengthAndCoding, 400),
        (Invalid::TargetTooLong, 414),
        (Invalid::HeadTooLarge, 431),
        (Invalid::TooManyLines, 431),
        (Invalid::TrailerTooLarge, 431),
        (Invalid::UnsupportedCoding, 501),
        (Invalid::UnsupportedVersion, 505),
    ] {
        assert_eq!(error.status(), status, "{error}");
    }
    assert_eq!(Invalid::Folded { line: 7 }.to_string(), "field line 7 is folded");
}
