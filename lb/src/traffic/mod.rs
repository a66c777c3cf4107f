//! The traffic listeners: take clients' connections and hand their requests to the proxy.
//!
//! Each thread has a runtime of its own and takes connections from every listener; a connection stays with its
//! thread, and so do the connections to upstreams that its requests use, so threads share next to nothing. The
//! listeners bound what clients may cost before a request is understood: connections, and time.

mod h1;
mod h2;
mod watched;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::watched::Watched;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::net::{Buffered, Transport};
use crate::proxy::{Peer, Proxy};

/// After a failed accept, such as one for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The traffic side of the load balancer.
#[derive(Clone)]
pub(crate) struct Traffic {
    proxy: Arc<Proxy>,
    metrics: Arc<Metrics>,
    places: Arc<Semaphore>,
    connections: TaskTracker,
    /// From now on every response tells its client to close the connection.
    closing: CancellationToken,
    stop_accepting: CancellationToken,
    /// Connections without a request are closed.
    finishing: CancellationToken,
}

/// A listener of one thread.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
}

impl Traffic {
    /// Traffic for this proxy.
    pub(crate) fn new(config: &Config, proxy: Arc<Proxy>, metrics: Arc<Metrics>) -> Self {
        Self {
            proxy,
            metrics,
            places: Arc::new(Semaphore::new(config.limits.connections.size())),
            connections: TaskTracker::new(),
            closing: CancellationToken::new(),
            stop_accepting: CancellationToken::new(),
            finishing: CancellationToken::new(),
        }
    }

    /// Takes connections for this thread until told to stop.
    pub(crate) async fn accept(self, listener: Listener, thread: usize) {
        let Listener { socket, tls } = listener;
        let socket = match Watched::new(socket) {
            Ok(socket) => socket,
            Err(e) => return tracing::error!("cannot accept connections: {e}"),
        };
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop_accepting.cancelled() => {
                    return self.accept_backlog(&socket, tls.as_ref(), thread);
                }
                accepted = self.next(&socket) => accepted,
            };
            match accepted {
                Ok(Some((place, stream, peer))) => self.admit(place, stream, peer, tls.clone(), thread),
                Ok(None) => {}
                Err(e) => {
                    tracing::warn!("cannot accept a connection: {e}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The next connection, with its place. None if there was none, or another thread took it.
    ///
    /// A place is only asked for when a connection waits, so that quiet listeners hold none; and a connection is only
    /// taken with a place, so that what waits stays in the kernel's queue, for whoever has the socket next.
    async fn next(
        &self,
        socket: &Watched,
    ) -> io::Result<Option<(OwnedSemaphorePermit, TcpStream, SocketAddr)>> {
        let mut ready = socket.ready().await?;
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        let accepted = Watched::accept_noticed(&mut ready)?;
        Ok(accepted.map(|(stream, peer)| (place, stream, peer)))
    }

    /// Takes what the kernel has already accepted, as far as there are places: closing the listener would
    /// reset it. The socket itself is asked, since the runtime may not have noticed yet.
    fn accept_backlog(&self, socket: &Watched, tls: Option<&TlsAcceptor>, thread: usize) {
        while let Ok(place) = Arc::clone(&self.places).try_acquire_owned()
            && let Ok((stream, peer)) = socket.accept()
        {
            self.admit(place, stream, peer, tls.cloned(), thread);
        }
    }

    fn admit(
        &self,
        place: OwnedSemaphorePermit,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<TlsAcceptor>,
        thread: usize,
    ) {
        let traffic = self.clone();
        self.connections.spawn(async move {
            let _open = Open::new(&traffic.metrics, place);
            traffic.serve(stream, peer, tls, thread).await;
        });
    }

    async fn serve(&self, stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>, thread: usize) {
        if let Err(e) = stream.set_nodelay(true) {
            tracing::debug!("client gone at once: {e}");
            return;
        }
        let mut peer = Peer { ip: peer.ip(), tls: None };
        let Some(acceptor) = tls else {
            return self.serve_h1(Buffered::new(Transport::tcp(stream)), peer, thread).await;
        };
        let limit = self.proxy.config().limits.header_timeout_ms.duration();
        let stream = match tokio::time::timeout(limit, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => {
                self.metrics.bad_connections.inc();
                tracing::debug!(peer = %peer.ip, "no TLS: {e}");
                return;
            }
            Err(_) => return self.metrics.bad_connections.inc(),
        };
        let session = stream.get_ref().1;
        peer.tls = session.protocol_version().and_then(|version| version.as_str());
        let is_h2 = session.alpn_protocol() == Some(b"h2");
        let transport = Transport::tls(stream);
        if is_h2 {
            self.serve_h2(transport, peer, thread).await;
        } else {
            self.serve_h1(Buffered::new(transport), peer, thread).await;
        }
    }

    /// Closes connections to upstreams that nobody used for long, for as long as the thread lives.
    pub(crate) async fn sweep(self, thread: usize) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let timeout = self.proxy.config().upstream.idle_timeout_ms.duration();
            let now = tokio::time::Instant::now();
            for incarnation in self.proxy.pool.incarnations() {
                incarnation.with_idle(thread, |idle| idle.sweep(now, timeout));
            }
        }
    }

    /// From now on every response tells its client to close the connection.
    pub(crate) fn announce_end(&self) {
        self.closing.cancel();
    }

    /// Takes those connections that wait already, and no more. [`Traffic::accept`] ends.
    pub(crate) fn stop_accepting(&self) {
        self.stop_accepting.cancel();
    }

    /// Closes the connections without a request, and waits for the others, as long as this. Answers how many
    /// are left.
    pub(crate) async fn finish(&self, timeout: Duration) -> usize {
        self.finishing.cancel();
        self.connections.close();
        // Time is up or all are done: what is left tells.
        let _ = tokio::time::timeout(timeout, self.connections.wait()).await;
        self.connections.len()
    }
}

/// A connection that is counted, and holds its place, while it lives, however it ends.
struct Open<'a> {
    metrics: &'a Metrics,
    _place: OwnedSemaphorePermit,
}

impl<'a> Open<'a> {
    fn new(metrics: &'a Metrics, place: OwnedSemaphorePermit) -> Self {
        metrics.connections.inc();
        Self { metrics, _place: place }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

#[cfg(test)]
mod tests;
