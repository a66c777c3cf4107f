//! The load balancer: a proxy for HTTP/1.1 and HTTP/2 that sends a request to the next upstream when one fails, and
//! whose upstreams are configured or pushed by a manager.
//!
//! A thread for each share of the traffic, with a runtime of its own, and the thread that calls [`run`] for all
//! else, so that a flood of traffic cannot silence the heartbeat. Signals and arguments are `main`'s.

pub mod access_log;
pub mod checks;
pub mod config;
pub mod flow;
pub mod http1;
pub mod load;
pub mod metrics;
pub mod policy;
pub mod pool;
pub mod state;
pub mod tls;
pub mod upgrade;

mod admin;
mod control;
mod listeners;
mod net;
mod patience;
mod proxy;
mod traffic;
mod workers;

use std::fs::{self, OpenOptions};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::mpsc;

use crate::config::{Config, LogTarget};
use crate::tls::Certificates;
use crate::upgrade::{Inherited, Program};

/// Why the load balancer cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error("cannot listen on {addr} ({field}): {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Where it is configured.
        field: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Threads cannot be started.
    #[error("cannot start threads: {0}")]
    Threads(#[source] io::Error),
    /// A metric is defined twice.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A certificate is of no use.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The access log cannot be written.
    #[error("access_log.path: {path}: {source}")]
    AccessLog {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The state file could not be written.
    #[error("state_file: {path}: {source}")]
    StateFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What the predecessor knew cannot be taken over.
    #[error("cannot take over from the predecessor: {0}")]
    Inherit(#[from] upgrade::InheritError),
}

/// Where a running load balancer listens.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// For traffic, in the order of the configuration.
    pub traffic: Vec<SocketAddr>,
    /// For traffic over TLS, each address once.
    pub tls: Vec<SocketAddr>,
    /// For the admin API.
    pub admin: SocketAddr,
}

/// What a running load balancer is told.
#[derive(Debug)]
pub enum Order {
    /// Another configuration, and files that were moved away are to be opened anew. What cannot change without a
    /// restart stays as it is.
    Reload(Box<Config>),
    /// Start this program, and leave everything to it when it serves. If it does not, nothing changes.
    Upgrade(Program),
}

/// Runs the load balancer on this thread until `stop` is done, or a successor serves, and all is drained. `ready` is
/// called once, when all listeners take connections. A second completion of the stop signal is not awaited:
/// draining is bounded by the configuration.
///
/// # Errors
/// When it cannot start.
pub fn run(
    config: Config,
    registry: prometheus::Registry,
    orders: mpsc::Receiver<Order>,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(Addresses),
) -> Result<(), Error> {
    succeed(config, registry, Inherited::default(), orders, stop, ready)
}

/// Runs the load balancer as [`run`] does, with what its predecessor left: listeners and the upstream set. The
/// predecessor is told as soon as all listeners take connections.
///
/// # Errors
/// When it cannot start.
pub fn succeed(
    config: Config,
    registry: prometheus::Registry,
    inherited: Inherited,
    orders: mpsc::Receiver<Order>,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(Addresses),
) -> Result<(), Error> {
    let control = Builder::new_current_thread().enable_all().build().map_err(Error::Threads)?;
    let result = control.block_on(control::serve(config, registry, inherited, orders, stop, ready));
    control.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Whether a load balancer could run with this configuration, as far as its files tell: certificates and keys are
/// read, and what is to be written must have its place. Nothing is created, and no address is tried.
///
/// # Errors
/// The first thing wrong with them.
pub fn check(config: &Config) -> Result<(), Error> {
    Certificates::load(&config.tls)?;
    if let Some(log) = &config.access_log
        && let LogTarget::File(path) = &log.path
    {
        let fail = |source| Error::AccessLog { path: path.display().to_string(), source };
        // To open what is no file, such as a FIFO, could wait, or be noticed at its other end.
        if fs::metadata(path).is_ok_and(|is| is.is_file()) {
            OpenOptions::new().append(true).open(path).map_err(fail)?;
        } else {
            has_place(path).map_err(fail)?;
        }
    }
    if let Some(path) = &config.state_file {
        has_place(path).map_err(|source| Error::StateFile { path: path.clone(), source })?;
    }
    Ok(())
}

/// There is a folder for this file, and no folder in its place.
fn has_place(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !fs::metadata(parent)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    if path.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(()) }
}
