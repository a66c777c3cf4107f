//! Records as lines.
//!
//! Text is the combined log format of Apache and nginx with more at the end: the time that the request took (`rt`),
//! and the address, outcome and time of each attempt (`ua`, `us`, `urt`: nginx's `$upstream_addr`,
//! `$upstream_status` and `$upstream_response_time`), all in seconds. JSON is one object. A text that was cut
//! ends with `...` in both.

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Version;

use super::record::{Attempt, Outcome, Stored, Text};
use crate::config::LogFormat;

/// Appends a record as a line.
pub(super) fn line(format: LogFormat, record: &Stored, out: &mut Vec<u8>) {
    let written = match format {
        LogFormat::Text => text(record, out),
        LogFormat::Json => json(record, out),
    };
    // Memory takes whatever is written to it.
    debug_assert!(written.is_ok(), "a line in memory");
    out.push(b'\n');
}

fn text(record: &Stored, out: &mut Vec<u8>) -> io::Result<()> {
    let Moment { year, month, day, hour, minute, second, .. } = Moment::of(record.time);
    let month = usize::try_from(month - 1).map_or("", |month| MONTHS[month]);
    write!(
        out,
        "{} - - [{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000] \"",
        record.client
    )?;
    escape_text(record.method(), out)?;
    out.push(b' ');
    escape_text(record.target(), out)?;
    write!(out, " {}\" {:03} {} ", version(record.version), record.status, record.bytes)?;
    quote(record.referer(), out)?;
    out.push(b' ');
    quote(record.user_agent(), out)?;
    write!(out, " rt={}", Seconds(record.duration))?;
    list(" ua=", record, out, |attempt, out| write!(out, "{}", attempt.upstream))?;
    list(" us=", record, out, |attempt, out| match attempt.outcome {
        Outcome::Status(status) => write!(out, "{status}"),
        Outcome::Failed(reason) => write!(out, "{reason}"),
    })?;
    list(" urt=", record, out, |attempt, out| write!(out, "{}", Seconds(attempt.duration)))?;
    out.extend_from_slice(b" host=");
    quote(record.host(), out)?;
    out.extend_from_slice(b" id=");
    quote(Some(record.request_id()), out)?;
    write!(out, " tls={} end={}", record.tls.unwrap_or("-"), record.end)
}

/// One value of every attempt.
fn list(
    name: &str,
    record: &Stored,
    out: &mut Vec<u8>,
    value: impl Fn(&Attempt, &mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    write!(out, "{name}\"")?;
    if record.attempts.is_empty() {
        out.push(b'-');
    }
    for (i, attempt) in record.attempts.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        value(attempt, out)?;
    }
    if record.more_attempts > 0 {
        write!(out, ", {} more", record.more_attempts)?;
    }
    out.push(b'"');
    Ok(())
}

fn quote(text: Option<Text<'_>>, out: &mut Vec<u8>) -> io::Result<()> {
    out.push(b'"');
    match text {
        Some(text) if !text.bytes.is_empty() => escape_text(text, out)?,
        _ => out.push(b'-'),
    }
    out.push(b'"');
    Ok(())
}

/// Visible ASCII as it is, but for `"` and `\`; all else as `\xHH`, as nginx does.
fn escape_text(text: Text<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    for &byte in text.bytes {
        match byte {
            b' '..=b'~' if byte != b'"' && byte != b'\\' => out.push(byte),
            _ => write!(out, "\\x{byte:02X}")?,
        }
    }
    if text.cut {
        out.extend_from_slice(b"...");
    }
    Ok(())
}

fn json(record: &Stored, out: &mut Vec<u8>) -> io::Result<()> {
    let Moment { year, month, day, hour, minute, second, millis } = Moment::of(record.time);
    write!(
        out,
        "{{\"time\":\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z\""
    )?;
    write!(out, ",\"client\":\"{}\"", record.client)?;
    member("method", Some(record.method()), out)?;
    member("target", Some(record.target()), out)?;
    member("host", record.host(), out)?;
    write!(out, ",\"version\":\"{}\"", version(record.version))?;
    write!(out, ",\"status\":{},\"bytes\":{}", record.status, record.bytes)?;
    write!(out, ",\"duration_ms\":{}", Millis(record.duration))?;
    member("referer", record.referer(), out)?;
    member("user_agent", record.user_agent(), out)?;
    member("request_id", Some(record.request_id()), out)?;
    if let Some(tls) = record.tls {
        write!(out, ",\"tls\":\"{tls}\"")?;
    }
    write!(out, ",\"end\":\"{}\",\"attempts\":[", record.end)?;
    for (i, Attempt { upstream, outcome, duration }) in record.attempts.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        write!(out, "{comma}{{\"upstream\":\"{upstream}\",")?;
        match outcome {
            Outcome::Status(status) => write!(out, "\"status\":{status}")?,
            Outcome::Failed(reason) => write!(out, "\"failed\":\"{reason}\"")?,
        }
        write!(out, ",\"duration_ms\":{}}}", Millis(*duration))?;
    }
    out.push(b']');
    if record.more_attempts > 0 {
        write!(out, ",\"more_attempts\":{}", record.more_attempts)?;
    }
    out.push(b'}');
    Ok(())
}

fn member(name: &str, text: Option<Text<'_>>, out: &mut Vec<u8>) -> io::Result<()> {
    let Some(text) = text else { return Ok(()) };
    write!(out, ",\"{name}\":\"")?;
    // What is not UTF-8 cannot stand in JSON (RFC 8259, section 8.1).
    for chunk in text.bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => write!(out, "\\{c}")?,
                // Besides what JSON demands: what could act on a terminal, or end a line for some reader.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    write!(out, "\\u{:04x}", u32::from(c))?;
                }
                c => write!(out, "{c}")?,
            }
        }
        if !chunk.invalid().is_empty() {
            write!(out, "{}", char::REPLACEMENT_CHARACTER)?;
        }
    }
    out.extend_from_slice(if text.cut { b"...\"" } else { b"\"" });
    Ok(())
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// Seconds, to the millisecond.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0.as_secs(), self.0.subsec_millis())
    }
}

/// Milliseconds, to the microsecond.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0.as_millis(), self.0.subsec_micros() % 1000)
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A time in UTC, by the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    millis: u32,
}

impl Moment {
    /// A clock before 1970 is taken for 1970.
    fn of(time: SystemTime) -> Self {
        const DAYS_400_YEARS: u64 = 146_097;
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        // Years begin in March here, so that the leap day is the last one. 1970-01-01 is day 719468 since
        // 0000-03-01.
        let days = days + 719_468;
        let (era, day) = (days / DAYS_400_YEARS, days % DAYS_400_YEARS);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        // Months from March on have 153 days in every five.
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        Self {
            year: era * 400 + year + u64::from(month <= 2),
            month,
            day,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
            millis: since.subsec_millis(),
        }
    }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
