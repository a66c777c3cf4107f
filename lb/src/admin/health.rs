//! `/metrics`, `/healthz` and `/readyz`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use prometheus::TEXT_FORMAT;
use wire::Status;

use super::{Api, ApiError};

/// `GET /metrics`.
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Result<impl IntoResponse, ApiError> {
    let text = api.metrics.encode().map_err(|e| ApiError::internal(e.to_string()))?;
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
