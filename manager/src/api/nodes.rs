//! `/v1/nodes/{node}`: the other nodes.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use wire::NodeForgotten;

use super::auth::Administrator;
use super::path::Name;
use super::{ApiError, Context};
use crate::cluster::ForgetError;

/// `POST /v1/nodes/{node}/forget`: the node does not come back for now, so its services leave every upstream set.
pub(super) async fn forget(
    State(context): State<Context>,
    _: Administrator,
    Name(node): Name,
) -> Result<Json<NodeForgotten>, ApiError> {
    context.gossip.forget(&node).await?;
    Ok(Json(NodeForgotten { node }))
}

impl From<ForgetError> for ApiError {
    fn from(error: ForgetError) -> Self {
        let (status, code) = match &error {
            ForgetError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_node"),
            ForgetError::Live(_) => (StatusCode::CONFLICT, "node_alive"),
            ForgetError::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        Self::new(status, code, error.to_string())
    }
}
