//! `/metrics`, `/healthz` and `/readyz`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use prometheus::TEXT_FORMAT;
use wire::Status;

use super::{Api, ApiError};

/// `GET /metrics`: one at a time, and not on this thread, because with thousands of upstreams it takes longer than
/// the heartbeat may wait.
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Result<impl IntoResponse, ApiError> {
    let turn = Arc::clone(&api.metrics_turn).lock_owned().await;
    let encode = move || {
        let _turn = turn;
        api.metrics.encode(&api.pool.seen())
    };
    let internal = |e: &dyn std::error::Error| ApiError::internal(e.to_string());
    let text =
        tokio::task::spawn_blocking(encode).await.map_err(|e| internal(&e))?.map_err(|e| internal(&e))?;
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text))
}

/// `GET /healthz`: the process lives.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: requests can be served.
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Result<&'static str, ApiError> {
    if *api.status.borrow() == Status::Draining {
        return Err(ApiError::not_ready("draining"));
    }
    if !api.pool.is_usable() {
        return Err(ApiError::not_ready("no upstream is up"));
    }
    Ok("ready\n")
}
