//! The load balancer: a proxy for HTTP/1.1 whose upstreams are pushed by its manager, and which sends a
//! request to the next upstream when one fails.
//!
//! Two runtimes, so that a flood of traffic cannot silence the heartbeat: one with a thread per processor
//! carries traffic, and the thread that calls [`run`] does all else. Signals and arguments are `main`'s.

pub mod config;
pub mod flow;
pub mod logging;
pub mod metrics;
pub mod policy;
pub mod pool;
pub mod proxy;
pub mod state;

mod admin;
mod traffic;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wire::Status;

use crate::admin::Admin;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::proxy::Proxy;
use crate::traffic::Traffic;

/// Connections that may wait to be taken.
const TRAFFIC_BACKLOG: u32 = 4096;
const ADMIN_BACKLOG: u32 = 128;

/// How soon a client that got a connection just before the listener closed sends its request.
const SETTLE: Duration = Duration::from_millis(50);

/// What the kernel holds for a reader of the admin API. Small, so that a reader of the heartbeat that does not
/// read is noticed after some dozens of events and not after many thousands.
const ADMIN_SEND_BUFFER_BYTES: u32 = 32 * 1024;

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
    Runtime(#[source] io::Error),
    /// A metric is defined twice.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Where a running load balancer listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// For traffic.
    pub traffic: SocketAddr,
    /// For the admin API.
    pub admin: SocketAddr,
}

/// Runs the load balancer on this thread until `stop` is done and all is drained. `ready` is called once,
/// when both listeners take connections. A second completion of the stop signal is not awaited: draining is
/// bounded by the configuration.
///
/// # Errors
/// When it cannot start.
pub fn run(
    config: Config,
    registry: prometheus::Registry,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(Addresses),
) -> Result<(), Error> {
    let metrics = Arc::new(Metrics::new(registry)?);
    let pool = Arc::new(Pool::new(Arc::clone(&metrics)));
    if let Some(path) = &config.state_file {
        state::restore(path, config.limits.max_upstreams.size(), &pool);
    }
    let workers = Builder::new_multi_thread()
        .worker_threads(config.workers())
        .thread_name("lb-traffic")
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let control = Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    let result = control.block_on(serve(config, metrics, pool, &workers, stop, ready));
    // What did not end in its time is cut here.
    workers.shutdown_timeout(Duration::from_millis(100));
    control.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(
    config: Config,
    metrics: Arc<Metrics>,
    pool: Arc<Pool>,
    workers: &Runtime,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(Addresses),
) -> Result<(), Error> {
    let traffic_listener = {
        let _guard = workers.enter();
        listen(config.listen, "listen", TRAFFIC_BACKLOG, None)?
    };
    let admin_listener =
        listen(config.admin.listen, "admin.listen", ADMIN_BACKLOG, Some(ADMIN_SEND_BUFFER_BYTES))?;
    let addresses = Addresses {
        traffic: local_addr(&traffic_listener, config.listen),
        admin: local_addr(&admin_listener, config.admin.listen),
    };

    let proxy = Proxy::new(config.clone(), Arc::clone(&pool), Arc::clone(&metrics));
    let traffic = Traffic::new(&config, proxy, Arc::clone(&metrics));
    let accept = workers.spawn(traffic.clone().accept(traffic_listener));

    let status = watch::Sender::new(Status::Ok);
    let admin = Admin::new(&config, Arc::clone(&pool), Arc::clone(&metrics), status.subscribe());
    let admin_task = tokio::spawn(admin.accept(admin_listener));

    let stop_keeping = CancellationToken::new();
    let keeper = config
        .state_file
        .clone()
        .map(|path| tokio::spawn(state::keep(path, pool, metrics, stop_keeping.clone())));

    tracing::info!(traffic = %addresses.traffic, admin = %addresses.admin, "listening");
    ready(addresses);
    stop.await;

    tracing::info!(from = "OK", to = "DRAINING", reason = "told to stop", "draining");
    status.send_replace(Status::Draining);
    traffic.announce_end();
    tokio::time::sleep(config.drain.linger_ms.duration()).await;
    traffic.stop_accepting();
    // A failure of the accept loop would have been logged by its panic.
    let _ = accept.await;
    tokio::time::sleep(SETTLE).await;
    let finishing = traffic.clone();
    let timeout = config.drain.timeout_ms.duration();
    let left = workers.spawn(async move { finishing.finish(timeout).await }).await.unwrap_or_default();
    stop_keeping.cancel();
    if let Some(keeper) = keeper {
        // A disk that hangs must not keep the process.
        let _ = tokio::time::timeout(Duration::from_secs(2), keeper).await;
    }
    admin_task.abort();
    tracing::info!(from = "DRAINING", to = "stopped", cut_connections = left, "stopped");
    Ok(())
}

fn listen(
    addr: SocketAddr,
    field: &'static str,
    backlog: u32,
    send_buffer_bytes: Option<u32>,
) -> Result<TcpListener, Error> {
    let listener = || {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        if let Some(bytes) = send_buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        socket.bind(addr)?;
        socket.listen(backlog)
    };
    listener().map_err(|source| Error::Listen { addr, field, source })
}

fn local_addr(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}
