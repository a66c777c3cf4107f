//! The manager's API: JSON over HTTP/1.1, one file per resource.
//!
//! Reads are open, as metrics are; writes need a token of the right purpose. A body is understood as a whole
//! or refused with the path of the field at fault, and nothing is changed then.

mod auth;
mod body;
mod cluster;
mod error;
mod path;
mod peers;
mod server;
mod vms;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, put};

pub use self::error::ApiError;
pub use self::server::serve;
use crate::driver::Handle;
use crate::identity::{Purpose, Secret, Token};
use crate::metrics::Metrics;

/// The largest account of a peer: 65536 services of about 100 bytes.
const BODY_MAX_BYTES: usize = 8 << 20;

/// What every handler may use.
#[derive(Clone)]
pub struct Context {
    driver: Handle,
    metrics: Arc<Metrics>,
    api_token: Token,
    peer_token: Token,
}

impl Context {
    /// A context whose tokens are derived from `secret`.
    pub fn new(driver: Handle, metrics: Arc<Metrics>, secret: &Secret) -> Self {
        let (api_token, peer_token) = (secret.token(Purpose::Api), secret.token(Purpose::Peer));
        Self { driver, metrics, api_token, peer_token }
    }
}

/// All routes.
pub fn router(context: Context) -> Router {
    Router::new()
        .route("/v1/vms", get(vms::list).post(vms::create))
        .route("/v1/vms/{*id}", get(vms::show).delete(vms::remove))
        .route("/v1/cluster", get(cluster::show))
        .route("/v1/peers/{node}/services", put(peers::put_services))
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
