//! The admin API: upstreams, heartbeat, metrics and health, on a listener of its own.
//!
//! It takes connections only from addresses that are allowed, and writes only with the token. It refuses to
//! wait: heads, bodies and the reading of answers have deadlines, and connections a limit.

mod auth;
mod body;
mod connection;
mod error;
mod health;
mod heartbeat;
mod stream;
mod upstreams;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::{delete, get};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore, watch};
use wire::Status;

use self::error::ApiError;
use crate::config::{self, Config};
use crate::metrics::Metrics;
use crate::pool::Pool;

/// The admin API's server.
pub(crate) struct Admin {
    api: Arc<Api>,
}

/// What all requests share.
pub(crate) struct Api {
    config: config::Admin,
    max_upstreams: usize,
    heartbeat_interval: Duration,
    pool: Arc<Pool>,
    metrics: Arc<Metrics>,
    metrics_turn: Arc<Mutex<()>>,
    /// Places for readers of the heartbeat, half of all: the others are for those who ask and go, such as a manager
    /// with a new upstream set.
    readers: Arc<Semaphore>,
    status: watch::Receiver<Status>,
    /// The set is being handed over to a successor, or was.
    is_leaving: Arc<AtomicBool>,
}

impl Api {
    /// Whether the set may change. What is written to a process that hands its set over would be lost.
    fn writable(&self) -> Result<(), ApiError> {
        if self.is_leaving.load(Ordering::Relaxed) { Err(ApiError::upgrading()) } else { Ok(()) }
    }
}

impl Admin {
    pub(crate) fn new(
        config: &Config,
        pool: Arc<Pool>,
        metrics: Arc<Metrics>,
        status: watch::Receiver<Status>,
        is_leaving: Arc<AtomicBool>,
    ) -> Self {
        let api = Api {
            config: config.admin.clone(),
            max_upstreams: config.limits.upstreams.size(),
            heartbeat_interval: config.heartbeat.interval_ms.duration(),
            pool,
            metrics,
            metrics_turn: Arc::default(),
            readers: Arc::new(Semaphore::new(config.admin.max_connections.size().div_ceil(2))),
            status,
            is_leaving,
        };
        Self { api: Arc::new(api) }
    }

    /// Takes connections for ever.
    pub(crate) async fn accept(self, listener: TcpListener) {
        let router = router(&self.api);
        let places = Arc::new(Semaphore::new(self.api.config.max_connections.size()));
        loop {
            match listener.accept().await {
                // Before a place is taken: strangers must not be able to fill them.
                Ok((_, peer)) if !self.api.config.allows(peer.ip()) => {
                    tracing::debug!(%peer, "admin connection closed: its address is not allowed");
                }
                Ok((stream, peer)) => {
                    let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                    let served = connection::serve(stream, peer, router.clone(), &self.api.config);
                    tokio::spawn(async move {
                        served.await;
                        drop(place);
                    });
                }
                Err(e) => {
                    tracing::warn!("cannot accept an admin connection: {e}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

fn router(api: &Arc<Api>) -> Router {
    Router::new()
        .route("/v1/upstreams", get(upstreams::list).put(upstreams::put))
        .route("/v1/upstreams/{*id}", delete(upstreams::remove))
        .route("/heartbeat", get(heartbeat::stream))
        .route("/metrics", get(health::metrics))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .fallback(async || ApiError::not_found())
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .with_state(Arc::clone(api))
}

#[cfg(test)]
mod timing;
