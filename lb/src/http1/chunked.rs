//! Bodies: finds where a body ends while its bytes pass by, and writes chunks. RFC 9112, section 7.
//!
//! The decoder keeps no data: it says which bytes of the input are data. It never takes a byte beyond the end of the
//! message, so what follows is the next one. Chunk extensions are checked, bounded and forgotten; the RFC lets a
//! recipient ignore them.

use std::ops::Range;

use memchr::memchr;

use super::fields::{Fields, Known, Line};
use super::framing::BodyLength;
use super::invalid::Invalid;
use super::{syntax, write};

/// The bytes the extensions of one chunk may have, from the semicolon to CRLF.
pub const MAX_CHUNK_EXTENSION_BYTES: u32 = 256;
/// The bytes the extensions of all chunks of a body may have.
pub const MAX_EXTENSIONS_BYTES: u32 = 8 * 1024;
/// The bytes a trailer section may have, with line ends.
pub const MAX_TRAILER_BYTES: usize = 8 * 1024;
/// The lines a trailer section may have.
pub const MAX_TRAILER_LINES: u16 = 32;
/// The hexadecimal digits of a chunk size, which are all that 64 bits hold.
const MAX_SIZE_DIGITS: u8 = 16;

/// The last chunk and an empty trailer section.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What a call of [`Decoder::step`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How many bytes of the input are dealt with: framing and data.
    pub consumed: usize,
    /// Which of these are data; often none.
    pub data: Range<usize>,
    /// Whether the body is over.
    pub done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Done,
    Fixed,
    UntilClose,
    Size {
        digits: u8,
    },
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailer,
}

/// Reads one body after another.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    state: State,
    /// Of the body, or of the chunk.
    remaining: u64,
    extension_bytes: u32,
    extensions_bytes: u32,
    trailer_bytes: usize,
    trailer_lines: u16,
    /// Where in the raw bytes of `trailers` the line begins that is not complete.
    trailer_line: usize,
    trailers: Fields,
}

impl Decoder {
    /// For a body of this length.
    #[must_use]
    pub fn new(length: BodyLength) -> Self {
        let mut decoder = Self::default();
        decoder.reset(length);
        decoder
    }

    /// Begins another body and keeps the memory.
    pub fn reset(&mut self, length: BodyLength) {
        self.trailers.clear();
        let (state, remaining) = match length {
            BodyLength::Empty | BodyLength::Fixed(0) => (State::Done, 0),
            BodyLength::Fixed(bytes) => (State::Fixed, bytes),
            BodyLength::Chunked => (State::Size { digits: 0 }, 0),
            BodyLength::UntilClose => (State::UntilClose, 0),
        };
        let trailers = std::mem::take(&mut self.trailers);
        *self = Self { state, remaining, trailers, ..Self::default() };
    }

    /// Deals with the beginning of `input`: as much framing as there is and at most one run of data. Something is
    /// consumed whenever there is input and the body is not over.
    ///
    /// # Errors
    /// When the framing is invalid or exceeds a limit. The body has no known end then: nothing more of the connection
    /// can be used.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, Invalid> {
        let mut at = 0;
        let mut data = 0..0;
        while let Some(&byte) = input.get(at) {
            match self.state {
                State::Done => break,
                State::Fixed | State::UntilClose | State::Data => {
                    if !data.is_empty() {
                        break;
                    }
                    let taken = self.take(input.len() - at);
                    data = at..at + taken;
                    at += taken;
                }
                State::Trailer => at += self.trailer(&input[at..])?,
                State::Size { .. } | State::Extension | State::SizeLf | State::DataCr | State::DataLf => {
                    self.framing(byte)?;
                    at += 1;
                }
            }
        }
        Ok(Step { consumed: at, data, done: self.is_done() })
    }

    /// Whether the body is over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The bytes still to come, where that is known: not for chunks, nor up to the end of a connection.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        matches!(self.state, State::Fixed | State::Done).then_some(self.remaining)
    }

    /// Whether the end of the connection is, now, a proper end of the body.
    #[must_use]
    pub fn finish_on_eof(&self) -> bool {
        matches!(self.state, State::UntilClose | State::Done)
    }

    /// The trailers, complete when the body is over. Without those that RFC 9110, section 6.5.1, keeps to heads.
    #[must_use]
    pub const fn trailers(&self) -> &Fields {
        &self.trailers
    }

    fn take(&mut self, available: usize) -> usize {
        if self.state == State::UntilClose {
            return available;
        }
        let taken = usize::try_from(self.remaining).map_or(available, |remaining| remaining.min(available));
        self.remaining -= taken as u64;
        if self.remaining == 0 {
            self.state = if self.state == State::Fixed { State::Done } else { State::DataCr };
        }
        taken
    }

    fn framing(&mut self, byte: u8) -> Result<(), Invalid> {
        self.state = match (self.state, byte) {
            (State::Size { digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < MAX_SIZE_DIGITS => {
                self.remaining = self.remaining << 4 | u64::from(hex(byte));
                State::Size { digits: digits + 1 }
            }
            (State::Size { digits: 1.. }, b'\r') => State::SizeLf,
            (State::Size { digits: 1.. }, b';') => {
                self.extension_bytes = 0;
                self.count_extension()?;
                State::Extension
            }
            (State::Size { digits: 1.. }, b'\n') => return Err(Invalid::BareLf),
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b'\n') => return Err(Invalid::BareLf),
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_extension()?;
                State::Extension
            }
            (State::Extension, _) => return Err(Invalid::ChunkExtension),
            (State::SizeLf, b'\n') if self.remaining == 0 => State::Trailer,
            (State::SizeLf, b'\n') => State::Data,
            (State::SizeLf, _) => return Err(Invalid::BareCr),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: 0 },
            (State::DataCr | State::DataLf, _) => return Err(Invalid::ChunkEnd),
            _ => return Err(Invalid::ChunkSize),
        };
        Ok(())
    }

    fn count_extension(&mut self) -> Result<(), Invalid> {
        self.extension_bytes += 1;
        self.extensions_bytes += 1;
        if self.extension_bytes > MAX_CHUNK_EXTENSION_BYTES || self.extensions_bytes > MAX_EXTENSIONS_BYTES {
            return Err(Invalid::ChunkExtensionTooLong);
        }
        Ok(())
    }

    /// Takes input up to the end of a line, or all of it.
    fn trailer(&mut self, input: &[u8]) -> Result<usize, Invalid> {
        let newline = memchr(b'\n', input);
        let taken = newline.map_or(input.len(), |at| at + 1);
        self.trailer_bytes += taken;
        if self.trailer_bytes > MAX_TRAILER_BYTES {
            return Err(Invalid::TrailerTooLarge);
        }
        self.trailers.raw.extend_from_slice(&input[..taken]);
        if newline.is_some() {
            self.trailer_end()?;
            self.trailer_line = self.trailers.raw.len();
        }
        Ok(taken)
    }

    fn trailer_end(&mut self) -> Result<(), Invalid> {
        let start = self.trailer_line;
        let Some(line) = self.trailers.raw[start..].strip_suffix(b"\r\n") else {
            return Err(Invalid::BareLf);
        };
        if line.is_empty() {
            self.state = State::Done;
            self.trailers.raw.truncate(start);
            return Ok(());
        }
        if self.trailer_lines == MAX_TRAILER_LINES {
            return Err(Invalid::TooManyLines);
        }
        self.trailer_lines += 1;
        let end = start + line.len();
        let line = syntax::field_line(&self.trailers.raw, start..end, 0, self.trailer_lines)?;
        if self.is_allowed(line)? {
            self.trailers.push_line(line);
        } else {
            self.trailers.raw.truncate(start);
        }
        Ok(())
    }

    fn is_allowed(&self, line: Line) -> Result<bool, Invalid> {
        is_trailer(line.name.of(&self.trailers.raw), line.known)
    }
}

/// Whether a field may come as a trailer: RFC 9110, section 6.5.1.
///
/// # Errors
/// For those that frame or route, which are an attack and no mistake.
pub fn is_trailer(name: &[u8], known: Known) -> Result<bool, Invalid> {
    match known {
        Known::ContentLength | Known::TransferEncoding | Known::Host => Err(Invalid::Trailer),
        Known::Other => Ok(!HEAD_ONLY.iter().any(|other| name.eq_ignore_ascii_case(other))),
        Known::Date | Known::Server => Ok(true),
        _ => Ok(false),
    }
}

/// Fields that mean something in a head only and are not among [`Known`]: request modifiers, response controls, and
/// the format of the content.
const HEAD_ONLY: [&[u8]; 22] = [
    b"age",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"expires",
    b"forwarded",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"location",
    b"max-forwards",
    b"pragma",
    b"range",
    b"vary",
    b"via",
    b"warning",
    b"www-authenticate",
    b"x-forwarded-port",
    b"x-http-method-override",
    b"x-real-ip",
];

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Appends the size line of a chunk of `length` bytes, which must not be 0: that would end the body. The data and
/// CRLF follow.
pub fn put_chunk_header(out: &mut Vec<u8>, length: usize) {
    debug_assert_ne!(length, 0, "an empty chunk ends the body");
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4);
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[length >> (place * 4) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the last chunk and a trailer section.
pub fn put_trailers(out: &mut Vec<u8>, trailers: &Fields) {
    out.extend_from_slice(b"0\r\n");
    for (name, value, _) in trailers.iter() {
        write::put_field(out, name, value);
    }
    write::put_end(out);
}
