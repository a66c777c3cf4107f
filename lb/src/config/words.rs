//! Values of the configuration that are words.

use std::fmt;
use std::path::PathBuf;

use http::HeaderName;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::policy::retry::{Condition, Conditions};
use crate::policy::select::Balance;

/// The longest name of a header or cookie to hash by.
const MAX_NAME_BYTES: usize = 256;

/// What of a request decides where it goes, when `balance` is `hash`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HashKey {
    /// Its path and query (`uri`).
    #[default]
    Uri,
    /// The client's address, without the port (`client`).
    Client,
    /// This header's value (`header:NAME`).
    Header(HeaderName),
    /// This cookie's value (`cookie:NAME`).
    Cookie(String),
}

impl<'de> Deserialize<'de> for HashKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // Both names are tokens: RFC 9110, section 5.1, and RFC 6265, section 4.1.1.
        let name = |name: &str| {
            let name = Some(name).filter(|name| name.len() <= MAX_NAME_BYTES);
            name.and_then(|name| Some((name.to_owned(), HeaderName::try_from(name).ok()?)))
        };
        let key = match text.split_once(':') {
            None if text == "uri" => Some(Self::Uri),
            None if text == "client" => Some(Self::Client),
            Some(("header", header)) => name(header).map(|(_, header)| Self::Header(header)),
            Some(("cookie", cookie)) => name(cookie).map(|(cookie, _)| Self::Cookie(cookie)),
            _ => None,
        };
        key.ok_or_else(|| {
            Error::custom(format_args!("{text:?} is not one of uri, client, header:NAME and cookie:NAME"))
        })
    }
}

/// What is spoken with upstreams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 from the first byte on, without TLS.
    H2,
}

/// How a line of the access log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people, and for tools that know the combined log format.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// Where the access log is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// To the standard output (`stdout`).
    #[default]
    Stdout,
    /// To the standard error (`stderr`).
    Stderr,
    /// To a file, at its end.
    File(PathBuf),
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for LogTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "" => Err(Error::custom("it must be stdout, stderr or a file")),
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            path => Ok(Self::File(path.into())),
        }
    }
}

pub(super) fn balance<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Balance, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(Error::custom)
}

pub(super) fn conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Conditions, D::Error> {
    let words = Vec::<String>::deserialize(deserializer)?;
    let conditions: Result<Vec<Condition>, _> = words.iter().map(|word| word.parse()).collect();
    conditions.and_then(|conditions| Conditions::new(&conditions)).map_err(Error::custom)
}
