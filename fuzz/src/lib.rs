//! The HTTP/1.1 codec of the load balancer and its laws, compiled from their own files, so that fuzzing them does not
//! build the rest.
//!
//! `cargo +nightly fuzz run request_head`, `response_head` or `chunked`; with `-- -max_len=1024 -dict=http1.dict`.

#[path = "../../lb/src/http1/mod.rs"]
pub mod http1;

#[path = "../../lb/src/http1/tests/laws.rs"]
mod laws;

/// Checks the laws of request heads on any bytes.
pub fn request_head(input: &[u8]) {
    laws::request_head(input);
}

/// Checks the laws of response heads on any bytes.
pub fn response_head(input: &[u8]) {
    laws::response_head(input);
}

/// Checks the laws of chunked bodies on any bytes. The first three choose how the rest comes in pieces.
pub fn chunked(input: &[u8]) {
    laws::chunked(input);
}
