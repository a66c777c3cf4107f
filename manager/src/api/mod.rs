//! The manager's API: JSON over HTTP/1.1, one file per resource.
//!
//! Reads are open, as metrics are; writes need a token of the right purpose. A body is understood as a whole
//! or refused with the path of the field at fault, and nothing is changed then.

mod auth;
mod body;
mod cluster;
mod error;
mod events;
mod nodes;
mod path;
mod peers;
mod places;
mod scale;
mod server;
mod vip;
mod vms;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post, put};

pub use self::error::ApiError;
pub use self::places::Places;
pub use self::server::serve;
use crate::cluster::Gossip;
use crate::driver::Handle;
use crate::identity::{Purpose, Secret, Token};
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::scale::Scaler;

/// The largest account of a peer: 65536 services of about 100 bytes.
const BODY_MAX_BYTES: usize = 8 << 20;

/// Whom the handlers speak to.
pub struct Parts {
    /// The loop that sees to VMs.
    pub driver: Handle,
    /// The loop that sees to the public address, if there is one.
    pub vip: Option<crate::vip::Handle>,
    /// Spreads service VMs over the nodes.
    pub scaler: Scaler,
    /// The other nodes.
    pub gossip: Gossip,
    /// What happened.
    pub journal: Journal,
    /// The series.
    pub metrics: Arc<Metrics>,
}

/// What every handler may use.
#[derive(Clone)]
pub struct Context {
    driver: Handle,
    vip: Option<crate::vip::Handle>,
    scaler: Scaler,
    gossip: Gossip,
    journal: Journal,
    metrics: Arc<Metrics>,
    api_token: Token,
    peer_token: Token,
}

impl Context {
    /// A context whose tokens are derived from `secret`.
    pub fn new(parts: Parts, secret: &Secret) -> Self {
        let Parts { driver, vip, scaler, gossip, journal, metrics } = parts;
        let (api_token, peer_token) = (secret.token(Purpose::Api), secret.token(Purpose::Peer));
        Self { driver, vip, scaler, gossip, journal, metrics, api_token, peer_token }
    }
}

/// All routes.
pub fn router(context: Context) -> Router {
    Router::new()
        .route("/v1/vms", get(vms::list).post(vms::create))
        .route("/v1/vms/{*id}", get(vms::show).delete(vms::remove))
        .route("/v1/cluster", get(cluster::show))
        .route("/v1/scale", put(scale::scale))
        .route("/v1/capacity", get(scale::capacity))
        .route("/v1/peers/{node}/services", put(peers::put_services))
        .route("/v1/peers/{node}/scale", put(scale::of_this_node))
        .route("/v1/peers/{node}/vip/nomination", post(vip::nominate))
        .route("/v1/nodes/{node}/forget", post(nodes::forget))
        .route("/v1/vip", get(vip::show))
        .route("/v1/vip/handover", post(vip::handover))
        .route("/v1/events", get(events::stream))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .with_state(context)
}

async fn metrics(State(context): State<Context>) -> impl IntoResponse {
    match context.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => {
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics", error.to_string()).into_response()
        }
    }
}

#[cfg(test)]
mod tests;
