//! Laws of the codec that hold for all bytes. They panic where one is broken. The fuzz targets check them too.

use crate::http1::{
    BodyLength, Decoder, Fields, Invalid, Known, MAX_FIELD_LINES, RequestHead, ResponseHead, Version,
    put_chunk_header, put_trailers, write,
};

/// Small, so that input of fuzzers exceeds it.
const LIMIT: usize = 512;

/// However a request's head comes in pieces, it is read the same; it is within its limits; and what is written from
/// it is read the same again.
pub(crate) fn request_head(input: &[u8]) {
    let mut whole = RequestHead::default();
    let result = whole.parse(input, LIMIT);
    let mut dripped = RequestHead::default();
    let mut found = Ok(None);
    for end in 0..=input.len() {
        found = dripped.parse(&input[..end], LIMIT);
        if let Ok(Some(length)) = found {
            assert_eq!(length, end, "complete with its last byte and not later");
        }
        if found != Ok(None) {
            break;
        }
    }
    assert_eq!(found, result);
    assert_eq!(shown(&dripped), shown(&whole));
    check_fields(whole.fields());

    let Ok(Some(length)) = result else { return };
    assert!(length <= LIMIT && input[..length].ends_with(b"\r\n\r\n"));
    let body = whole.body_length();
    let mut written = Vec::new();
    let mut target = Vec::new();
    whole.put_target(&mut target);
    write::put_request_line(&mut written, whole.method_name(), &target);
    if whole.version() == Version::Http10 {
        // Host may be missing there, and Transfer-Encoding must be.
        return;
    }
    put_fields(&mut written, whole.fields());
    let mut again = RequestHead::default();
    assert_eq!(again.parse(&written, usize::MAX), Ok(Some(written.len())));
    assert_eq!(again.method_name(), whole.method_name());
    assert_eq!(again.target(), target);
    assert!(again.fields().iter().eq(whole.fields().iter()));
    assert_eq!(again.body_length(), body);
    assert_eq!(again.keeps_alive(), whole.keeps_alive());
    // A head that is used again has nothing of the message before.
    assert_eq!(dripped.parse(&written, usize::MAX), Ok(Some(written.len())));
    assert_eq!(shown(&dripped), shown(&again));
}

/// As [`request_head`], for responses.
pub(crate) fn response_head(input: &[u8]) {
    let mut whole = ResponseHead::default();
    let result = whole.parse(input, LIMIT);
    let mut dripped = ResponseHead::default();
    let mut found = Ok(None);
    for end in 0..=input.len() {
        found = dripped.parse(&input[..end], LIMIT);
        if let Ok(Some(length)) = found {
            assert_eq!(length, end, "complete with its last byte and not later");
        }
        if found != Ok(None) {
            break;
        }
    }
    assert_eq!(found, result);
    assert_eq!((dripped.status(), dripped.reason()), (whole.status(), whole.reason()));
    assert!(dripped.fields().iter().eq(whole.fields().iter()));
    check_fields(whole.fields());

    let Ok(Some(length)) = result else { return };
    assert!(length <= LIMIT && input[..length].ends_with(b"\r\n\r\n"));
    assert!((100..1000).contains(&whole.status()));
    let mut written = Vec::new();
    write::put_status_line(&mut written, whole.version(), whole.status(), whole.reason());
    put_fields(&mut written, whole.fields());
    assert_eq!(dripped.parse(&written, usize::MAX), Ok(Some(written.len())));
    assert_eq!((dripped.version(), dripped.status()), (whole.version(), whole.status()));
    assert_eq!(dripped.reason(), whole.reason());
    assert!(dripped.fields().iter().eq(whole.fields().iter()));
    for request_is_head in [false, true] {
        let body = whole.body_length(request_is_head);
        assert_eq!(dripped.body_length(request_is_head), body);
        if let Ok(body) = body {
            assert_eq!(dripped.keeps_alive(body), whole.keeps_alive(body));
        }
    }
}

/// What a decoder made of input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// The data.
    pub(crate) data: Vec<u8>,
    /// The bytes consumed.
    pub(crate) consumed: usize,
    /// Whether the body is over.
    pub(crate) done: bool,
    /// The trailers.
    pub(crate) trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Feeds a decoder with pieces of these sizes, over and over. What a piece leaves is the beginning of the next.
pub(crate) fn decode(length: BodyLength, input: &[u8], sizes: &[usize]) -> Result<Decoded, Invalid> {
    let mut decoder = Decoder::new(length);
    let mut data = Vec::new();
    let mut at = 0;
    let mut end = 0;
    let mut sizes = sizes.iter().cycle();
    while end < input.len() && !decoder.is_done() {
        end = input.len().min(end + sizes.next().copied().unwrap_or(1).max(1));
        while at < end && !decoder.is_done() {
            let step = decoder.step(&input[at..end])?;
            assert!(step.consumed > 0, "a step goes on");
            assert!(step.data.end <= step.consumed && step.consumed <= end - at);
            assert_eq!(step.done, decoder.is_done());
            data.extend_from_slice(&input[at..end][step.data.clone()]);
            at += step.consumed;
        }
    }
    let trailers =
        decoder.trailers().iter().map(|(name, value, _)| (name.to_vec(), value.to_vec())).collect();
    Ok(Decoded { data, consumed: at, done: decoder.is_done(), trailers })
}

/// However a chunked body comes in pieces, it is decoded the same; the decoder stops where the body does; and what is
/// written from it is decoded the same again.
pub(crate) fn chunked(input: &[u8]) {
    let (sizes, input) = input.split_at(input.len().min(3));
    let sizes: Vec<usize> = sizes.iter().map(|&size| usize::from(size % 16)).collect();
    let whole = decode(BodyLength::Chunked, input, &[usize::MAX / 2]);
    assert_eq!(decode(BodyLength::Chunked, input, &[1]), whole);
    assert_eq!(decode(BodyLength::Chunked, input, &sizes), whole);
    let Ok(decoded) = whole else { return };
    let body = &input[..decoded.consumed];
    if !decoded.done {
        assert_eq!(decoded.consumed, input.len());
        return;
    }
    assert!(body.ends_with(b"\r\n\r\n") || body.ends_with(b"\n\r\n"));
    assert_eq!(decode(BodyLength::Chunked, body, &[2]), Ok(decoded.clone()), "needs nothing beyond its end");
    assert_eq!(decode(BodyLength::Chunked, &body[..body.len() - 1], &[2]).map(|short| short.done), Ok(false));
    let mut written = encode(&decoded.data, &sizes, &decoded.trailers);
    let length = written.len();
    written.extend_from_slice(b"0\r\n\r\nnext");
    let again = decode(BodyLength::Chunked, &written, &sizes);
    assert_eq!(again, Ok(Decoded { consumed: length, ..decoded }));
}

/// Writes a chunked body with chunks of these sizes, over and over.
pub(crate) fn encode(mut data: &[u8], sizes: &[usize], trailers: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sizes = sizes.iter().cycle();
    while !data.is_empty() {
        let (chunk, rest) = data.split_at(data.len().min(sizes.next().copied().unwrap_or(1).max(1)));
        put_chunk_header(&mut out, chunk.len());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        data = rest;
    }
    let mut fields = Fields::default();
    for (name, value) in trailers {
        fields.push(name, value);
    }
    put_trailers(&mut out, &fields);
    out
}

fn shown(head: &RequestHead) -> impl PartialEq + std::fmt::Debug + '_ {
    let fields: Vec<_> = head.fields().iter().collect();
    let authority = head.authority();
    (head.method(), head.method_name(), head.target(), head.path_and_query(), authority, fields)
}

fn put_fields(out: &mut Vec<u8>, fields: &Fields) {
    for (name, value, _) in fields.iter() {
        write::put_field(out, name, value);
    }
    write::put_end(out);
}

/// Nothing that another reader could take for the end of a line, a name or a head.
fn check_fields(fields: &Fields) {
    assert!(fields.len() <= MAX_FIELD_LINES);
    for (name, value, known) in fields.iter() {
        assert!(!name.is_empty() && name.iter().all(|&byte| byte.is_ascii_graphic() && byte != b':'));
        assert!(value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)));
        assert_eq!(known, Known::of(name));
        assert!(fields.has(known) && fields.find(name).is_some());
    }
}
