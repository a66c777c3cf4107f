//! The characters and lines that heads and trailers are made of: RFC 9110, section 5, and RFC 9112, section 2.

use std::ops::Range;

use super::fields::{Known, Line, Span};
use super::invalid::Invalid;

/// For each byte whether a token may have it: RFC 9110, section 5.6.2.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        let character = byte as u8;
        table[byte] = character.is_ascii_alphanumeric()
            || matches!(
                character,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| TOKEN[byte as usize])
}

/// Whether all bytes are visible, space, HTAB or above ASCII. Without branches, so that it runs on vectors.
pub(super) fn is_text(text: &[u8]) -> bool {
    text.iter().fold(0, |bad, &byte| bad | u8::from((byte < b' ') & (byte != b'\t')) | u8::from(byte == 0x7f))
        == 0
}

const fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Without the spaces and HTABs around it.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

/// The reason to refuse a line: CR within it is named before all else, for it may be what hides the rest.
pub(super) fn refuse(line: &[u8], otherwise: Invalid) -> Invalid {
    if line.contains(&b'\r') { Invalid::BareCr } else { otherwise }
}

/// Reads the field line `range` of `text`, the `line`th of its section from 1. Positions count from `base`.
pub(super) fn field_line(text: &[u8], range: Range<usize>, base: usize, line: u16) -> Result<Line, Invalid> {
    let start = range.start;
    let text = &text[range];
    let Some(colon) = text.iter().position(|&byte| !TOKEN[byte as usize]) else {
        return Err(Invalid::NoColon { line });
    };
    let (name, rest) = text.split_at(colon);
    if rest[0] != b':' || name.is_empty() {
        return Err(refuse(text, bad_name(text, rest, line)));
    }
    let after = &rest[1..];
    let value = trim(after);
    if !is_text(value) {
        return Err(refuse(text, Invalid::Value { line }));
    }
    let begin = start - base;
    let leading = after.iter().take_while(|&&byte| is_blank(byte)).count();
    let value_at = if value.is_empty() { begin + colon + 1 } else { begin + colon + 1 + leading };
    Ok(Line {
        name: Span::new(begin, begin + colon),
        value: Span::new(value_at, value_at + value.len()),
        known: Known::of(name),
    })
}

/// What is wrong with a line whose leading token is not followed by a colon, or is empty.
fn bad_name(text: &[u8], rest: &[u8], line: u16) -> Invalid {
    if is_blank(text[0]) {
        Invalid::Folded { line }
    } else if text[0] == b':' {
        Invalid::EmptyName { line }
    } else if trim(rest).first() == Some(&b':') {
        Invalid::SpaceBeforeColon { line }
    } else if text.contains(&b':') {
        Invalid::Name { line }
    } else {
        Invalid::NoColon { line }
    }
}
