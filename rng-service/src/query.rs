//! From a path's kind and a query string to a checked [`Draw`], or to an error that names the parameter.
//!
//! A query is `name=value` pairs joined by `&`, percent-encoded as RFC 3986 says; `+` is a plus sign and not
//! a space, so that `min=+5` and `max=1e+9` mean what they look like. Nothing is guessed: an unknown or
//! repeated parameter, or a bound that its type cannot hold, is an error. Bounds of a real are first rounded
//! to the kind's own type.

use std::num::IntErrorKind;

use thiserror::Error;

use crate::value::{Draw, IntRange, Kind, RangeError, RealRange};

#[cfg(test)]
mod tests;

/// How much of a client's own text an error repeats, in characters.
const ECHO_CHARS: usize = 64;

/// Why a query was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct QueryError {
    /// The parameter at fault, cut to 64 characters.
    pub parameter: String,
    /// A stable word: `unknown_parameter`, `duplicate_parameter`, `bad_encoding`, `invalid_parameter`,
    /// `out_of_range` or `empty_range`.
    pub code: &'static str,
    /// One sentence with the offending value.
    pub message: String,
}

impl QueryError {
    fn new(parameter: &str, code: &'static str, message: String) -> Self {
        Self { parameter: echo(parameter), code, message }
    }
}

/// The draw that `query` (without its `?`) asks for.
///
/// # Errors
/// The first fault found, reading from left to right; faults of the range as a whole come last.
pub fn parse(kind: Kind, query: Option<&str>) -> Result<Draw, QueryError> {
    let bounds = Bounds::parse(kind, query.unwrap_or_default())?;
    match kind {
        Kind::Bool => Ok(Draw::Bool),
        Kind::Int => {
            let min = bounds.min.as_deref().map_or(Ok(i32::MIN), |text| int("min", text))?;
            let max = bounds.max.as_deref().map_or(Ok(i32::MAX), |text| int("max", text))?;
            let empty = || bounds.empty(&min.to_string(), &max.to_string(), "min must not be above max");
            IntRange::new(min, max).map(Draw::Int).ok_or_else(empty)
        }
        Kind::Float => {
            let min = bounds.min.as_deref().map_or(Ok(0.0), |text| real::<f32>("min", text, kind))?;
            let max = bounds.max.as_deref().map_or(Ok(1.0), |text| real::<f32>("max", text, kind))?;
            let range = RealRange::<f32>::new(min, max);
            range
                .map(Draw::Float)
                .map_err(|e| bounds.unsound(e, &format!("{min:?}"), &format!("{max:?}"), kind))
        }
        Kind::Double => {
            let min = bounds.min.as_deref().map_or(Ok(0.0), |text| real::<f64>("min", text, kind))?;
            let max = bounds.max.as_deref().map_or(Ok(1.0), |text| real::<f64>("max", text, kind))?;
            let range = RealRange::<f64>::new(min, max);
            range
                .map(Draw::Double)
                .map_err(|e| bounds.unsound(e, &format!("{min:?}"), &format!("{max:?}"), kind))
        }
    }
}

/// The parameters as text: known, unrepeated and decoded, but not yet numbers.
#[derive(Default)]
struct Bounds {
    min: Option<String>,
    max: Option<String>,
}

impl Bounds {
    fn parse(kind: Kind, query: &str) -> Result<Self, QueryError> {
        let mut bounds = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (raw_name, raw_value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(raw_name, raw_name)?;
            let slot = match (kind, name.as_str()) {
                (Kind::Int | Kind::Float | Kind::Double, "min") => &mut bounds.min,
                (Kind::Int | Kind::Float | Kind::Double, "max") => &mut bounds.max,
                _ => {
                    let message = format!("{} takes no parameter {:?}", kind.as_str(), echo(&name));
                    return Err(QueryError::new(&name, "unknown_parameter", message));
                }
            };
            if slot.is_some() {
                let message = format!("{name} is given more than once");
                return Err(QueryError::new(&name, "duplicate_parameter", message));
            }
            *slot = Some(decode(raw_value, &name)?);
        }
        Ok(bounds)
    }

    /// The parameter to blame when each bound is fine by itself: one the client did write.
    fn blamed(&self) -> &'static str {
        if self.min.is_some() { "min" } else { "max" }
    }

    fn empty(&self, min: &str, max: &str, rule: &str) -> QueryError {
        let message = format!("the range from min={min} to max={max} is empty: {rule}");
        QueryError::new(self.blamed(), "empty_range", message)
    }

    fn unsound(&self, error: RangeError, min: &str, max: &str, kind: Kind) -> QueryError {
        match error {
            RangeError::Empty => self.empty(min, max, "min must be below max"),
            RangeError::TooWide => {
                let message = format!("max - min overflows a {}: min={min}, max={max}", kind.as_str());
                QueryError::new(self.blamed(), "out_of_range", message)
            }
            RangeError::NotFinite => {
                let message = format!("min={min} and max={max} must be finite");
                QueryError::new(self.blamed(), "invalid_parameter", message)
            }
        }
    }
}

fn int(name: &str, text: &str) -> Result<i32, QueryError> {
    text.parse::<i32>().map_err(|error| match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => QueryError::new(
            name,
            "out_of_range",
            format!("{name}={} is outside {} to {}", echo(text), i32::MIN, i32::MAX),
        ),
        _ => QueryError::new(name, "invalid_parameter", format!("{name}={:?} is not an integer", echo(text))),
    })
}

/// What [`real`] needs of `f32` and `f64`.
trait Real: std::str::FromStr + Copy {
    fn finite(self) -> bool;
}

impl Real for f32 {
    fn finite(self) -> bool {
        self.is_finite()
    }
}

impl Real for f64 {
    fn finite(self) -> bool {
        self.is_finite()
    }
}

fn real<T: Real>(name: &str, text: &str, kind: Kind) -> Result<T, QueryError> {
    // Without this, "inf", "infinity" and "nan" would parse.
    let spelled_with_digits = text.bytes().any(|byte| byte.is_ascii_digit());
    match text.parse::<T>() {
        Ok(number) if number.finite() => Ok(number),
        Ok(_) if spelled_with_digits => {
            let message = format!("{name}={} is too large for a {}", echo(text), kind.as_str());
            Err(QueryError::new(name, "out_of_range", message))
        }
        _ => {
            let message = format!("{name}={:?} is not a finite number", echo(text));
            Err(QueryError::new(name, "invalid_parameter", message))
        }
    }
}

fn decode(raw: &str, parameter: &str) -> Result<String, QueryError> {
    let bad = |why: &str| {
        let message = format!("{:?} is not percent-encoded UTF-8: {why}", echo(raw));
        QueryError::new(parameter, "bad_encoding", message)
    };
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = tail.split_at_checked(2).filter(|(hex, _)| hex.iter().all(u8::is_ascii_hexdigit));
        let Some((hex, tail)) = digits else {
            return Err(bad("% must be followed by two hexadecimal digits"));
        };
        bytes.push(hex.iter().fold(0, |sum, &digit| sum * 16 + hex_value(digit)));
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| bad("its bytes are not UTF-8"))
}

const fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

fn echo(text: &str) -> String {
    text.chars().take(ECHO_CHARS).collect()
}
