//! Request targets and authorities: RFC 9112, section 3.2, on the grammar of RFC 3986.
//!
//! It splits and checks, and normalizes nothing: what reaches an upstream is what the client wrote.

use std::net::Ipv6Addr;

use super::fields::Span;
use super::head::Method;
use super::invalid::Invalid;

/// The forms of a request target: RFC 9112, sections 3.2.1 to 3.2.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetForm {
    /// `/path?query`.
    #[default]
    Origin,
    /// `http://authority/path?query`, or `https`.
    Absolute,
    /// `host:port`, for CONNECT only.
    Authority,
    /// `*`, for OPTIONS only.
    Asterisk,
}

/// Where a target and its parts are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Target {
    pub(super) form: TargetForm,
    pub(super) all: Span,
    pub(super) authority: Span,
    pub(super) path: Span,
}

/// Reads a target. `offset` is where it is in the raw bytes of the head.
pub(super) fn read(method: Method, text: &[u8], offset: usize) -> Result<Target, Invalid> {
    if !is_visible(text) {
        return Err(Invalid::TargetCharacter);
    }
    let end = offset + text.len();
    let all = Span::new(offset, end);
    let empty = Span::new(end, end);
    if method == Method::Connect {
        return match split_authority(text) {
            Some((_, Some(port))) if !port.is_empty() => {
                Ok(Target { form: TargetForm::Authority, all, authority: all, path: empty })
            }
            _ => Err(Invalid::TargetForm),
        };
    }
    match text {
        [b'/', ..] => Ok(Target { form: TargetForm::Origin, all, authority: empty, path: all }),
        b"*" if method == Method::Options => {
            Ok(Target { form: TargetForm::Asterisk, all, authority: empty, path: all })
        }
        _ => {
            let scheme = [&b"http://"[..], b"https://"]
                .into_iter()
                .find(|scheme| {
                    text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
                })
                .ok_or(Invalid::TargetForm)?;
            let rest = &text[scheme.len()..];
            let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
            if !is_authority(&rest[..length]) {
                return Err(Invalid::TargetAuthority);
            }
            let begin = offset + scheme.len();
            let authority = Span::new(begin, begin + length);
            Ok(Target { form: TargetForm::Absolute, all, authority, path: Span::new(begin + length, end) })
        }
    }
}

/// Whether all bytes are visible ASCII and none begins a fragment. Wider than RFC 3986, which has no `|` or `[` in a
/// query: browsers send them. Without branches, so that it runs on vectors.
fn is_visible(text: &[u8]) -> bool {
    let bad = |byte: u8| u8::from(byte <= b' ') | u8::from(byte >= 0x7f) | u8::from(byte == b'#');
    !text.is_empty() && text.iter().fold(0, |sum, &byte| sum | bad(byte)) == 0
}

/// Whether this is `host[:port]` with a host that is not empty: RFC 3986, section 3.2, without user information.
pub(super) fn is_authority(text: &[u8]) -> bool {
    split_authority(text).is_some()
}

/// Host and port of an authority. The host has its brackets; an address of a future kind (`[v1.x]`) is refused.
fn split_authority(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let host_length = match text {
        [b'[', rest @ ..] => {
            let close = rest.iter().position(|&byte| byte == b']')?;
            std::str::from_utf8(&rest[..close]).ok()?.parse::<Ipv6Addr>().ok()?;
            close + 2
        }
        _ => {
            let length = text.iter().position(|&byte| byte == b':').unwrap_or(text.len());
            is_registered_name(&text[..length]).then_some(length)?
        }
    };
    let (host, rest) = text.split_at(host_length);
    match rest {
        [] => Some((host, None)),
        [b':', port @ ..] if is_port(port) => Some((host, Some(port))),
        _ => None,
    }
}

/// `reg-name` of RFC 3986, section 3.2.2, but not empty. IPv4 addresses are names by that grammar too.
fn is_registered_name(mut text: &[u8]) -> bool {
    if text.is_empty() {
        return false;
    }
    loop {
        text = match text {
            [] => return true,
            [b'%', a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
            [byte, rest @ ..] if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) => rest,
            _ => return false,
        };
    }
}

/// Empty or a number up to 65535.
fn is_port(text: &[u8]) -> bool {
    text.len() <= 5
        && text.iter().all(u8::is_ascii_digit)
        && text.iter().fold(0_u32, |sum, &digit| sum * 10 + u32::from(digit - b'0')) <= u32::from(u16::MAX)
}
