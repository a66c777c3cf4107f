//! The configuration file: one TOML table whose every key is known here and has its limits in its type.
//!
//! A value out of its range is refused where it stands, with line and key; nothing is clamped or guessed.

mod values;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

pub use self::values::{Allow, Count, HiddenPaths, Millis, Status, Token};
use crate::policy::retry::Rules;
use crate::pool::Tried;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
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
}

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where traffic is taken.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Threads that carry traffic; the number of processors by default.
    #[serde(default)]
    pub workers: Option<Count<1, 256>>,
    /// A request's time for all its attempts, from its last byte to the head of the response. It does not run
    /// while a client sends its body (`client.read_timeout_ms` does), nor while the body of a response passes
    /// (`upstream.read_timeout_ms` does).
    #[serde(default)]
    pub request_timeout_ms: RequestTimeout,
    /// Paths of upstreams that are nobody's business here: the traffic port answers them with 404.
    #[serde(default)]
    pub hidden_paths: HiddenPaths,
    /// Where the last good upstream set is kept; nowhere by default.
    #[serde(default)]
    pub state_file: Option<PathBuf>,
    /// The admin API.
    pub admin: Admin,
    /// Clients' connections.
    #[serde(default)]
    pub client: Client,
    /// Connections to upstreams.
    #[serde(default)]
    pub upstream: Upstream,
    /// Further attempts.
    #[serde(default)]
    pub retry: Retry,
    /// The heartbeat.
    #[serde(default)]
    pub heartbeat: Heartbeat,
    /// Sizes and numbers.
    #[serde(default)]
    pub limits: Limits,
    /// The end.
    #[serde(default)]
    pub drain: Drain,
}

fn default_listen() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, 8080).into()
}

type RequestTimeout = Millis<1, 3_600_000, 10_000>;

/// The admin API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Where it listens.
    #[serde(default = "default_admin_listen")]
    pub listen: SocketAddr,
    /// What a write must carry as its bearer token.
    pub token: Token,
    /// Networks whose addresses are answered; everyone's when empty. Connections from others are closed at
    /// once and take no place.
    #[serde(default)]
    pub allow: Vec<Allow>,
    /// The largest body of a write.
    #[serde(default)]
    pub max_body_bytes: Count<1024, 67_108_864, 1_048_576>,
    /// Connections at a time.
    #[serde(default)]
    pub max_connections: Count<1, 65_536, 256>,
    /// A request's head and body must have arrived within this time each.
    #[serde(default)]
    pub read_timeout_ms: Millis<1, 600_000, 5_000>,
    /// What is sent must have been taken within this time; the connection is cut otherwise.
    #[serde(default)]
    pub write_timeout_ms: Millis<1, 600_000, 5_000>,
}

fn default_admin_listen() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 9000).into()
}

/// Clients' connections.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Client {
    /// From a connection to the end of its first request's head.
    pub header_timeout_ms: Millis<1, 600_000, 10_000>,
    /// From the end of one response to the end of the next request's head.
    pub idle_timeout_ms: Millis<1, 3_600_000, 60_000>,
    /// Between two pieces of a request's body. A slower client gets 408.
    pub read_timeout_ms: Millis<1, 600_000, 10_000>,
    /// For a piece of a response to be taken.
    pub write_timeout_ms: Millis<1, 600_000, 30_000>,
    /// Requests on one connection.
    pub max_requests: Count<1, 4_294_967_295, 100_000>,
}

/// Connections to upstreams.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upstream {
    /// For a connection to be there.
    pub connect_timeout_ms: Millis<1, 600_000, 500>,
    /// From the last byte of a request to the head of its response, and between two pieces of the response's
    /// body. While a request's body is arriving, only `client.read_timeout_ms` counts; an attempt that began
    /// then allows pauses in the response's body of the longer of both times.
    pub read_timeout_ms: Millis<1, 3_600_000, 3_000>,
    /// For a piece of a request to be taken.
    pub write_timeout_ms: Millis<1, 600_000, 3_000>,
    /// How long the upstream's kernel may leave data unacknowledged. A machine that is gone shows here, long
    /// before a program that is slow would time out.
    pub ack_timeout_ms: Millis<1, 600_000, 1_000>,
    /// How long an unused connection is kept.
    pub idle_timeout_ms: Millis<1, 3_600_000, 30_000>,
    /// Unused connections kept, for all upstreams together.
    pub max_idle: Count<1, 65_536, 1_024>,
}

/// Further attempts.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Attempts per request, the first one included.
    pub max_attempts: Count<1, { Tried::MAX as u64 }, 3>,
    /// Statuses that count as a failed attempt.
    pub statuses: Vec<Status>,
    /// Whether upstreams are tried again when all have been.
    pub wrap: bool,
}

impl Default for Retry {
    fn default() -> Self {
        let statuses = [502, 503, 504].map(Status).into();
        Self { max_attempts: Count::default(), statuses, wrap: false }
    }
}

/// The heartbeat.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Heartbeat {
    /// Between two events.
    pub interval_ms: Millis<1, 60_000, 100>,
}

/// Sizes and numbers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections of clients at a time; more wait in the kernel's queue.
    pub max_connections: Count<1, 1_000_000, 10_000>,
    /// The largest head of a request.
    pub max_header_bytes: Count<256, 1_048_575, 32_768>,
    /// The largest body of a request.
    pub max_body_bytes: Count<0, 1_099_511_627_776, 16_777_216>,
    /// The largest upstream set.
    pub max_upstreams: Count<1, 4_096, 1_024>,
}

/// The end.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// How long new connections are still taken after the end was announced.
    pub linger_ms: Millis<0, 600_000, 1_000>,
    /// How long open requests may then take.
    pub timeout_ms: Millis<0, 3_600_000, 10_000>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, or something in it is wrong.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text =
            fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|source| Error::Parse { path: path.to_owned(), source: Box::new(source) })
    }

    /// The rules for further attempts.
    pub fn rules(&self) -> Rules {
        Rules {
            max_attempts: u32::try_from(self.retry.max_attempts.get()).unwrap_or(1),
            budget_ms: self.request_timeout_ms.get(),
            statuses: self.retry.statuses.iter().map(|status| status.0).collect(),
            wrap: self.retry.wrap,
        }
    }

    /// Threads that carry traffic.
    pub fn workers(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.map_or_else(processors, Count::size)
    }
}

impl Admin {
    /// Whether this address is answered.
    pub fn allows(&self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        self.allow.is_empty() || self.allow.iter().any(|allow| allow.0.contains(&addr))
    }
}

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> Millis<MIN, MAX, DEFAULT> {
    /// As a duration.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.get())
    }
}

#[cfg(test)]
mod tests;
