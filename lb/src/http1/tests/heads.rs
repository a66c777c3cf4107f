use super::{LIMIT, request, response};
use crate::http1::fields::{is_name, is_value};
use crate::http1::{
    Invalid, Known, Method, RequestHead, ResponseHead, TargetForm, Version, connection_lists, list, write,
};

const BROWSER: &[u8] = b"GET /a/b?c=d|[e] HTTP/1.1\r\nHost: example.com:8080\r\nUser-Agent: x/1.0 (y; z)\r\n\
    Accept:text/html, */*;q=0.1\r\nCookie: \t a=b; c=d \t\r\nX-Empty:\r\nX-Blank: \t \r\nx-latin: caf\xe9\r\n\
    cOOKIE: e=f\r\nConnection: keep-alive\r\n\r\n";

#[test]
fn a_request() {
    let head = request(BROWSER).unwrap();
    assert_eq!((head.method(), head.method_name()), (Method::Get, &b"GET"[..]));
    assert_eq!((head.version(), head.target()), (Version::Http11, &b"/a/b?c=d|[e]"[..]));
    assert_eq!(head.target_form(), TargetForm::Origin);
    assert_eq!(head.path_and_query(), head.target());
    assert_eq!(head.authority(), Some(&b"example.com:8080"[..]));
    let lines: Vec<_> = head.fields().iter().collect();
    let expected: [(&[u8], &[u8], Known); 9] = [
        (b"Host", b"example.com:8080", Known::Host),
        (b"User-Agent", b"x/1.0 (y; z)", Known::Other),
        (b"Accept", b"text/html, */*;q=0.1", Known::Other),
        (b"Cookie", b"a=b; c=d", Known::Cookie),
        (b"X-Empty", b"", Known::Other),
        (b"X-Blank", b"", Known::Other),
        (b"x-latin", b"caf\xe9", Known::Other),
        (b"cOOKIE", b"e=f", Known::Cookie),
        (b"Connection", b"keep-alive", Known::Connection),
    ];
    assert_eq!(lines, expected);
    let fields = head.fields();
    assert_eq!((fields.len(), fields.is_empty()), (9, false));
    assert_eq!(fields.get(Known::Cookie), Some(&b"a=b; c=d"[..]));
    assert_eq!((fields.count(Known::Cookie), fields.count(Known::Te)), (2, 0));
    assert_eq!(fields.find(b"user-AGENT"), Some(&b"x/1.0 (y; z)"[..]));
    assert_eq!((fields.find(b"user"), fields.get(Known::Upgrade)), (None, None));
    assert!(fields.has(Known::Host) && !fields.has(Known::ContentLength));
}

#[test]
fn a_response() {
    let head = response(b"HTTP/1.0 404 Not Found\r\nServer: x\r\nSet-Cookie: a=b\r\n\r\n").unwrap();
    assert_eq!((head.version(), head.status(), head.reason()), (Version::Http10, 404, &b"Not Found"[..]));
    assert_eq!(head.fields().get(Known::SetCookie), Some(&b"a=b"[..]));
    for (line, status, reason) in
        [("HTTP/1.1 200 ", 200, ""), ("HTTP/1.1 200", 200, ""), ("HTTP/1.1 999 \t", 999, "\t")]
    {
        let head = response(format!("{line}\r\n\r\n")).unwrap();
        assert_eq!((head.status(), head.reason()), (status, reason.as_bytes()));
    }
    let interim = |status| response(format!("HTTP/1.1 {status} \r\n\r\n")).unwrap().is_interim();
    assert_eq!([100, 101, 103, 199, 200].map(interim), [true, false, true, true, false]);
}

#[test]
fn empty_lines_before_a_request_only() {
    let head = request(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nb: c\r\n\r\n").unwrap();
    assert_eq!((head.method(), head.target()), (Method::Get, &b"/"[..]));
    assert_eq!(head.fields().find(b"b"), Some(&b"c"[..]));
    assert_eq!(response(b"\r\nHTTP/1.1 200 OK\r\n\r\n").err(), Some(Invalid::StatusLine));
}

#[test]
fn what_follows_a_head_is_left() {
    let input = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.0\r\n\r\n";
    let mut head = RequestHead::default();
    assert_eq!(head.parse(input, LIMIT), Ok(Some(28)));
    assert_eq!(head.target(), b"/1");
    assert_eq!(head.parse(&input[28..], LIMIT), Ok(Some(19)));
    assert_eq!((head.target(), head.version(), head.fields().len()), (&b"/2"[..], Version::Http10, 0));
}

#[test]
fn versions() {
    for (name, version) in [
        ("1.0", Version::Http10),
        ("1.1", Version::Http11),
        ("1.2", Version::Http11),
        ("1.9", Version::Http11),
    ] {
        let head = request(format!("GET / HTTP/{name}\r\nHost: a\r\n\r\n"));
        assert_eq!(head.map(|head| head.version()), Ok(version));
    }
}

#[test]
fn methods() {
    let cases = [
        ("GET", Method::Get, true, true),
        ("HEAD", Method::Head, true, true),
        ("OPTIONS", Method::Options, true, true),
        ("TRACE", Method::Trace, true, true),
        ("PUT", Method::Put, false, true),
        ("DELETE", Method::Delete, false, true),
        ("POST", Method::Post, false, false),
        ("PATCH", Method::Patch, false, false),
        ("CONNECT", Method::Connect, false, false),
        ("get", Method::Other, false, false),
        ("M-SEARCH", Method::Other, false, false),
    ];
    for (name, method, safe, idempotent) in cases {
        assert_eq!(Method::of(name.as_bytes()), method);
        assert_eq!((method.is_safe(), method.is_idempotent()), (safe, idempotent), "{name}");
    }
    let head = request("M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!((head.method(), head.method_name()), (Method::Other, &b"M-SEARCH"[..]));
}

#[test]
fn targets() {
    // Request line without version; form, authority, path and query, and what an upstream gets.
    let cases = [
        ("GET /", TargetForm::Origin, "host", "/", "/"),
        ("GET //a/../%2e?b?c", TargetForm::Origin, "host", "//a/../%2e?b?c", "//a/../%2e?b?c"),
        ("OPTIONS *", TargetForm::Asterisk, "host", "*", "*"),
        ("OPTIONS /", TargetForm::Origin, "host", "/", "/"),
        ("GET http://a.b:81/c?d", TargetForm::Absolute, "a.b:81", "/c?d", "/c?d"),
        ("GET HTTPS://a/", TargetForm::Absolute, "a", "/", "/"),
        ("GET http://a", TargetForm::Absolute, "a", "", "/"),
        ("GET http://a?b=http://c/", TargetForm::Absolute, "a", "?b=http://c/", "/?b=http://c/"),
        ("GET http://[::1]:8080/x", TargetForm::Absolute, "[::1]:8080", "/x", "/x"),
        ("OPTIONS http://a", TargetForm::Absolute, "a", "", "*"),
        ("OPTIONS http://a?b", TargetForm::Absolute, "a", "?b", "/?b"),
        ("CONNECT a:443", TargetForm::Authority, "a:443", "", "a:443"),
        ("CONNECT [::1]:443", TargetForm::Authority, "[::1]:443", "", "[::1]:443"),
    ];
    for (line, form, authority, path, sent) in cases {
        let head = request(format!("{line} HTTP/1.1\r\nHost: host\r\n\r\n")).unwrap();
        assert_eq!(head.target_form(), form, "{line}");
        assert_eq!(head.authority(), Some(authority.as_bytes()), "{line}");
        assert_eq!(head.path_and_query(), path.as_bytes(), "{line}");
        let mut out = Vec::new();
        head.put_target(&mut out);
        assert_eq!(out, sent.as_bytes(), "{line}");
    }
}

#[test]
fn hosts() {
    for host in [
        "",
        "a",
        "a.b",
        "A-_~b",
        "a:80",
        "a:",
        "a:0",
        "a:65535",
        "1.2.3.4:80",
        "[::1]",
        "[::1]:80",
        "[::ffff:1.2.3.4]",
        "a%20b",
        "a!$&'()*+,;=",
    ] {
        let head = request(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(head.map(|head| head.authority().map(<[u8]>::to_vec)), Ok(Some(host.into())));
    }
    assert_eq!(request("GET / HTTP/1.0\r\n\r\n").map(|head| head.authority().is_none()), Ok(true));
}

#[test]
fn heads_that_are_built() {
    let mut head = RequestHead::default();
    head.begin(Version::Http2, b"POST", b"/a").unwrap();
    head.fields_mut().push(b"host", b"b:1");
    head.fields_mut().push(b"te", b"\t trailers ");
    assert_eq!(head.check(), Ok(()));
    assert_eq!((head.method_name(), head.target()), (&b"POST"[..], &b"/a"[..]));
    assert_eq!((head.authority(), head.fields().get(Known::Te)), (Some(&b"b:1"[..]), Some(&b"trailers"[..])));
    head.fields_mut().push(b"Host", b"c");
    assert_eq!(head.check(), Err(Invalid::HostRepeated));
    assert_eq!(head.begin(Version::Http2, b"P T", b"/"), Err(Invalid::Method));
    assert_eq!(head.begin(Version::Http2, b"GET", b"a b"), Err(Invalid::TargetCharacter));
    assert_eq!(head.begin(Version::Http2, b"GET", b""), Err(Invalid::TargetCharacter));
    head.begin(Version::Http2, b"GET", b"/").unwrap();
    assert_eq!((head.check(), head.fields().len()), (Ok(()), 0));
    head.begin(Version::Http11, b"GET", b"/").unwrap();
    assert_eq!(head.check(), Err(Invalid::HostMissing));

    let mut head = ResponseHead::default();
    head.begin(Version::Http11, 503, b"Service Unavailable");
    head.fields_mut().push(b"retry-after", b"1");
    assert_eq!((head.status(), head.reason()), (503, &b"Service Unavailable"[..]));
    assert_eq!(head.fields().get(Known::RetryAfter), Some(&b"1"[..]));
}

#[test]
fn names_and_values_for_building() {
    assert!(is_name(b"x-a!") && !is_name(b"") && !is_name(b"a b") && !is_name(b"a:"));
    assert!(
        is_value(b"")
            && is_value(b"a\tb \xff")
            && !is_value(b" a")
            && !is_value(b"a ")
            && !is_value(b"a\r\nb")
    );
}

#[test]
fn a_slow_head_is_searched_once_and_read_once() {
    let mut head = RequestHead::default();
    for end in 0..BROWSER.len() {
        assert_eq!(head.parse(&BROWSER[..end], LIMIT), Ok(None));
        assert_eq!(head.progress.searched, end, "the search goes on where it stopped");
        let lines = BROWSER[..end].iter().filter(|&&byte| byte == b'\n').count();
        assert_eq!(head.fields().len(), lines.saturating_sub(1), "complete lines are not read again");
    }
    assert_eq!(head.parse(BROWSER, LIMIT), Ok(Some(BROWSER.len())));
}

#[test]
fn what_was_read_before_an_error_is_kept() {
    let mut head = RequestHead::default();
    assert_eq!(head.parse(b"GET /a HTTP/1.1\r\nb: c\r\nd\r\n", LIMIT), Err(Invalid::NoColon { line: 2 }));
    assert_eq!((head.method_name(), head.target()), (&b"GET"[..], &b"/a"[..]));
    assert_eq!(head.fields().find(b"b"), Some(&b"c"[..]));
    assert_eq!(head.parse(b"x\r\n", LIMIT), Err(Invalid::RequestLine));
    assert_eq!((head.method_name(), head.target(), head.fields().len()), (&b""[..], &b""[..], 0));
    assert_eq!(head.parse(BROWSER, LIMIT), Ok(Some(BROWSER.len())));
    assert!(head.fields().has(Known::Cookie));
    head.clear();
    assert!(!head.fields().has(Known::Cookie) && head.target().is_empty() && head.fields().is_empty());
}

#[test]
fn memory_is_used_again() {
    let mut head = RequestHead::default();
    head.parse(BROWSER, LIMIT).unwrap();
    let memory = |head: &RequestHead| {
        let fields = head.fields();
        (fields.raw.as_ptr(), fields.raw.capacity(), fields.lines.as_ptr(), fields.lines.capacity())
    };
    let before = memory(&head);
    for _ in 0..3 {
        head.parse(BROWSER, LIMIT).unwrap();
        assert_eq!(memory(&head), before);
    }
}

#[test]
fn lists_and_connection_options() {
    let elements = |value: &'static str| list(value.as_bytes()).map(<[u8]>::to_vec).collect::<Vec<_>>();
    assert_eq!(elements("a, b\t,,c ,"), [b"a", b"b", b"c"]);
    assert!(elements("").is_empty() && elements(" , ").is_empty());

    let head = request("GET / HTTP/1.1\r\nHost: a\r\nConnection: x-a, Upgrade\r\nconnection: Close\r\n\r\n")
        .unwrap();
    for (name, listed) in [
        ("X-A", true),
        ("upgrade", true),
        ("close", true),
        ("x", false),
        ("x-a, upgrade", false),
        ("", false),
    ] {
        assert_eq!(connection_lists(head.fields(), name.as_bytes()), listed, "{name}");
    }
    for (name, hop_by_hop) in
        [("Connection", true), ("TE", true), ("keep-alive", true), ("Cookie", false), ("x", false)]
    {
        assert_eq!(Known::of(name.as_bytes()).is_hop_by_hop(), hop_by_hop, "{name}");
    }
}

#[test]
fn written_heads() {
    let mut out = Vec::new();
    write::put_request_line(&mut out, b"GET", b"/a");
    write::put_field(&mut out, b"Host", b"b");
    write::put_number_field(&mut out, b"Content-Length", u64::MAX);
    write::put_number_field(&mut out, b"Age", 0);
    write::put_end(&mut out);
    let expected = "GET /a HTTP/1.1\r\nHost: b\r\nContent-Length: 18446744073709551615\r\nAge: 0\r\n\r\n";
    assert_eq!(out, expected.as_bytes());
    for (version, expected) in [
        (Version::Http10, "HTTP/1.0 404 No\r\n"),
        (Version::Http11, "HTTP/1.1 404 No\r\n"),
        (Version::Http2, "HTTP/1.1 404 No\r\n"),
    ] {
        out.clear();
        write::put_status_line(&mut out, version, 404, b"No");
        assert_eq!(out, expected.as_bytes());
    }
}
