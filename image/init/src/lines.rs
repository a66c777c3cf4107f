//! Cuts a stream of bytes into lines of bounded length.
//!
//! A line that is too long is dropped as a whole and reported once; what follows it is read normally.

/// The longest line in bytes, without its end.
pub(crate) const MAX_LINE: usize = 256 * 1024;

/// A line, or what is left of one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// The line without its end (`\n` or `\r\n`).
    Whole(Vec<u8>),
    /// A line longer than [`MAX_LINE`] was dropped.
    TooLong,
}

/// The beginning of a line whose end has not arrived.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
    skipping: bool,
}

impl Lines {
    /// Takes the next bytes of the stream and appends the lines that end in them to `out`.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<Line>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (piece, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |line| (line, true));
            if self.partial.len() + piece.len() > MAX_LINE {
                self.partial = Vec::new();
                self.skipping = true;
            }
            if !self.skipping {
                self.partial.extend_from_slice(piece);
            }
            if ends {
                let mut line = std::mem::take(&mut self.partial);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                out.push(if std::mem::take(&mut self.skipping) { Line::TooLong } else { Line::Whole(line) });
            }
        }
    }

    /// Forgets an unfinished line: whoever began it is gone.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests;
