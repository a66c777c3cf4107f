//! The configuration file: one TOML table whose every key is known here and has its limits in its type.
//!
//! A value out of its range is refused where it stands, with line and key; nothing is clamped or guessed. What
//! two keys must agree on is checked when all is read, and the error names both. The token's file is read here;
//! certificates are not, they have their own module.

mod admin;
mod listen;
mod reload;
mod sections;
mod values;
mod words;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use wire::PutUpstreams;

pub use self::admin::Admin;
pub use self::listen::Tls;
pub use self::sections::{AccessLog, Attempt, Check, Client, Drain, Heartbeat, Limits, Retry, Upstream};
pub use self::values::{Allow, CheckPath, Count, HiddenPaths, Millis, Token};
pub use self::words::{HashKey, LogFormat, LogTarget, Protocol};
use crate::policy::retry::Rules;
use crate::policy::select::Balance;
use crate::pool::validate;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {path}{}: {source}", key.map(|key| format!(" ({key})")).unwrap_or_default())]
    Read {
        /// The file.
        path: PathBuf,
        /// The key that names the file; none for the configuration itself.
        key: Option<&'static str>,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a valid configuration.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// Values that are valid each, but not together, or not with what else there is.
    #[error("{path}: {key}: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The key at fault, such as `attempt.first_byte_min_ms` or `upstreams[2].addr`.
        key: String,
        /// What is wrong with its value.
        message: String,
    },
}

/// The whole file. See [`Config::load`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where plain-text traffic is taken: one address or a list of at most 64. Port 0 picks a free port.
    #[serde(default, deserialize_with = "listen::one_or_many")]
    pub listen: Vec<SocketAddr>,
    /// Where TLS traffic is taken, and with which certificates. Entries with the same address are one listener
    /// with several certificates, the first of which is for clients that name no server or an unknown one.
    #[serde(default)]
    pub tls: Vec<Tls>,
    /// The admin API; at 127.0.0.1:9000 and without a token by default.
    #[serde(default, deserialize_with = "admin::address_or_table")]
    pub admin: Admin,
    /// Threads that carry traffic, each with connections of its own to the upstreams.
    #[serde(default)]
    pub threads: Count<1, 256, 1>,
    /// Where the last good upstream set is kept; nowhere by default.
    #[serde(default)]
    pub state_file: Option<PathBuf>,
    /// How an upstream is chosen.
    #[serde(default, deserialize_with = "words::balance")]
    pub balance: Balance,
    /// What of a request decides when `balance` is `hash`.
    #[serde(default)]
    pub hash_key: HashKey,
    /// How long a request waits while no upstream is usable; 0: it does not.
    #[serde(default)]
    pub queue_ms: Millis<0, 600_000, 2_000>,
    /// How many requests may wait so at a time.
    #[serde(default)]
    pub queue_requests: Count<0, 1_000_000, 1_024>,
    /// Paths of upstreams that are nobody's business here: the traffic port answers them with 404.
    #[serde(default)]
    pub hidden_paths: HiddenPaths,
    /// Further attempts.
    #[serde(default)]
    pub retry: Retry,
    /// One attempt.
    #[serde(default)]
    pub attempt: Attempt,
    /// Upstreams, each of them.
    #[serde(default)]
    pub upstream: Upstream,
    /// Sizes and numbers.
    #[serde(default)]
    pub limits: Limits,
    /// Clients' connections.
    #[serde(default)]
    pub client: Client,
    /// The load balancer's own checks of its upstreams; none by default.
    #[serde(default)]
    pub check: Option<Check>,
    /// The access log; none by default.
    #[serde(default)]
    pub access_log: Option<AccessLog>,
    /// The heartbeat.
    #[serde(default)]
    pub heartbeat: Heartbeat,
    /// The end.
    #[serde(default)]
    pub drain: Drain,
    /// The upstreams to begin with, for use without a manager.
    #[serde(default)]
    pub upstreams: Vec<wire::Upstream>,
}

impl Config {
    /// Reads and checks a file, and the file of the admin token if there is one.
    ///
    /// # Errors
    /// When one cannot be read, or something in it is wrong.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read { path: path.to_owned(), key: None, source };
        let text = fs::read_to_string(path).map_err(read)?;
        let parse = |source| Error::Parse { path: path.to_owned(), source: Box::new(source) };
        let mut config: Self = toml::from_str(&text).map_err(parse)?;
        let invalid = |(key, message)| Error::Invalid { path: path.to_owned(), key, message };
        config.check_together().map_err(invalid)?;
        config.admin.read_token_file()?;
        Ok(config)
    }

    /// The rules for further attempts.
    pub fn rules(&self) -> Rules {
        Rules {
            on: self.retry.on,
            tries: self.retry.tries.int(),
            timeout_ms: self.retry.timeout_ms.get(),
            non_idempotent: self.retry.non_idempotent,
        }
    }

    /// What no single key can tell. The error is a key and what is wrong with it.
    fn check_together(&self) -> Result<(), (String, String)> {
        listen::check(&self.listen, &self.tls, &self.admin)?;
        self.admin.check()?;
        self.attempt.check()?;
        let set = PutUpstreams { generation: 1, upstreams: self.upstreams.clone() };
        validate(&set, self.limits.upstreams.size()).map_err(|e| (e.path, e.message))
    }
}

#[cfg(test)]
mod tests;
