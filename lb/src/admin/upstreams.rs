//! `/v1/upstreams`: the upstream set.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use wire::{Generation, PutUpstreams, UpstreamsView};

use super::auth::Writer;
use super::body::JsonBody;
use super::{Api, ApiError};
use crate::pool::validate;

/// `GET /v1/upstreams`.
pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<UpstreamsView> {
    Json(api.pool.view())
}

/// `PUT /v1/upstreams`.
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    _writer: Writer,
    JsonBody(set): JsonBody<PutUpstreams>,
) -> Result<Json<Generation>, ApiError> {
    validate(&set, api.max_upstreams)?;
    api.writable()?;
    let upstreams = set.upstreams.len();
    let generation = api.pool.put(set)?;
    tracing::info!(generation, upstreams, "upstream set in force");
    Ok(Json(Generation { generation }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Removal {
    generation: u64,
}

/// `DELETE /v1/upstreams/{id}?generation=N`.
pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    _writer: Writer,
    Path(id): Path<String>,
    query: Result<Query<Removal>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Generation>, ApiError> {
    let Query(removal) = query.map_err(|e| ApiError::invalid_parameter("generation", e.body_text()))?;
    api.writable()?;
    let generation = api.pool.remove(&id, removal.generation)?;
    tracing::info!(generation, upstream = id, "upstream removed");
    Ok(Json(Generation { generation }))
}
