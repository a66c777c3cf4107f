use super::laws::decode;
use crate::http1::chunked::{
    MAX_CHUNK_EXTENSION_BYTES, MAX_EXTENSIONS_BYTES, MAX_TRAILER_BYTES, MAX_TRAILER_LINES,
};
use crate::http1::{BodyLength, Invalid};

fn refused(input: impl AsRef<[u8]>, error: Invalid) {
    let input = input.as_ref();
    for size in [input.len(), 1, 3] {
        let decoded = decode(BodyLength::Chunked, input, &[size]);
        assert_eq!(decoded, Err(error), "{}", input.escape_ascii());
    }
}

#[test]
fn framing() {
    let cases: &[(&[u8], Invalid)] = &[
        (b"\r\n", Invalid::ChunkSize),
        (b";a\r\n", Invalid::ChunkSize),
        (b"g\r\n", Invalid::ChunkSize),
        (b"0x5\r\n", Invalid::ChunkSize),
        (b"-1\r\n", Invalid::ChunkSize),
        (b"+1\r\n", Invalid::ChunkSize),
        (b" 5\r\n", Invalid::ChunkSize),
        (b"5 \r\n", Invalid::ChunkSize),
        (b"5 ;a\r\n", Invalid::ChunkSize),
        (b"5\t\r\n", Invalid::ChunkSize),
        (b"5_0\r\n", Invalid::ChunkSize),
        (b"10000000000000005\r\n", Invalid::ChunkSize),
        (b"00000000000000000\r\n", Invalid::ChunkSize),
        (b"fffffffffffffffff\r\n", Invalid::ChunkSize),
        (b"5\nhello\r\n", Invalid::BareLf),
        (b"5\rhello\r\n", Invalid::BareCr),
        (b"5\r\rhello", Invalid::BareCr),
        (b"5;a\nhello\r\n", Invalid::BareLf),
        (b"5;a\rb\r\n", Invalid::BareCr),
        (b"5;\0\r\n", Invalid::ChunkExtension),
        (b"5;\x0b\r\n", Invalid::ChunkExtension),
        (b"5;\x7f\r\n", Invalid::ChunkExtension),
        (b"5\r\nhelloX", Invalid::ChunkEnd),
        (b"5\r\nhello\n", Invalid::ChunkEnd),
        (b"5\r\nhello\r0", Invalid::ChunkEnd),
        (b"5\r\nhello0\r\n\r\n", Invalid::ChunkEnd),
        (b"5\r\nhello\r\n\r\n", Invalid::ChunkSize),
    ];
    for (input, error) in cases {
        refused(input, *error);
    }
}

#[test]
fn trailers() {
    let cases: &[(&[u8], Invalid)] = &[
        (b"\n", Invalid::BareLf),
        (b"a: b\n\r\n", Invalid::BareLf),
        (b"a: b\rc\r\n\r\n", Invalid::BareCr),
        (b"\rX\r\n", Invalid::BareCr),
        (b"\r\r\n", Invalid::BareCr),
        (b" a: b\r\n", Invalid::Folded { line: 1 }),
        (b"a: b\r\n c\r\n", Invalid::Folded { line: 2 }),
        (b"a : b\r\n", Invalid::SpaceBeforeColon { line: 1 }),
        (b"a\r\n", Invalid::NoColon { line: 1 }),
        (b": b\r\n", Invalid::EmptyName { line: 1 }),
        (b"a b: c\r\n", Invalid::Name { line: 1 }),
        (b"a: b\0\r\n", Invalid::Value { line: 1 }),
        (b"GET / HTTP/1.1\r\n", Invalid::NoColon { line: 1 }),
        (b"Content-Length: 5\r\n", Invalid::Trailer),
        (b"a: b\r\ntransfer-encoding: chunked\r\n", Invalid::Trailer),
        (b"Host: a\r\n", Invalid::Trailer),
    ];
    for (input, error) in cases {
        refused([b"0\r\n", *input].concat(), *error);
    }
}

#[test]
fn limits() {
    let extension = "x".repeat(MAX_CHUNK_EXTENSION_BYTES as usize);
    refused(format!("1;{extension}\r\na\r\n"), Invalid::ChunkExtensionTooLong);

    let chunk = format!("1;{}\r\na\r\n", "x".repeat(127));
    let most = chunk.repeat(MAX_EXTENSIONS_BYTES as usize / 128);
    let decoded = decode(BodyLength::Chunked, format!("{most}0\r\n\r\n").as_bytes(), &[100]);
    assert_eq!(decoded.map(|decoded| decoded.done), Ok(true));
    refused(format!("{most}0;\r\n\r\n"), Invalid::ChunkExtensionTooLong);

    // "a: ", the value, and two line ends.
    let trailers = |length: usize| format!("0\r\na: {}\r\n\r\n", "x".repeat(length - 7));
    let decoded = decode(BodyLength::Chunked, trailers(MAX_TRAILER_BYTES).as_bytes(), &[100]);
    assert_eq!(decoded.map(|decoded| decoded.done), Ok(true));
    refused(trailers(MAX_TRAILER_BYTES + 1), Invalid::TrailerTooLarge);
    // What is dropped counts too.
    refused(
        format!("0\r\n{}\r\n", "via: x\r\n".repeat(usize::from(MAX_TRAILER_LINES) + 1)),
        Invalid::TooManyLines,
    );
    refused(
        format!("0\r\n{}\r\n", "a: b\r\n".repeat(usize::from(MAX_TRAILER_LINES) + 1)),
        Invalid::TooManyLines,
    );
}
