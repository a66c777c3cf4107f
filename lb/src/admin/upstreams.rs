//! `/v1/upstreams`: the upstream set.

use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use wire::{Generation, PutUpstreams, Upstream, UpstreamsView};

use super::auth::Writer;
use super::body::JsonBody;
use super::{Api, ApiError};
use crate::patience;
use crate::pool::{MAX_GENERATION, validate};

/// `GET /v1/upstreams`.
pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<UpstreamsView> {
    Json(api.pool.view())
}

/// A [`PutUpstreams`] that is read in pieces.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FullSet {
    pub(super) generation: u64,
    #[serde(deserialize_with = "in_pieces")]
    pub(super) upstreams: Vec<Upstream>,
}

fn in_pieces<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Upstream>, D::Error> {
    struct Pieces;

    impl<'de> Visitor<'de> for Pieces {
        type Value = Vec<Upstream>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut upstreams = Vec::new();
            while let Some(upstream) = sequence.next_element()? {
                upstreams.push(upstream);
                patience::after(upstreams.len());
            }
            Ok(upstreams)
        }
    }

    deserializer.deserialize_seq(Pieces)
}

/// `PUT /v1/upstreams`.
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    _writer: Writer,
    JsonBody(FullSet { generation, upstreams }): JsonBody<FullSet>,
) -> Result<Json<Generation>, ApiError> {
    let set = PutUpstreams { generation, upstreams };
    validate(&set, api.max_upstreams)?;
    api.writable()?;
    let upstreams = set.upstreams.len();
    patience::between(upstreams);
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
    if removal.generation > MAX_GENERATION {
        return Err(ApiError::invalid_parameter("generation", format!("must be at most {MAX_GENERATION}")));
    }
    api.writable()?;
    let generation = api.pool.remove(&id, removal.generation)?;
    tracing::info!(generation, upstream = id, "upstream removed");
    Ok(Json(Generation { generation }))
}
