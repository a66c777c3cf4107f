//! The traffic listener: takes clients' connections and hands their requests to the proxy.
//!
//! pingora's own server wants the process, its signals and its configuration file, has no limit on
//! connections and no deadline for a whole head. This loop has, and nothing else: each connection is a task
//! that feeds pingora's HTTP/1.1 server one request after another.

mod stream;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pingora::apps::{HttpPersistentSettings, HttpServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::configuration::ServerConf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::stream::ClientStream;
use crate::config::{Client, Config};
use crate::metrics::Metrics;
use crate::proxy::{ClientConnection, Proxy};

/// After a failed accept, such as one for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The traffic side of the load balancer.
#[derive(Clone)]
pub(crate) struct Traffic {
    proxy: Arc<HttpProxy<Proxy>>,
    client: Client,
    max_connections: usize,
    metrics: Arc<Metrics>,
    connections: TaskTracker,
    closing: watch::Sender<bool>,
    stop_accepting: CancellationToken,
}

impl Traffic {
    /// Traffic for this proxy.
    pub(crate) fn new(config: &Config, proxy: Proxy, metrics: Arc<Metrics>) -> Self {
        let threads = config.workers();
        let conf = ServerConf {
            threads,
            max_retries: config.retry.max_attempts.size(),
            upstream_keepalive_pool_size: config.upstream.max_idle.size().div_ceil(threads),
            ..ServerConf::default()
        };
        Self {
            proxy: Arc::new(http_proxy(&Arc::new(conf), proxy)),
            client: config.client.clone(),
            max_connections: config.limits.max_connections.size(),
            metrics,
            connections: TaskTracker::new(),
            closing: watch::Sender::new(false),
            stop_accepting: CancellationToken::new(),
        }
    }

    /// Takes connections until told to stop.
    pub(crate) async fn accept(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(self.max_connections));
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
                listener.accept().await.map(|(stream, peer)| (place, stream, peer))
            };
            let accepted = tokio::select! {
                biased;
                () = self.stop_accepting.cancelled() => return self.accept_backlog(&listener, &places),
                accepted = next => accepted,
            };
            match accepted {
                Ok((place, stream, peer)) => self.admit(place, stream, peer),
                Err(e) => {
                    tracing::warn!("cannot accept a connection: {e}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Takes what the kernel has already accepted, as far as there are places: closing the listener would
    /// reset it.
    fn accept_backlog(&self, listener: &TcpListener, places: &Arc<Semaphore>) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Ok(place) = Arc::clone(places).try_acquire_owned()
            && let Poll::Ready(Ok((stream, peer))) = listener.poll_accept(&mut cx)
        {
            self.admit(place, stream, peer);
        }
    }

    fn admit(&self, place: OwnedSemaphorePermit, stream: TcpStream, peer: SocketAddr) {
        let traffic = self.clone();
        self.connections.spawn(async move {
            traffic.metrics.connections.inc();
            traffic.serve(stream, peer).await;
            traffic.metrics.connections.dec();
            drop(place);
        });
    }

    async fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        let client = Arc::new(ClientConnection::new(peer));
        if let Err(e) = stream.set_nodelay(true) {
            tracing::debug!("client gone at once: {e}");
            return;
        }
        let mut stream: Stream = Box::new(ClientStream::new(stream));
        let mut settings: Option<HttpPersistentSettings> = None;
        let closing = self.closing.subscribe();
        let mut limit = self.client.header_timeout_ms.duration();
        let mut since = Instant::now();
        let mut deadline = pin!(sleep_until(since + limit));
        let mut response_deadline = pin!(sleep_until(since + limit));
        loop {
            client.await_head();
            let mut session = ServerSession::new_http1(stream);
            // No timer of pingora's: it would begin anew with every byte. The deadline below does not.
            session.set_keepalive(Some(0));
            session.set_keepalive_reuses_remaining(u32::try_from(self.client.max_requests.get()).ok());
            if let Some(settings) = settings.take() {
                settings.apply_to_session(&mut session);
            }
            session.set_connection_user_context(Some(Box::new(Arc::clone(&client))));
            let mut request = pin!(self.proxy.process_new_http(session, &closing));
            let reusable = loop {
                tokio::select! {
                    biased;
                    reusable = &mut request => break reusable,
                    () = client.response_head().enforce(response_deadline.as_mut()) => {}
                    () = &mut deadline => {
                        let now = Instant::now();
                        let due = if client.awaits_head() { since + limit } else { now + limit };
                        if due <= now {
                            return;
                        }
                        deadline.as_mut().reset(due);
                    }
                }
            };
            let Some(reusable) = reusable else { return };
            (stream, settings) = reusable.consume();
            since = Instant::now();
            limit = self.client.idle_timeout_ms.duration();
            if deadline.deadline() > since + limit {
                deadline.as_mut().reset(since + limit);
            }
        }
    }

    /// From now on every response tells its client to close the connection.
    pub(crate) fn announce_end(&self) {
        self.closing.send_replace(true);
    }

    /// Takes those connections that wait already, and no more. [`Traffic::accept`] ends.
    pub(crate) fn stop_accepting(&self) {
        self.stop_accepting.cancel();
    }

    /// Closes the connections without a request, and waits for the others, as long as this. Answers how many
    /// are left.
    pub(crate) async fn finish(&self, timeout: Duration) -> usize {
        self.proxy.http_cleanup().await;
        self.connections.close();
        // Time is up or all are done: what is left tells.
        let _ = tokio::time::timeout(timeout, self.connections.wait()).await;
        self.connections.len()
    }
}

#[cfg(test)]
mod tests;
