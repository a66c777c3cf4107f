//! Values of the configuration that carry their limits in their type.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, Error};

/// A number from `MIN` to `MAX`, `DEFAULT` when not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count<const MIN: u64, const MAX: u64, const DEFAULT: u64 = 0>(u64);

/// A time in milliseconds from `MIN` to `MAX`, `DEFAULT` when not given.
pub type Millis<const MIN: u64, const MAX: u64, const DEFAULT: u64> = Count<MIN, MAX, DEFAULT>;

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> Count<MIN, MAX, DEFAULT> {
    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number as a size.
    pub fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The number in 32 bits; the largest there is, should it not fit.
    pub fn int(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }

    /// Milliseconds as a duration.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> Default for Count<MIN, MAX, DEFAULT> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<'de, const MIN: u64, const MAX: u64, const DEFAULT: u64> Deserialize<'de> for Count<MIN, MAX, DEFAULT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let n = i64::deserialize(deserializer)?;
        match u64::try_from(n) {
            Ok(n) if (MIN..=MAX).contains(&n) => Ok(Self(n)),
            _ => Err(Error::custom(format_args!("{n} is not from {MIN} to {MAX}"))),
        }
    }
}

/// Paths that the traffic port does not pass on: at most 16, each from its `/` on. A request is compared
/// as it was sent, without its query and without decoding.
///
/// By default they are those on which services talk to their managers. A service answers few readers of its
/// heartbeat at a time, so a client that could open such streams through the load balancer could take all the
/// places, and the manager, left without, would take a healthy service for dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiddenPaths(Vec<String>);

impl HiddenPaths {
    /// The most paths.
    pub const MAX: usize = 16;

    /// Whether a request for this path, without its query, is refused.
    pub fn contains(&self, path: &str) -> bool {
        self.0.iter().any(|hidden| hidden == path)
    }
}

impl Default for HiddenPaths {
    fn default() -> Self {
        Self(["/heartbeat", "/metrics", "/healthz"].map(str::to_owned).into())
    }
}

impl<'de> Deserialize<'de> for HiddenPaths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let paths = Vec::<String>::deserialize(deserializer)?;
        if paths.len() > Self::MAX {
            return Err(Error::custom(format_args!("{} paths are more than {}", paths.len(), Self::MAX)));
        }
        // What no request's path can be would hide nothing, and its author would believe it did.
        match paths.iter().find(|path| !is_path(path) || path.contains('?')) {
            Some(path) => Err(Error::custom(format_args!(
                "{path:?} is not a path: it must begin with / and have only visible ASCII characters, \
                 without ? and #"
            ))),
            None => Ok(Self(paths)),
        }
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

/// What an active check asks for: a path, with a query if need be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckPath(String);

impl CheckPath {
    /// The path, as it goes into the request line.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for CheckPath {
    fn default() -> Self {
        Self("/healthz".to_owned())
    }
}

impl<'de> Deserialize<'de> for CheckPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() > 1024 || !is_path(&text) {
            return Err(Error::custom(format_args!(
                "{text:?} is not a path: it must begin with / and have at most 1024 characters, visible ASCII ones \
                 without #"
            )));
        }
        Ok(Self(text))
    }
}

/// A network, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allow(pub IpNet);

impl<'de> Deserialize<'de> for Allow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| {
            Error::custom(format_args!("{text:?} is neither a network such as 10.0.0.0/8 nor an address"))
        })
    }
}

/// A secret of at least 16 visible ASCII characters. It is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The secret.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl FromStr for Token {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() < 16 || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("the token must have at least 16 characters, all of them visible ASCII ones");
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(Error::custom)
    }
}
