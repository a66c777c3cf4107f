//! The accept loop and the way out: serving, draining, closing, ended.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use wire::ErrorBody;

use crate::config::{Config, Limits};
use crate::connection;
use crate::heartbeat::{Phase, Readers};
use crate::load::Gauge;
use crate::metrics::Metrics;
use crate::origin::{Origin, Places};
use crate::routes::App;

/// How long streams may take to say goodbye, once nothing else is open.
const GOODBYE: Duration = Duration::from_millis(500);

/// How soon a client that got a connection just before the listener closed sends its request.
const SETTLE: Duration = Duration::from_millis(50);

/// The pause after a failed accept: the usual cause is a lack of file descriptors, which takes a while.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(20);

/// Why the service did not start.
#[derive(Debug, Error)]
pub enum ServeError {
    /// A metric could not be registered: the registry was used for another service before.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// How the service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still busy at `drain.timeout_ms` and were cut.
    pub cut: usize,
}

/// Serves on `listener` until `shutdown` is ready, and then drains as `config.drain` says.
///
/// # Errors
/// See [`ServeError`]. Nothing a client does is an error here.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    registry: &Registry,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, ServeError> {
    let mut server = Server::new(config, registry)?;
    let Drain { linger, timeout } = server.drain;
    server.accept_until(&listener, shutdown).await;

    server.enter(Phase::Draining, "shutdown requested");
    server.accept_until(&listener, sleep(linger)).await;
    server.accept_backlog(&listener);
    drop(listener);
    sleep(SETTLE).await;

    server.enter(Phase::Closing, "linger time is over");
    let deadline = Instant::now() + timeout;
    let mut busy = server.busy.subscribe();
    let finished = timeout_at(deadline, busy.wait_for(|count| *count == 0)).await.is_ok();

    server.enter(Phase::Ended, if finished { "nothing is open" } else { "drain timeout" });
    let goodbye = if finished { GOODBYE } else { Duration::ZERO };
    let cut = if finished { 0 } else { *server.busy.borrow() };
    let all_gone = async { while server.connections.join_next().await.is_some() {} };
    if timeout_at(Instant::now() + goodbye, all_gone).await.is_err() {
        server.connections.shutdown().await;
    }
    for _ in 0..cut {
        server.app.metrics.cut("drain_timeout");
    }
    Ok(Drained { cut })
}

#[derive(Clone, Copy)]
struct Drain {
    linger: Duration,
    timeout: Duration,
}

struct Server {
    app: Arc<App>,
    limits: Arc<Limits>,
    drain: Drain,
    manager_addr: Option<IpAddr>,
    slots: Places,
    phase: watch::Sender<Phase>,
    busy: watch::Sender<usize>,
    connections: JoinSet<()>,
}

impl Server {
    fn new(config: Config, registry: &Registry) -> Result<Self, ServeError> {
        let load = Arc::new(Gauge::default());
        let (phase, phase_seen) = watch::channel(Phase::Serving);
        let metrics = Metrics::register(registry, Arc::clone(&load))?;
        let readers = Readers::new(
            config.heartbeat,
            config.limits.manager_readers,
            Arc::clone(&load),
            phase_seen.clone(),
            metrics.clone(),
        );
        let app = App {
            instance: config.instance,
            body_bytes: config.limits.body_bytes,
            body_timeout: Duration::from_millis(config.limits.body_timeout_ms),
            readers,
            load,
            phase: phase_seen,
            metrics,
        };
        Ok(Self {
            app: Arc::new(app),
            drain: Drain {
                linger: Duration::from_millis(config.drain.linger_ms),
                timeout: Duration::from_millis(config.drain.timeout_ms),
            },
            manager_addr: config.manager_addr,
            slots: Places::new(config.limits.max_connections, config.limits.manager_connections),
            limits: Arc::new(config.limits),
            phase,
            busy: watch::Sender::new(0),
            connections: JoinSet::new(),
        })
    }

    fn enter(&self, to: Phase, reason: &str) {
        let from = self.phase.send_replace(to);
        self.app.metrics.draining.set(1);
        tracing::info!(?from, ?to, reason, busy = *self.busy.borrow(), "phase");
    }

    async fn accept_until(&mut self, listener: &TcpListener, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                biased;
                () = end.as_mut() => return,
                _ = self.connections.join_next(), if !self.connections.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.admit(stream, peer),
                    Err(error) => {
                        tracing::warn!(%error, "accept failed");
                        sleep(ACCEPT_BACKOFF).await;
                    }
                },
            }
        }
    }

    /// Takes what the kernel has already accepted: closing the listener would reset it.
    fn accept_backlog(&mut self, listener: &TcpListener) {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        while let std::task::Poll::Ready(Ok((stream, peer))) = listener.poll_accept(&mut cx) {
            self.admit(stream, peer);
        }
    }

    /// Serves the connection, or refuses it: whose places it takes is decided here, before it says a word.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        let origin = Origin::of(peer, self.manager_addr);
        let Some(slot) = self.slots.take(origin) else {
            self.app.metrics.connections_refused.inc();
            // Best effort: a client whose socket does not take it at once sees the connection closed.
            if let Err(error) = stream.try_write(refusal(origin).as_bytes()) {
                tracing::debug!(%error, "refusal not written");
            }
            return;
        };
        if let Err(error) = tune(&stream, &self.limits) {
            tracing::debug!(%error, "connection lost before its first request");
            return;
        }
        let open = OpenConnection::new(self.app.metrics.clone());
        let connection = connection::drive(
            stream,
            origin,
            Arc::clone(&self.app),
            Arc::clone(&self.limits),
            self.busy.clone(),
            self.phase.subscribe(),
        );
        self.connections.spawn(async move {
            connection.await;
            drop((open, slot));
        });
    }
}

/// What a client over the limit of connections gets, as far as its socket takes it at once.
fn refusal(origin: Origin) -> String {
    let limit = match origin {
        Origin::Manager => "limits.manager_connections",
        Origin::Public => "limits.max_connections",
    };
    let body = ErrorBody::new("too_many_connections", "as many connections as allowed are open");
    // Plain strings in a struct always serialize.
    let json = serde_json::to_string(&body.at(limit)).unwrap_or_default();
    let length = json.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{json}"
    )
}

fn tune(stream: &TcpStream, limits: &Limits) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_send_buffer_size(stream, limits.send_buffer_bytes)?;
    Ok(())
}

/// Counts a connection in the metrics while it is open.
struct OpenConnection(Metrics);

impl OpenConnection {
    fn new(metrics: Metrics) -> Self {
        metrics.connections.inc();
        Self(metrics)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}
