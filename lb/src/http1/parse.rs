//! Reads heads line by line as their bytes come in: RFC 9112, sections 2 to 5.
//!
//! Every byte is looked at once however small the reads are, since each call goes on where the last one stopped. A
//! line that cannot be right is refused when it ends and not when the head does. Nothing is repaired: no bare LF, no
//! folded lines, no whitespace where the grammar has none. Two liberties harm nobody: empty lines before a request
//! (section 2.2), and a status line that ends without the space before an empty reason.

use std::ops::Range;

use memchr::{memchr, memrchr};

use super::fields::{Fields, Span};
use super::head::{Method, RequestHead, ResponseHead, Version};
use super::invalid::Invalid;
use super::syntax::{self, refuse};
use super::target;

/// The field lines a head may have.
pub const MAX_FIELD_LINES: usize = 100;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Fresh,
    StartLine,
    FieldLines,
    Over,
}

/// How far a head has been read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    stage: Stage,
    /// Where the start line begins.
    begin: usize,
    /// Where the first line begins that is not complete.
    line: usize,
    /// Where the search for its end goes on.
    pub(super) searched: usize,
}

impl Progress {
    /// The next complete line without its CRLF, or `None` when more input is needed. `too_long` is the error when it
    /// would end beyond `limit`.
    fn next_line(
        &mut self,
        input: &[u8],
        limit: usize,
        too_long: Invalid,
    ) -> Result<Option<Range<usize>>, Invalid> {
        let window = &input[..input.len().min(limit)];
        let Some(found) = window.get(self.searched..).and_then(|rest| memchr(b'\n', rest)) else {
            self.searched = window.len().max(self.searched);
            return if input.len() >= limit { Err(too_long) } else { Ok(None) };
        };
        let newline = self.searched + found;
        let start = self.line;
        if newline == start || input[newline - 1] != b'\r' {
            return Err(Invalid::BareLf);
        }
        self.line = newline + 1;
        self.searched = self.line;
        Ok(Some(start..newline - 1))
    }

    /// Reads field lines up to the empty one. The length of the head, or `None` when more input is needed.
    fn field_lines(
        &mut self,
        fields: &mut Fields,
        input: &[u8],
        limit: usize,
    ) -> Result<Option<usize>, Invalid> {
        while let Some(range) = self.next_line(input, limit, Invalid::HeadTooLarge)? {
            if range.is_empty() {
                return Ok(Some(self.line));
            }
            if fields.lines.len() == MAX_FIELD_LINES {
                return Err(Invalid::TooManyLines);
            }
            #[allow(clippy::cast_possible_truncation, reason = "at most MAX_FIELD_LINES")]
            let number = fields.lines.len() as u16 + 1;
            fields.push_line(syntax::field_line(input, range, self.begin, number)?);
        }
        Ok(None)
    }

    /// Copies the lines that are complete and have not been copied.
    fn keep(&self, fields: &mut Fields, input: &[u8]) {
        if let Some(lines) = input.get(self.begin + fields.raw.len()..self.line) {
            fields.raw.extend_from_slice(lines);
        }
    }
}

impl RequestHead {
    /// Reads a head from the beginning of `input`. `Some(n)` when it is complete and took `n` bytes; `None` when more
    /// is needed: call again with the same bytes and more behind them. After `Some` or an error the next call begins
    /// a new head. `limit` is in bytes, for all up to and with the empty line.
    ///
    /// What has been read stays readable after an error, for logs.
    ///
    /// # Errors
    /// When the head is not one of HTTP/1, exceeds a limit, or lacks a valid `Host`. Framing is for
    /// [`RequestHead::body_length`].
    pub fn parse(&mut self, input: &[u8], limit: usize) -> Result<Option<usize>, Invalid> {
        if matches!(self.progress.stage, Stage::Fresh | Stage::Over) {
            self.clear();
            self.progress.stage = Stage::StartLine;
        }
        let result = self.read(input, limit);
        self.progress.keep(&mut self.fields, input);
        let result = match result {
            Ok(Some(length)) => self.check().map(|()| Some(length)),
            other => other,
        };
        if result != Ok(None) {
            self.progress.stage = Stage::Over;
        }
        result
    }

    fn read(&mut self, input: &[u8], limit: usize) -> Result<Option<usize>, Invalid> {
        while self.progress.stage == Stage::StartLine {
            let Some(range) = self.progress.next_line(input, limit, Invalid::TargetTooLong)? else {
                return Ok(None);
            };
            if range.is_empty() {
                self.progress.begin = self.progress.line;
            } else {
                self.request_line(&input[range])?;
                self.progress.stage = Stage::FieldLines;
            }
        }
        self.progress.field_lines(&mut self.fields, input, limit)
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Invalid> {
        let Some(first) = memchr(b' ', line) else {
            return Err(refuse(line, Invalid::RequestLine));
        };
        let (name, rest) = (&line[..first], &line[first + 1..]);
        if !syntax::is_token(name) {
            return Err(refuse(line, if name.is_empty() { Invalid::RequestLine } else { Invalid::Method }));
        }
        self.method = Method::of(name);
        self.method_name = Span::new(0, first);
        let Some(second) = memrchr(b' ', rest) else {
            let versionless = !rest.is_empty() && !rest.starts_with(b"HTTP/");
            return Err(refuse(line, if versionless { Invalid::Http09 } else { Invalid::RequestLine }));
        };
        let target = &rest[..second];
        if target.is_empty() || target.contains(&b' ') {
            return Err(refuse(line, Invalid::RequestLine));
        }
        self.version = version(&rest[second + 1..]).map_err(|error| refuse(line, error))?;
        self.target = target::read(self.method, target, first + 1).map_err(|error| refuse(line, error))?;
        Ok(())
    }
}

impl ResponseHead {
    /// Reads a head from the beginning of `input`, as [`RequestHead::parse`] does. Interim responses are heads of
    /// their own.
    ///
    /// # Errors
    /// When the head is not one of HTTP/1 or exceeds a limit. Framing is for [`ResponseHead::body_length`].
    pub fn parse(&mut self, input: &[u8], limit: usize) -> Result<Option<usize>, Invalid> {
        if matches!(self.progress.stage, Stage::Fresh | Stage::Over) {
            self.clear();
            self.progress.stage = Stage::StartLine;
        }
        let result = self.read(input, limit);
        self.progress.keep(&mut self.fields, input);
        if result != Ok(None) {
            self.progress.stage = Stage::Over;
        }
        result
    }

    fn read(&mut self, input: &[u8], limit: usize) -> Result<Option<usize>, Invalid> {
        if self.progress.stage == Stage::StartLine {
            let Some(range) = self.progress.next_line(input, limit, Invalid::HeadTooLarge)? else {
                return Ok(None);
            };
            let line = &input[range];
            self.status_line(line).map_err(|error| refuse(line, error))?;
            self.progress.stage = Stage::FieldLines;
        }
        self.progress.field_lines(&mut self.fields, input, limit)
    }

    fn status_line(&mut self, line: &[u8]) -> Result<(), Invalid> {
        let (Some(name), Some(rest)) = (line.get(..8), line.get(8..)) else {
            return Err(Invalid::StatusLine);
        };
        let version = version(name)?;
        let (status, reason) = match rest {
            [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', reason @ ..] => {
                (u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'), reason)
            }
            _ => return Err(Invalid::StatusLine),
        };
        let reason = match reason {
            [] => reason,
            [b' ', reason @ ..] if syntax::is_text(reason) => reason,
            _ => return Err(Invalid::StatusLine),
        };
        self.version = version;
        self.status = status;
        self.reason = Span::new(line.len() - reason.len(), line.len());
        Ok(())
    }
}

fn version(name: &[u8]) -> Result<Version, Invalid> {
    match name {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', b'0'..=b'9'] => match major {
            b'1' => Ok(Version::Http11),
            _ => Err(Invalid::UnsupportedVersion),
        },
        _ => Err(Invalid::Version),
    }
}
