use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::strategy::Union;

use super::laws;
use crate::http1::BodyLength;

/// Bytes that are often almost a message: pieces of messages in any order, and now and then any byte.
fn almost(pieces: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let known = Union::new(pieces.iter().map(|piece| Just(piece.to_vec())));
    vec(prop_oneof![12 => known, 1 => vec(any::<u8>(), 1..4)], 0..40).prop_map(|pieces| pieces.concat())
}

const REQUEST: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\n",
    b"POST http://h/p?q HTTP/1.1\r\n",
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close, x\r\n",
    b"x:\t y \r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b" ",
    b":",
    b"GET",
    b"/",
    b"HTTP/1.0",
    b"a",
];

const RESPONSE: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 404 \r\n",
    b"HTTP/1.1 304\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close, x\r\n",
    b"x:\t y \r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b" ",
    b":",
    b"a",
];

const CHUNKS: &[&[u8]] = &[
    b"5\r\nhello\r\n",
    b"0a;n=v\r\n0123456789\r\n",
    b"1\r\nx\r\n",
    b"0\r\n",
    b"\r\n",
    b"a: b\r\n",
    b"content-type: x\r\n",
    b"\r",
    b"\n",
    b";",
    b"f",
];

/// A message proper, so that the laws about what was accepted are met often.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let line =
        "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}:[ \t]{0,2}([!-~\u{a0}-\u{ff}]([ -~\t]{0,16}[!-~])?)?[ \t]{0,2}\r\n";
    (
        "(\r\n){0,2}[A-Z]{1,8} /[!-\"$-~]{0,20} HTTP/1\\.1\r\nHost: [a-z]{1,5}(:[0-9]{0,4})?\r\n",
        vec(line, 0..8),
    )
        .prop_map(|(start, lines)| format!("{start}{}\r\n", lines.concat()).into_bytes())
}

proptest! {
    #[test]
    fn a_request_head_of_any_bytes(input in vec(any::<u8>(), 0..600)) {
        laws::request_head(&input);
    }

    #[test]
    fn a_request_head_that_is_almost_right(input in almost(REQUEST)) {
        laws::request_head(&input);
    }

    #[test]
    fn a_request_head_that_is_right(input in request(), beyond in vec(any::<u8>(), 0..20)) {
        let mut head = super::RequestHead::default();
        match head.parse(&[&input[..], &beyond].concat(), super::LIMIT) {
            Ok(length) => assert_eq!(length, Some(input.len())),
            // The generator knows nothing of the fields.
            Err(error) => assert!(
                matches!(error, super::Invalid::HostRepeated | super::Invalid::TargetForm),
                "{error}",
            ),
        }
        laws::request_head(&input);
    }

    #[test]
    fn a_response_head_of_any_bytes(input in vec(any::<u8>(), 0..600)) {
        laws::response_head(&input);
    }

    #[test]
    fn a_response_head_that_is_almost_right(input in almost(RESPONSE)) {
        laws::response_head(&input);
    }

    #[test]
    fn chunks_of_any_bytes(input in vec(any::<u8>(), 0..600)) {
        laws::chunked(&input);
    }

    #[test]
    fn chunks_that_are_almost_right(input in almost(CHUNKS)) {
        laws::chunked(&[&[3, 1, 7], &input[..]].concat());
    }

    #[test]
    fn chunks_that_are_right(
        data in vec(any::<u8>(), 0..5000),
        chunks in vec(1_usize..700, 1..5),
        reads in vec(1_usize..700, 1..5),
        beyond in vec(any::<u8>(), 0..20),
    ) {
        let trailers = vec![(b"grpc-status".to_vec(), b"0".to_vec())];
        let mut input = laws::encode(&data, &chunks, &trailers);
        let consumed = input.len();
        input.extend_from_slice(&beyond);
        let decoded = laws::decode(BodyLength::Chunked, &input, &reads);
        assert_eq!(decoded, Ok(laws::Decoded { data, consumed, done: true, trailers }));
    }

    #[test]
    fn a_body_of_fixed_length(
        data in vec(any::<u8>(), 0..2000),
        reads in vec(1_usize..700, 1..5),
        beyond in vec(any::<u8>(), 0..20),
    ) {
        let input = [&data[..], &beyond].concat();
        let consumed = data.len();
        let decoded = laws::decode(BodyLength::Fixed(consumed as u64), &input, &reads);
        assert_eq!(decoded, Ok(laws::Decoded { data, consumed, done: true, trailers: Vec::new() }));
    }
}
