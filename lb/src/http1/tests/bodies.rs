use super::laws::{Decoded, decode};
use crate::http1::chunked::{LAST_CHUNK, MAX_CHUNK_EXTENSION_BYTES, MAX_TRAILER_LINES};
use crate::http1::{BodyLength, Decoder, Fields, Step, put_chunk_header, put_trailers};

fn chunked(input: impl AsRef<[u8]>) -> Decoded {
    let input = input.as_ref();
    let whole = decode(BodyLength::Chunked, input, &[input.len()]).unwrap();
    assert_eq!(decode(BodyLength::Chunked, input, &[1]), Ok(whole.clone()));
    whole
}

#[test]
fn a_small_chunked_body_is_one_step() {
    let input = b"5\r\nhello\r\n0\r\n\r\nGET";
    let mut decoder = Decoder::new(BodyLength::Chunked);
    assert_eq!(decoder.step(input), Ok(Step { consumed: 15, data: 3..8, done: true }));
    assert_eq!(decoder.step(&input[15..]), Ok(Step { consumed: 0, data: 0..0, done: true }));
}

#[test]
fn a_step_stops_before_the_second_run() {
    let input = b"2\r\nab\r\n3;x\r\ncde\r\n0\r\n\r\n";
    let mut decoder = Decoder::new(BodyLength::Chunked);
    assert_eq!(decoder.step(input), Ok(Step { consumed: 12, data: 3..5, done: false }));
    assert_eq!(decoder.step(&input[12..]), Ok(Step { consumed: 10, data: 0..3, done: true }));
}

#[test]
fn lengths_without_chunks() {
    let mut decoder = Decoder::new(BodyLength::Fixed(5));
    assert_eq!((decoder.remaining(), decoder.finish_on_eof()), (Some(5), false));
    assert_eq!(decoder.step(b""), Ok(Step { consumed: 0, data: 0..0, done: false }));
    assert_eq!(decoder.step(b"abc"), Ok(Step { consumed: 3, data: 0..3, done: false }));
    assert_eq!(decoder.remaining(), Some(2));
    assert_eq!(decoder.step(b"defg"), Ok(Step { consumed: 2, data: 0..2, done: true }));
    assert_eq!((decoder.remaining(), decoder.finish_on_eof()), (Some(0), true));

    decoder.reset(BodyLength::UntilClose);
    assert_eq!((decoder.remaining(), decoder.finish_on_eof(), decoder.is_done()), (None, true, false));
    assert_eq!(decoder.step(b"abc"), Ok(Step { consumed: 3, data: 0..3, done: false }));

    for length in [BodyLength::Empty, BodyLength::Fixed(0)] {
        decoder.reset(length);
        assert!(decoder.is_done());
        assert_eq!(decoder.step(b"abc"), Ok(Step { consumed: 0, data: 0..0, done: true }));
    }
    decoder.reset(BodyLength::Fixed(u64::MAX));
    assert_eq!(decoder.step(b"abc"), Ok(Step { consumed: 3, data: 0..3, done: false }));
    assert_eq!(decoder.remaining(), Some(u64::MAX - 3));

    decoder.reset(BodyLength::Chunked);
    assert_eq!((decoder.remaining(), decoder.finish_on_eof()), (None, false));
    // An end between two chunks is not the end of the body.
    assert_eq!(decoder.step(b"1\r\na\r\n"), Ok(Step { consumed: 6, data: 3..4, done: false }));
    assert!(!decoder.finish_on_eof());
}

#[test]
fn chunk_sizes() {
    for size in ["a", "A", "0a", "00000000000000000a"] {
        let decoded =
            decode(BodyLength::Chunked, format!("{size}\r\n0123456789\r\n0\r\n\r\n").as_bytes(), &[4]);
        if size.len() > 16 {
            assert!(decoded.is_err(), "{size}");
        } else {
            assert_eq!(decoded.map(|decoded| decoded.data), Ok(b"0123456789".to_vec()), "{size}");
        }
    }
    assert!(chunked("0000000000000000\r\n\r\n").done);
    let mut decoder = Decoder::new(BodyLength::Chunked);
    assert_eq!(
        decoder.step(b"ffffffffffffffff\r\nabc"),
        Ok(Step { consumed: 21, data: 18..21, done: false })
    );
}

#[test]
fn extensions_are_forgotten() {
    let decoded = chunked(b"3;a\r\nabc\r\n2;b=\"c d\"; e\t=f \xff\r\nde\r\n0;z\r\n\r\n");
    assert_eq!((decoded.data, decoded.done), (b"abcde".to_vec(), true));
    let longest = "x".repeat(MAX_CHUNK_EXTENSION_BYTES as usize - 1);
    assert!(chunked(format!("1;{longest}\r\na\r\n0\r\n\r\n")).done);
}

#[test]
fn trailers() {
    let decoded = chunked("1\r\na\r\n0\r\ngrpc-status: 0\r\nX-Sum:\t12 \r\nServer-Timing:\r\n\r\nrest");
    let expected: [(&[u8], &[u8]); 3] = [(b"grpc-status", b"0"), (b"X-Sum", b"12"), (b"Server-Timing", b"")];
    assert!(decoded.trailers.iter().map(|(name, value)| (&name[..], &value[..])).eq(expected));
    let most = "a: b\r\n".repeat(usize::from(MAX_TRAILER_LINES));
    assert_eq!(chunked(format!("0\r\n{most}\r\n")).trailers.len(), usize::from(MAX_TRAILER_LINES));

    let mut decoder = Decoder::new(BodyLength::Chunked);
    decoder.step(b"0\r\na: b\r\n\r\n").unwrap();
    assert_eq!(decoder.trailers().find(b"A"), Some(&b"b"[..]));
    decoder.reset(BodyLength::Chunked);
    assert!(decoder.trailers().is_empty());
}

#[test]
fn trailers_that_belong_in_heads_are_dropped() {
    for name in [
        "Authorization",
        "Connection",
        "Content-Type",
        "Cookie",
        "Keep-Alive",
        "Set-Cookie",
        "TE",
        "Trailer",
        "Upgrade",
        "Proxy-Authorization",
        "X-Forwarded-For",
        "X-Request-Id",
        "Cache-Control",
        "Content-Encoding",
        "Via",
        "Range",
        "X-Real-IP",
    ] {
        let decoded = chunked(format!("0\r\na: 1\r\n{name}: x\r\nb: 2\r\n\r\n"));
        let expected = [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"2".to_vec())];
        assert_eq!(decoded.trailers, expected, "{name}");
    }
    let mut decoder = Decoder::new(BodyLength::Chunked);
    decoder.step(b"0\r\nvia: x\r\n\r\n").unwrap();
    assert!(decoder.trailers().raw.is_empty(), "nothing of them is kept");
}

#[test]
fn written_bodies() {
    for (length, expected) in [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (0xabc0, "abc0\r\n")] {
        let mut out = Vec::new();
        put_chunk_header(&mut out, length);
        assert_eq!(out, expected.as_bytes());
    }
    let mut out = Vec::new();
    put_chunk_header(&mut out, usize::MAX);
    assert_eq!(out.len(), usize::BITS as usize / 4 + 2);
    let mut trailers = Fields::default();
    out.clear();
    put_trailers(&mut out, &trailers);
    assert_eq!(out, LAST_CHUNK);
    trailers.push(b"a", b"b");
    out.clear();
    put_trailers(&mut out, &trailers);
    assert_eq!(out, b"0\r\na: b\r\n\r\n");
}
