//! Which of our two representations a client prefers (RFC 9110, section 12.5.1).
//!
//! The higher q-value wins; of equal ones the more specific range (`text/plain, */*` means text), and then
//! JSON. An element that cannot be read is skipped, and a header without any readable element counts as
//! absent. Parameters of a media range other than `q` are not compared: our types have no variants.

use http::HeaderMap;
use http::header::ACCEPT;

#[cfg(test)]
mod tests;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`: an object with kind, value and instance.
    Json,
    /// `text/plain`: the bare value.
    Text,
}

/// How well a format fits: q in thousandths first, then how specific the range was that gave it.
type Fit = (u16, u8);

/// The format to answer in; none if the client accepts neither.
pub fn negotiate(headers: &HeaderMap) -> Option<Format> {
    let values: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges: Vec<MediaRange<'_>> =
        values.iter().flat_map(|value| split_unquoted(value, ',')).filter_map(MediaRange::parse).collect();
    if ranges.is_empty() {
        return Some(Format::Json);
    }
    let json = fit(&ranges, "application", "json");
    let text = fit(&ranges, "text", "plain");
    match (json, text) {
        ((0, _), (0, _)) => None,
        _ if text > json => Some(Format::Text),
        _ => Some(Format::Json),
    }
}

/// The most specific range that covers the type decides its q, even if a wider one has a higher q.
fn fit(ranges: &[MediaRange<'_>], main: &str, sub: &str) -> Fit {
    let covering = ranges.iter().filter_map(|range| Some((range.specificity(main, sub)?, range.q)));
    covering.max().map_or((0, 0), |(specificity, q)| (q, specificity))
}

struct MediaRange<'a> {
    main: &'a str,
    sub: &'a str,
    q: u16,
}

impl<'a> MediaRange<'a> {
    fn parse(element: &'a str) -> Option<Self> {
        let mut parts = split_unquoted(element, ';');
        let (main, sub) = parts.next()?.trim().split_once('/')?;
        if main.is_empty() || sub.is_empty() || (main == "*" && sub != "*") {
            return None;
        }
        let mut q = 1000;
        for parameter in parts.map(str::trim).filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=')?;
            if name.trim().eq_ignore_ascii_case("q") {
                q = thousandths(value.trim())?;
            }
        }
        Some(Self { main, sub, q })
    }

    /// 2 for the type itself, 1 for `type/*`, 0 for `*/*`.
    fn specificity(&self, main: &str, sub: &str) -> Option<u8> {
        match (self.main, self.sub) {
            ("*", _) => Some(0),
            (m, "*") if m.eq_ignore_ascii_case(main) => Some(1),
            (m, s) if m.eq_ignore_ascii_case(main) && s.eq_ignore_ascii_case(sub) => Some(2),
            _ => None,
        }
    }
}

/// `0`, `0.5`, `1.000`: from 0 to 1 with three decimals at most.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || !matches!(whole, "0" | "1") {
        return None;
    }
    let q = format!("{whole}{decimals:0<3}").parse().ok()?;
    (q <= 1000).then_some(q)
}

/// Splits at `separator` except inside quoted strings.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |c: char| {
        if escaped {
            escaped = false;
            return false;
        }
        match c {
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return c == separator && !quoted,
        }
        false
    })
}
