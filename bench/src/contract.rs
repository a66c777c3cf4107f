//! What an answer of the service must look like. Written from the interface's description and not from the
//! service's code, so that a mistake there is not repeated here.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use thiserror::Error;

#[cfg(test)]
mod tests;

/// The longest name of an instance, in bytes.
const INSTANCE_BYTES: usize = 128;

/// What the answers to one path must be.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    kind: &'static str,
    range: Range,
}

#[derive(Debug, Clone, PartialEq)]
enum Range {
    Bool,
    Int { min: i64, max: i64 },
    Float { min: f32, max: f32 },
    Double { min: f64, max: f64 },
}

/// Why nothing can be expected of a path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathError {
    /// It is none of the service's values.
    #[error("{0:?}: only /bool, /int, /float and /double can be checked")]
    Unknown(String),
    /// Its query is not made of `min=` and `max=` with plain numbers.
    #[error("{path:?}: {pair:?} is neither min=NUMBER nor max=NUMBER")]
    Query {
        /// The path with its query.
        path: String,
        /// The part at fault.
        pair: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    kind: String,
    value: serde_json::Value,
    instance: String,
}

impl Expectation {
    /// What answers to `path_and_query` must be.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn of(path_and_query: &str) -> Result<Self, PathError> {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        let bound = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let (kind, range) = match path {
            "/bool" => ("bool", Some(Range::Bool)),
            "/int" => (
                "int",
                bounds(bound("min"), bound("max"), i64::from(i32::MIN), i64::from(i32::MAX))
                    .map(|(min, max)| Range::Int { min, max }),
            ),
            "/float" => (
                "float",
                bounds(bound("min"), bound("max"), 0.0, 1.0).map(|(min, max)| Range::Float { min, max }),
            ),
            "/double" => (
                "double",
                bounds(bound("min"), bound("max"), 0.0, 1.0).map(|(min, max)| Range::Double { min, max }),
            ),
            _ => return Err(PathError::Unknown(path_and_query.to_owned())),
        };
        let known = |pair: &&str| pair.is_empty() || pair.starts_with("min=") || pair.starts_with("max=");
        let stranger = query.split('&').find(|pair| !known(pair) || (kind == "bool" && !pair.is_empty()));
        match (range, stranger) {
            (Some(range), None) => Ok(Self { kind, range }),
            (_, pair) => Err(PathError::Query {
                path: path_and_query.to_owned(),
                pair: pair.unwrap_or(query).to_owned(),
            }),
        }
    }

    /// The instance that gave the answer with status 200, or what is wrong with it.
    ///
    /// # Errors
    /// One sentence that names the part of the answer at fault.
    pub fn check(&self, headers: &HeaderMap, body: &[u8]) -> Result<String, String> {
        let content_type =
            headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if content_type.split(';').next().map(str::trim) != Some("application/json") {
            return Err(format!("content-type is {content_type:?}"));
        }
        let Body { kind, value, instance } = serde_json::from_slice(body)
            .map_err(|error| format!("body: {error}: {}", String::from_utf8_lossy(body)))?;
        if kind != self.kind {
            return Err(format!("kind is {kind:?} where {:?} was asked for", self.kind));
        }
        let literal = literal(body).unwrap_or_default();
        if !self.range.holds(&value, literal) {
            return Err(format!("value {literal} is not within {:?}", self.range));
        }
        if instance.is_empty() || instance.len() > INSTANCE_BYTES {
            return Err(format!("instance has {} bytes", instance.len()));
        }
        Ok(instance)
    }
}

fn bounds<T: std::str::FromStr>(min: Option<&str>, max: Option<&str>, least: T, most: T) -> Option<(T, T)> {
    let min = min.map_or(Some(least), |text| text.parse().ok())?;
    let max = max.map_or(Some(most), |text| text.parse().ok())?;
    Some((min, max))
}

impl Range {
    /// Reals are read from the literal: serde_json's own reading of them may be off by a unit in the last
    /// place, and make 1.0 of the largest number below it.
    fn holds(&self, value: &serde_json::Value, literal: &str) -> bool {
        match self {
            Self::Bool => value.is_boolean(),
            Self::Int { min, max } => value.as_i64().is_some_and(|value| (*min..=*max).contains(&value)),
            Self::Float { min, max } => {
                value.is_number() && shortest_f32(literal).is_some_and(|value| *min <= value && value < *max)
            }
            Self::Double { min, max } => {
                value.is_number() && literal.parse().is_ok_and(|value: f64| *min <= value && value < *max)
            }
        }
    }
}

/// The f32 of which the literal is the shortest form; none if it is none's, as one with more digits.
fn shortest_f32(literal: &str) -> Option<f32> {
    let float: f32 = literal.parse().ok()?;
    let shortest: f64 = float.to_string().parse().ok()?;
    (literal.parse() == Ok(shortest)).then_some(float)
}

/// How the member `value` is written, in an object that is known to be valid JSON without objects in it.
fn literal(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    // A member's name is followed by a colon; a string of the same letters is not.
    let mut rest = text;
    loop {
        let (_, after) = rest.split_once("\"value\"")?;
        if let Some(written) = after.trim_start().strip_prefix(':') {
            let end = written.find([',', '}'])?;
            return Some(written[..end].trim());
        }
        rest = after;
    }
}
