//! `/v1/scale`, `/v1/capacity` and `/v1/peers/{node}/scale`: how many service VMs there are, and how many there can be.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use wire::{Capacity, PeerScale, PeerScaled, PutScale, Scaled};

use super::auth::{Administrator, PeerManager};
use super::body::Body;
use super::path::Name;
use super::{ApiError, Context};
use crate::scale::Error;

/// `PUT /v1/scale`: so many service VMs in the whole cluster.
pub(super) async fn scale(
    State(context): State<Context>,
    _: Administrator,
    Body(PutScale { replicas }): Body<PutScale>,
) -> Result<Json<Scaled>, ApiError> {
    let scaled = context.scaler.scale(replicas).await?;
    let parts = scaled.nodes.iter().filter(|part| part.from != part.to);
    for part in parts {
        context.journal.write(&part.node, &format!("scaled from {} to {} service VMs", part.from, part.to));
    }
    Ok(Json(scaled))
}

/// `GET /v1/capacity`: what this node has and can bear.
pub(super) async fn capacity(State(context): State<Context>) -> Result<Json<Capacity>, ApiError> {
    Ok(Json(context.driver.capacity().await?))
}

/// `PUT /v1/peers/{from}/scale`: `from` carries out an administrator's wish; this is this node's part in it.
pub(super) async fn of_this_node(
    State(context): State<Context>,
    _: PeerManager,
    Name(from): Name,
    Body(PeerScale { services, expect }): Body<PeerScale>,
) -> Result<Json<PeerScaled>, ApiError> {
    if !context.scaler.knows(&from) {
        let message = format!("node {from} is not a configured peer");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_node", message));
    }
    let scaled = context.driver.set_services(services, expect).await?;
    let PeerScaled { from: before, to } = scaled;
    if before != to {
        context.journal.write(&from, &format!("scaled this node from {before} to {to} service VMs"));
    }
    Ok(Json(scaled))
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Own(error) => error.into(),
            Error::Plan(manager_core::scale::ScaleError::NoRoom { .. }) => {
                Self::new(StatusCode::CONFLICT, "no_room", message).at("replicas")
            }
            Error::Plan(manager_core::scale::ScaleError::Kept { .. }) => {
                Self::new(StatusCode::CONFLICT, "silent_nodes", message).at("replicas")
            }
            Error::Incomplete { .. } => Self::new(StatusCode::BAD_GATEWAY, "scale_incomplete", message),
        }
    }
}
