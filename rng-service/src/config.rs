//! The configuration file: what may be set, its defaults and its limits.
//!
//! A configuration is either wholly valid or refused with the file, the line and the field. Durations are
//! in milliseconds, sizes in bytes.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use toml::de::{DeTable, DeValue};

#[cfg(test)]
mod tests;

/// All settings. Every one has a default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen; default `0.0.0.0:8080`.
    pub listen: SocketAddr,
    /// Who answers, as told in every value: 1 to 128 printable ASCII characters; default the host name.
    pub instance: String,
    /// The address from which the manager reads heartbeats; default none. Connections from there do not count
    /// among those of others, but have limits of their own: `limits.manager_connections` and
    /// `limits.manager_readers`.
    pub manager_addr: Option<IpAddr>,
    /// Settings of `GET /heartbeat`.
    pub heartbeat: Heartbeat,
    /// How the service ends.
    pub drain: Drain,
    /// What one client, or all together, may use.
    pub limits: Limits,
}

/// Settings of `GET /heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Heartbeat {
    /// Time from one event to the next: 10 to 60000, default 100.
    pub interval_ms: u64,
    /// Readers at once, without the manager's: 1 to 1024, default 32. One more gets 503.
    pub max_readers: usize,
}

/// How the service ends, once told to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long new requests are still answered: 0 to 600000, default 1000.
    pub linger_ms: u64,
    /// How long requests may take to finish after that: 0 to 600000, default 10000.
    pub timeout_ms: u64,
}

/// What one client, or all together, may use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at once, without the manager's: 1 to 65536, default 1024. One more gets 503 and is closed.
    pub max_connections: usize,
    /// Connections at once from `manager_addr`: 1 to 1024, default 8. One more gets 503 and is closed.
    pub manager_connections: usize,
    /// Readers of `GET /heartbeat` at once from `manager_addr`: 1 to 1024, default 8. One more gets 503.
    pub manager_readers: usize,
    /// Size of a request's head: 8192 to 1048576, default 16384. A larger one gets 431.
    pub header_bytes: usize,
    /// Header fields in a request: 1 to 1024, default 64. One more gets 431.
    pub max_headers: usize,
    /// From the first byte of a request's head to its last: 10 to 600000, default 5000. A slower client is
    /// cut off, at the latest after twice the time.
    pub header_timeout_ms: u64,
    /// Size of a request's body, which is read and ignored: 0 to 16777216, default 65536. More gets 413.
    pub body_bytes: usize,
    /// How long a request's body may take: 10 to 600000, default 5000. A slower client gets 408.
    pub body_timeout_ms: u64,
    /// How long a connection may wait for its next request: 10 to 3600000, default 60000.
    pub idle_timeout_ms: u64,
    /// How long a client may take nothing of what is sent to it, heartbeats included: 10 to 600000, default
    /// 5000. A slower client is cut off.
    pub write_timeout_ms: u64,
    /// What the kernel may hold for a client that reads slowly, per connection: 4096 to 16777216, default
    /// 65536.
    pub send_buffer_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            instance: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            manager_addr: None,
            heartbeat: Heartbeat::default(),
            drain: Drain::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval_ms: 100, max_readers: 32 }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self { linger_ms: 1_000, timeout_ms: 10_000 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            manager_connections: 8,
            manager_readers: 8,
            header_bytes: 16_384,
            max_headers: 64,
            header_timeout_ms: 5_000,
            body_bytes: 65_536,
            body_timeout_ms: 5_000,
            idle_timeout_ms: 60_000,
            write_timeout_ms: 5_000,
            send_buffer_bytes: 65_536,
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not TOML, or a field is unknown or of the wrong type.
    #[error("{origin}: {source}")]
    Syntax {
        /// The file.
        origin: String,
        /// With line, column and field.
        source: Box<toml::de::Error>,
    },
    /// A field's value is outside its range.
    #[error("{origin}: {field}: {message}")]
    Value {
        /// The file and, where the field is written, the line; or the variable that set the field.
        origin: String,
        /// The field, as a dotted path.
        field: &'static str,
        /// The rule and the value that breaks it.
        message: String,
    },
}

/// A field and what is wrong with it.
type Fault = (&'static str, String);

impl Config {
    /// Reads the file at `path`, or takes the defaults without one; `instance` overrides the file's.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(path: Option<&Path>, instance: Option<String>) -> Result<Self, ConfigError> {
        let mut config = match path {
            None => Self::default(),
            Some(path) => {
                let read = std::fs::read_to_string(path);
                let text = read.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
                Self::parse(&text, &path.display().to_string())?
            }
        };
        if let Some(instance) = instance {
            config.instance = instance;
        }
        match config.validate() {
            Ok(()) => Ok(config),
            Err((field, message)) => Err(ConfigError::Value {
                origin: "PHALANX_INSTANCE or --instance".to_owned(),
                field,
                message,
            }),
        }
    }

    /// A configuration from its text; `origin` is the file's name for errors.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text)
            .map_err(|source| ConfigError::Syntax { origin: origin.to_owned(), source: Box::new(source) })?;
        config.validate().map_err(|(field, message)| ConfigError::Value {
            origin: line_of(text, field)
                .map_or_else(|| origin.to_owned(), |line| format!("{origin}, line {line}")),
            field,
            message,
        })?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), Fault> {
        if !(1..=128).contains(&self.instance.len()) || !self.instance.bytes().all(|b| b.is_ascii_graphic()) {
            let message = format!("must be 1 to 128 printable ASCII characters, not {:?}", self.instance);
            return Err(("instance", message));
        }
        let (heartbeat, drain, limits) = (&self.heartbeat, &self.drain, &self.limits);
        within("heartbeat.interval_ms", heartbeat.interval_ms, 10..=60_000)?;
        within("heartbeat.max_readers", heartbeat.max_readers, 1..=1024)?;
        within("drain.linger_ms", drain.linger_ms, 0..=600_000)?;
        within("drain.timeout_ms", drain.timeout_ms, 0..=600_000)?;
        within("limits.max_connections", limits.max_connections, 1..=65_536)?;
        within("limits.manager_connections", limits.manager_connections, 1..=1024)?;
        within("limits.manager_readers", limits.manager_readers, 1..=1024)?;
        within("limits.header_bytes", limits.header_bytes, 8_192..=1_048_576)?;
        within("limits.max_headers", limits.max_headers, 1..=1024)?;
        within("limits.header_timeout_ms", limits.header_timeout_ms, 10..=600_000)?;
        within("limits.body_bytes", limits.body_bytes, 0..=16_777_216)?;
        within("limits.body_timeout_ms", limits.body_timeout_ms, 10..=600_000)?;
        within("limits.idle_timeout_ms", limits.idle_timeout_ms, 10..=3_600_000)?;
        within("limits.write_timeout_ms", limits.write_timeout_ms, 10..=600_000)?;
        within("limits.send_buffer_bytes", limits.send_buffer_bytes, 4_096..=16_777_216)
    }
}

impl Heartbeat {
    pub(crate) const fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }
}

fn within<T>(field: &'static str, value: T, range: RangeInclusive<T>) -> Result<(), Fault>
where
    T: PartialOrd + Copy + std::fmt::Display,
{
    if range.contains(&value) {
        return Ok(());
    }
    Err((field, format!("must be {} to {}, not {value}", range.start(), range.end())))
}

/// The line (from 1) on which the field at the dotted path is written.
fn line_of(text: &str, field: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut names = field.split('.').peekable();
    while let Some(name) = names.next() {
        let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
        if names.peek().is_none() {
            return Some(text[..key.span().start].matches('\n').count() + 1);
        }
        let DeValue::Table(inner) = value.get_ref() else { return None };
        table = inner;
    }
    None
}
