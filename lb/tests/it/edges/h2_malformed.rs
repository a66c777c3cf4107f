//! HTTP/2 that is malformed (RFC 9113, section 8.1.1) resets its stream or gets 400, and reaches no upstream.

use super::support::{END_STREAM, Frame, Frames, kind, pair};

const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 7;

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/")];

/// What a client may hear of a malformed request: a reset of the stream, or 400.
fn is_refusal(frame: &Frame) -> bool {
    match frame.kind {
        kind::RST_STREAM => frame.code() == PROTOCOL_ERROR,
        kind::HEADERS => frame.status() == 400,
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads() {
    let (lb, backend) = pair("").await;
    let get = |more: &[(&'static str, &'static str)]| [&GET[..], more].concat();
    let with = |name: &str, value: &'static str| -> Vec<(&'static str, &'static str)> {
        GET.iter().map(|&(other, old)| (other, if other == name { value } else { old })).collect()
    };
    let without = |name: &str| GET.iter().copied().filter(|(other, _)| *other != name).collect::<Vec<_>>();
    for fields in [
        get(&[("X-Upper", "1")]),
        get(&[("connection", "close")]),
        get(&[("transfer-encoding", "chunked")]),
        get(&[("keep-alive", "timeout=5")]),
        get(&[("proxy-connection", "close")]),
        get(&[("upgrade", "websocket")]),
        get(&[("te", "gzip")]),
        get(&[("host", "other")]),
        get(&[("content-length", "1"), ("content-length", "2")]),
        get(&[("content-length", "x")]),
        get(&[("x", "a\r\nb")]),
        get(&[("x", "a\nb")]),
        get(&[("x", "a\0b")]),
        get(&[("x y", "a")]),
        get(&[("x:y", "a")]),
        get(&[("", "a")]),
        get(&[(":path", "/again")]),
        get(&[(":status", "200")]),
        get(&[(":unknown", "x")]),
        get(&[("x", "y"), (":scheme", "http")]),
        with(":path", ""),
        with(":path", "no-slash"),
        with(":path", "/a b"),
        with(":path", "/a\0b"),
        with(":path", "/a\r\nb"),
        with(":path", "*"),
        with(":method", "G(T"),
        with(":method", ""),
        with(":authority", "x y"),
        with(":authority", "u@x"),
        with(":authority", "x/y"),
        with(":authority", "x:port"),
        without(":method"),
        without(":path"),
        without(":scheme"),
        without(":authority"),
    ] {
        let mut client = Frames::connect(lb.traffic, &[]).await;
        // Behind it, a request that is well formed. Its answer says that the first is dealt with.
        let good = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/heartbeat")];
        client.headers(END_STREAM, &[(1, &fields), (3, &good)]).await;
        let (mut refused, mut answered) = (false, false);
        while !(refused && answered) {
            // The connection may end for what no stream can be blamed for.
            let Ok(frame) = client.try_next().await else { break };
            match (frame.kind, frame.stream) {
                (kind::GOAWAY, _) => {
                    assert_eq!(frame.code(), PROTOCOL_ERROR, "{fields:?}");
                    break;
                }
                (kind::HEADERS | kind::RST_STREAM, 1) if !refused => {
                    assert!(is_refusal(&frame), "{frame:?} to {fields:?}");
                    refused = true;
                }
                (kind::HEADERS, 3) => {
                    assert_eq!(frame.status(), 404);
                    answered = true;
                }
                _ => {}
            }
        }
        assert!(!backend.is_asked(), "{fields:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_another_length_than_announced() {
    let (lb, backend) = pair("").await;
    for (length, data) in [("0", "x"), ("4", "abc"), ("4", "abcde")] {
        let mut client = Frames::connect(lb.traffic, &[]).await;
        let mut fields = GET.to_vec();
        fields[0] = (":method", "POST");
        fields.push(("content-length", length));
        client.headers(0, &[(1, &fields)]).await;
        client.send(kind::DATA, END_STREAM, 1, data.as_bytes()).await;
        // Its head may have gone out, but no upstream gets all of what was announced.
        let frame = client.of(1).await;
        assert!(is_refusal(&frame), "{frame:?} for {data:?} instead of {length}");
        let mut server = backend.accept().await;
        let got = server.everything().await;
        assert!(!got.ends_with(b"abcd") && !got.ends_with(b"abcde"), "{}", String::from_utf8_lossy(&got));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_and_no_body() {
    let (lb, backend) = pair("").await;
    let mut client = Frames::connect(lb.traffic, &[]).await;
    let mut fields = GET.to_vec();
    fields.push(("content-length", "4"));
    client.headers(END_STREAM, &[(1, &fields)]).await;
    let frame = client.of(1).await;
    assert!(is_refusal(&frame), "{frame:?}");
    assert!(!backend.is_asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_refused() {
    let (lb, backend) = pair("").await;
    let mut client = Frames::connect(lb.traffic, &[]).await;
    client.headers(END_STREAM, &[(1, &[(":method", "CONNECT"), (":authority", "x.example:443")])]).await;
    assert_eq!(client.of(1).await.status(), 501);
    assert!(!backend.is_asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large() {
    let (lb, backend) = pair("[limits]\nheader_bytes = 1000\n").await;
    let mut client = Frames::connect(lb.traffic, &[]).await;
    let long = "y".repeat(120);
    let mut fields = GET.to_vec();
    fields.extend([("x", long.as_str()); 10]);
    client.headers(END_STREAM, &[(1, &fields)]).await;
    assert_eq!(client.of(1).await.status(), 431);
    assert!(!backend.is_asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_allowed() {
    let (lb, backend) = pair("[client]\nh2_streams = 2\n").await;
    let mut client = Frames::connect(lb.traffic, &[]).await;
    for stream in [1, 3, 5] {
        client.headers(END_STREAM, &[(stream, &GET)]).await;
    }
    let refused = client.next().await;
    assert_eq!((refused.kind, refused.stream, refused.code()), (kind::RST_STREAM, 5, REFUSED_STREAM));
    for _ in 0..2 {
        let mut server = backend.accept().await;
        server.request().await;
        server.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    }
    for _ in 0..2 {
        assert_eq!(client.next().await.status(), 204);
    }
    client.headers(END_STREAM, &[(7, &GET)]).await;
    let mut server = backend.accept().await;
    server.request().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_is_closed() {
    let (lb, _backend) = pair("[client]\nidle_timeout_ms = 100\n").await;
    let mut client = Frames::connect(lb.traffic, &[]).await;
    // Asked to leave, and then left.
    assert_eq!(client.next().await.kind, kind::GOAWAY);
}
