//! The HTTP/1.1 message syntax, RFC 9112: heads, framing and chunked bodies, read strictly and written plainly.
//!
//! Pure: bytes in, decisions out, and buffers that are used again for the next message. What two readers could
//! understand differently is refused with an [`Invalid`] and never repaired: a proxy that guesses is how requests are
//! smuggled. It does no I/O, keeps no time, and knows nothing of upstreams.

pub mod chunked;
pub mod fields;
pub mod framing;
pub mod head;
pub mod invalid;
pub mod parse;
pub mod target;
pub mod write;

mod syntax;

pub use chunked::{Decoder, LAST_CHUNK, Step, is_trailer, put_chunk_header, put_trailers};
pub use fields::{Fields, Known, connection_lists, list};
pub use framing::BodyLength;
pub use head::{Method, RequestHead, ResponseHead, Version};
pub use invalid::Invalid;
pub use parse::MAX_FIELD_LINES;
pub use target::TargetForm;
pub use write::{put_end, put_field, put_number_field, put_status_line};

#[cfg(test)]
mod tests;
