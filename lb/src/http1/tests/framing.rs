use super::{request, response};
use crate::http1::{BodyLength, Invalid, RequestHead, Version};

/// Fields that frame a body in HTTP/1.1, and what they say for either direction.
const FIELDS: &[(&str, Result<BodyLength, Invalid>)] = &[
    ("Content-Length: 0", Ok(BodyLength::Fixed(0))),
    ("Content-Length: 5", Ok(BodyLength::Fixed(5))),
    ("content-length:\t005 ", Ok(BodyLength::Fixed(5))),
    ("Content-Length: 18446744073709551615", Ok(BodyLength::Fixed(u64::MAX))),
    ("Content-Length: 18446744073709551616", Err(Invalid::Length)),
    ("Content-Length: 99999999999999999999", Err(Invalid::Length)),
    ("Content-Length: 000000000000000000005", Err(Invalid::Length)),
    ("Content-Length:", Err(Invalid::Length)),
    ("Content-Length: +5", Err(Invalid::Length)),
    ("Content-Length: -5", Err(Invalid::Length)),
    ("Content-Length: 5a", Err(Invalid::Length)),
    ("Content-Length: 0x5", Err(Invalid::Length)),
    ("Content-Length: 5.0", Err(Invalid::Length)),
    ("Content-Length: 5 5", Err(Invalid::Length)),
    ("Content-Length: 5, 5", Err(Invalid::Length)),
    ("Content-Length: 5,", Err(Invalid::Length)),
    ("Content-Length: \"5\"", Err(Invalid::Length)),
    ("Content-Length: 5\r\nContent-Length: 5", Err(Invalid::LengthRepeated)),
    ("Content-Length: 5\r\nX: y\r\ncontent-lengtH: 6", Err(Invalid::LengthRepeated)),
    ("Content_Length: 5\r\nContent-Length: 6", Ok(BodyLength::Fixed(6))),
    ("Transfer-Encoding: chunked", Ok(BodyLength::Chunked)),
    ("transfer-encoding:CHUNKED", Ok(BodyLength::Chunked)),
    ("Transfer-Encoding:\tchunked\t", Ok(BodyLength::Chunked)),
    ("Transfer-Encoding: chunked\r\nContent-Length: 5", Err(Invalid::LengthAndCoding)),
    ("Content-Length: 5\r\nTransfer-Encoding: chunked", Err(Invalid::LengthAndCoding)),
    ("Content-Length: 0\r\nTransfer-Encoding: identity", Err(Invalid::LengthAndCoding)),
    ("Content-Length: x\r\nTransfer-Encoding: x", Err(Invalid::LengthAndCoding)),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Err(Invalid::CodingRepeated)),
    ("Transfer-Encoding: chunked\r\nTransfer-encoding: x", Err(Invalid::CodingRepeated)),
    ("Transfer-Encoding: x\r\nTransfer-encoding: chunked", Err(Invalid::CodingRepeated)),
    ("Transfer-Encoding: gzip, chunked", Err(Invalid::UnsupportedCoding)),
    ("Transfer-Encoding: gzip;q=1,br,Chunked", Err(Invalid::UnsupportedCoding)),
    ("Transfer-Encoding:", Err(Invalid::Coding)),
    ("Transfer-Encoding: identity", Err(Invalid::Coding)),
    ("Transfer-Encoding: gzip", Err(Invalid::Coding)),
    ("Transfer-Encoding: xchunked", Err(Invalid::Coding)),
    ("Transfer-Encoding: chunkedx", Err(Invalid::Coding)),
    ("Transfer-Encoding: x chunked", Err(Invalid::Coding)),
    ("Transfer-Encoding: \"chunked\"", Err(Invalid::Coding)),
    ("Transfer-Encoding: 'chunked'", Err(Invalid::Coding)),
    ("Transfer-Encoding: chunked;a=b", Err(Invalid::Coding)),
    ("Transfer-Encoding: chunked, gzip", Err(Invalid::Coding)),
    ("Transfer-Encoding: chunked, chunked", Err(Invalid::Coding)),
    ("Transfer-Encoding: chunked, identity", Err(Invalid::Coding)),
    ("Transfer-Encoding: chunked, gzip, chunked", Err(Invalid::Coding)),
    ("Transfer-Encoding: gzip, chunked,", Err(Invalid::Coding)),
    ("Transfer-Encoding: chunked,", Err(Invalid::Coding)),
];

#[test]
fn of_requests() {
    for (fields, expected) in FIELDS {
        let head = request(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")).unwrap();
        assert_eq!(head.body_length(), *expected, "{fields}");
    }
    // One element that is not alone for an empty one.
    let head = request("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n").unwrap();
    assert_eq!(head.body_length(), Err(Invalid::Coding));
    assert_eq!(request("POST / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().body_length(), Ok(BodyLength::Empty));
}

#[test]
fn of_responses() {
    for (fields, expected) in FIELDS {
        let head = |status| response(format!("HTTP/1.1 {status} x\r\n{fields}\r\n\r\n")).unwrap();
        for status in [200, 206, 404, 500] {
            assert_eq!(head(status).body_length(false), *expected, "{fields}");
        }
        // No body, and yet nothing ambiguous is let through.
        let empty = expected.map(|_| BodyLength::Empty);
        assert_eq!(head(200).body_length(true), empty, "{fields}");
        for status in [100, 101, 103, 204, 304] {
            assert_eq!(head(status).body_length(false), empty, "{fields}");
        }
    }
    let head = |status| response(format!("HTTP/1.1 {status} x\r\n\r\n")).unwrap();
    assert_eq!(head(200).body_length(false), Ok(BodyLength::UntilClose));
    assert_eq!(head(200).body_length(true), Ok(BodyLength::Empty));
    assert_eq!(head(204).body_length(false), Ok(BodyLength::Empty));
}

#[test]
fn of_other_versions() {
    let old = request("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    assert_eq!(old.body_length(), Err(Invalid::CodingVersion));
    let old = request("POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n").unwrap();
    assert_eq!(old.body_length(), Ok(BodyLength::Fixed(5)));
    let old = response("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    assert_eq!(old.body_length(false), Err(Invalid::CodingVersion));
    let mut new = RequestHead::default();
    new.begin(Version::Http2, b"POST", b"/").unwrap();
    assert_eq!(new.body_length(), Ok(BodyLength::UntilClose));
    new.fields_mut().push(b"content-length", b"5");
    assert_eq!(new.body_length(), Ok(BodyLength::Fixed(5)));
    new.begin(Version::Http2, b"POST", b"/").unwrap();
    new.fields_mut().push(b"transfer-encoding", b"chunked");
    assert_eq!(new.body_length(), Err(Invalid::CodingVersion));
}

#[test]
fn persistence() {
    // Version and Connection; whether a request keeps its connection, and a response with a length.
    let cases = [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: keep-alive, Close\r\n", false),
        ("1.1", "Connection: x\r\nConnection: y, CLOSE\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: Keep-Alive, close\r\n", false),
        ("1.0", "Proxy-Connection: keep-alive\r\n", false),
    ];
    for (version, fields, kept) in cases {
        let head = request(format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n")).unwrap();
        assert_eq!(head.keeps_alive(), kept, "{version} {fields}");
        let head = |status| response(format!("HTTP/{version} {status} x\r\n{fields}\r\n")).unwrap();
        for body in [BodyLength::Empty, BodyLength::Fixed(1), BodyLength::Chunked] {
            assert_eq!(head(200).keeps_alive(body), kept, "{version} {fields}");
        }
        assert!(!head(200).keeps_alive(BodyLength::UntilClose));
        assert!(!head(101).keeps_alive(BodyLength::Empty));
    }
    let mut new = RequestHead::default();
    new.begin(Version::Http2, b"GET", b"/").unwrap();
    assert!(new.keeps_alive());
}

#[test]
fn upgrades() {
    let cases = [
        ("1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n", Some("websocket")),
        ("1.1", "Upgrade: h2c, x/1\r\nConnection: keep-alive, upgrade\r\n", Some("h2c, x/1")),
        ("1.1", "Upgrade: websocket\r\n", None),
        ("1.1", "Connection: Upgrade\r\n", None),
        ("1.1", "Connection: Upgrade\r\nUpgrade:\r\n", None),
        ("1.1", "Connection: Upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n", None),
        ("1.0", "Connection: Upgrade\r\nUpgrade: websocket\r\n", None),
    ];
    for (version, fields, expected) in cases {
        let expected = expected.map(str::as_bytes);
        let head = request(format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n")).unwrap();
        assert_eq!(head.upgrade(), expected, "{fields}");
        let head = response(format!("HTTP/{version} 101 x\r\n{fields}\r\n")).unwrap();
        assert_eq!(head.upgrade(), expected, "{fields}");
    }
}

#[test]
fn expectations() {
    let cases = [
        ("1.1", "Expect: 100-continue\r\n", true),
        ("1.1", "expect: 100-Continue\r\n", true),
        ("1.1", "Expect: 200-ok\r\n", false),
        ("1.1", "", false),
        ("1.0", "Expect: 100-continue\r\n", false),
    ];
    for (version, fields, expected) in cases {
        let head = request(format!("POST / HTTP/{version}\r\nHost: a\r\n{fields}\r\n")).unwrap();
        assert_eq!(head.expects_continue(), expected, "{version} {fields}");
    }
}
