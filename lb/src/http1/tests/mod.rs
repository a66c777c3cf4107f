//! Tables of what is read and what is refused, as raw bytes, and the laws that hold for all bytes.

mod bodies;
mod chunked_refusals;
mod framing;
mod heads;
mod laws;
mod properties;
mod refusals;

use super::{Invalid, RequestHead, ResponseHead};

const LIMIT: usize = 8192;

fn request(input: impl AsRef<[u8]>) -> Result<RequestHead, Invalid> {
    let input = input.as_ref();
    let mut head = RequestHead::default();
    match head.parse(input, LIMIT)? {
        Some(length) => assert_eq!(length, input.len(), "all of it is the head"),
        None => panic!("{:?} is not complete", input.escape_ascii().to_string()),
    }
    Ok(head)
}

fn response(input: impl AsRef<[u8]>) -> Result<ResponseHead, Invalid> {
    let input = input.as_ref();
    let mut head = ResponseHead::default();
    match head.parse(input, LIMIT)? {
        Some(length) => assert_eq!(length, input.len(), "all of it is the head"),
        None => panic!("{:?} is not complete", input.escape_ascii().to_string()),
    }
    Ok(head)
}
