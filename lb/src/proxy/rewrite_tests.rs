use super::{Forward, put_request, request_id, response_fields};
use crate::http1::{BodyLength, RequestHead, ResponseHead};

const FORWARD: Forward<'_> = Forward {
    peer: std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
    tls: false,
    trust: false,
    request_id: "id",
};

fn request(text: &str) -> RequestHead {
    let mut head = RequestHead::default();
    assert_eq!(head.parse(text.as_bytes(), 8192).unwrap(), Some(text.len()));
    head
}

fn rewritten(text: &str, upgrade: Option<&[u8]>, forward: Forward<'_>) -> String {
    let head = request(text);
    let mut out = Vec::new();
    put_request(&mut out, &head, head.body_length().unwrap(), upgrade, forward);
    String::from_utf8(out).unwrap()
}

const ADDED: &str = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n\
                     X-Request-Id: id\r\n";

#[test]
fn fields_of_one_hop_are_dropped() {
    let text = "GET /x?y HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-secret\r\nKeep-Alive: timeout=5\r\n\
                X-Secret: 1\r\nProxy-Connection: close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\naccept: */*\r\n\r\n";
    let expected = format!("GET /x?y HTTP/1.1\r\nHost: a\r\naccept: */*\r\n{ADDED}\r\n");
    assert_eq!(rewritten(text, None, FORWARD), expected);
}

#[test]
fn a_client_cannot_have_its_request_robbed_of_its_meaning() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: cookie, authorization, host, x-forwarded-for\r\n\
                Cookie: c\r\nAuthorization: z\r\n\r\n";
    let expected = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: c\r\nAuthorization: z\r\n{ADDED}\r\n");
    assert_eq!(rewritten(text, None, FORWARD), expected);
}

#[test]
fn fields_in_disguise_are_dropped() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1.1.1.1\r\nTransfer_Encoding: chunked\r\n\
                Forwarded_: x\r\nX_Own: kept\r\n\r\n";
    let expected = format!("GET / HTTP/1.1\r\nHost: a\r\nForwarded_: x\r\nX_Own: kept\r\n{ADDED}\r\n");
    assert_eq!(rewritten(text, None, FORWARD), expected);
}

#[test]
fn framing_is_said_anew() {
    let fixed = rewritten("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 003\r\n\r\n", None, FORWARD);
    assert_eq!(fixed, format!("POST / HTTP/1.1\r\nHost: a\r\n{ADDED}Content-Length: 3\r\n\r\n"));
    let none = rewritten("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", None, FORWARD);
    assert!(none.ends_with("Content-Length: 0\r\n\r\n"), "{none}");
    let chunked =
        rewritten("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n", None, FORWARD);
    assert!(chunked.ends_with("Transfer-Encoding: chunked\r\n\r\n"), "{chunked}");
    let trailers = rewritten("GET / HTTP/1.1\r\nHost: a\r\nTE: gzip, trailers\r\n\r\n", None, FORWARD);
    assert!(trailers.ends_with("TE: trailers\r\nConnection: TE\r\n\r\n"), "{trailers}");
}

#[test]
fn an_upgrade_is_passed_on_when_asked_for() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let upgraded = rewritten(text, Some(b"websocket"), FORWARD);
    assert!(upgraded.ends_with("Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"), "{upgraded}");
    assert!(!rewritten(text, None, FORWARD).contains("pgrade"));
}

#[test]
fn an_absolute_target_names_the_host() {
    let out = rewritten("GET http://b:8/x HTTP/1.1\r\nHost: a\r\n\r\n", None, FORWARD);
    assert!(out.starts_with("GET /x HTTP/1.1\r\nHost: b:8\r\n"), "{out}");
    assert!(out.contains("X-Forwarded-Host: b:8\r\n"), "{out}");
}

#[test]
fn what_a_client_says_of_those_before_it_counts_only_if_trusted() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\
                X-Forwarded-Proto: https\r\nX-Forwarded-Host: z\r\nX-Request-Id: theirs\r\n\r\n";
    assert_eq!(rewritten(text, None, FORWARD), format!("GET / HTTP/1.1\r\nHost: a\r\n{ADDED}\r\n"));
    let trusted = rewritten(text, None, Forward { trust: true, ..FORWARD });
    assert!(trusted.contains("X-Forwarded-For: 1.1.1.1, 2.2.2.2, 192.0.2.7\r\n"), "{trusted}");
    assert!(trusted.contains("X-Forwarded-Proto: https\r\n") && trusted.contains("X-Forwarded-Host: z\r\n"));
}

#[test]
fn a_request_has_a_name() {
    let head = request("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: theirs\r\n\r\n");
    let mut id = String::new();
    request_id(&mut id, &head, true, 5);
    assert_eq!(id, "theirs");
    request_id(&mut id, &head, false, 5);
    assert_eq!(id, "00000000000000000000000000000005");
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: {}\r\n\r\n", "x".repeat(129));
    request_id(&mut id, &request(&long), true, 6);
    assert_eq!(id, "00000000000000000000000000000006");
}

#[test]
fn a_response_loses_the_fields_of_its_hop() {
    let text = "HTTP/1.1 200 OK\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nTransfer-Encoding: chunked\r\n\
                Set-Cookie: a\r\nset-cookie: b\r\nTrailer: z\r\n\r\n";
    let mut head = ResponseHead::default();
    assert_eq!(head.parse(text.as_bytes(), 8192).unwrap(), Some(text.len()));
    assert_eq!(head.body_length(false).unwrap(), BodyLength::Chunked);
    let mut names = Vec::new();
    response_fields(&head, |name, value| {
        names.push(format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
    });
    assert_eq!(names, ["Set-Cookie: a", "set-cookie: b", "Trailer: z"]);
}
