//! Values of the configuration that carry their limits in their type.

use std::fmt;
use std::net::IpAddr;

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

/// A status that counts as a failed attempt: 500 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u16);

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let n = i64::deserialize(deserializer)?;
        match u16::try_from(n) {
            Ok(n) if (500..=599).contains(&n) => Ok(Self(n)),
            _ => Err(Error::custom(format_args!("{n} is not a status from 500 to 599"))),
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
        let possible = |path: &str| {
            path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#')
        };
        match paths.iter().find(|path| !possible(path)) {
            Some(path) => Err(Error::custom(format_args!(
                "{path:?} is not a path: it must begin with / and have only visible ASCII characters, \
                 without ? and #"
            ))),
            None => Ok(Self(paths)),
        }
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

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() < 16 || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::custom("the token must have at least 16 visible ASCII characters"));
        }
        Ok(Self(text))
    }
}
