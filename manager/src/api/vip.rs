//! `/v1/vip`: the public address.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use manager_core::vip::{Handed, HandoverError};
use wire::{VipHandedOver, VipHandover, VipNomination, VipNominationAnswer, VipStatus};

use super::auth::{Administrator, PeerManager};
use super::body::Body;
use super::path::Name;
use super::{ApiError, Context};
use crate::vip::{Handle, RequestError};

/// `GET /v1/vip`.
pub(super) async fn show(State(context): State<Context>) -> Result<Json<VipStatus>, ApiError> {
    Ok(Json(vip(&context)?.status().await?))
}

/// `POST /v1/vip/handover`.
pub(super) async fn handover(
    State(context): State<Context>,
    _: Administrator,
    Body(VipHandover { to }): Body<VipHandover>,
) -> Result<Json<VipHandedOver>, ApiError> {
    let owner = match vip(&context)?.handover(to).await? {
        Handed::To(node) => Some(node),
        Handed::Nothing => None,
    };
    Ok(Json(VipHandedOver { owner }))
}

/// `POST /v1/peers/{node}/vip/nomination`: `node` asks this one to take the address.
pub(super) async fn nominate(
    State(context): State<Context>,
    _: PeerManager,
    Name(node): Name,
    Body(nomination): Body<VipNomination>,
) -> Result<Json<VipNominationAnswer>, ApiError> {
    Ok(Json(vip(&context)?.nominated(node, nomination).await?))
}

fn vip(context: &Context) -> Result<&Handle, ApiError> {
    context.vip.as_ref().ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "no_vip",
            "this cluster has no public address: see [vip] in its configuration",
        )
    })
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let (status, code, path) = match &error {
            RequestError::Handover(error) => match error {
                HandoverError::NotOwner { .. } => (StatusCode::CONFLICT, "not_owner", None),
                HandoverError::Busy(_) => (StatusCode::CONFLICT, "busy", None),
                HandoverError::Same(_) => (StatusCode::CONFLICT, "same_node", Some("to")),
                HandoverError::Unknown(_) => (StatusCode::BAD_REQUEST, "invalid_field", Some("to")),
                HandoverError::NotEligible { .. } => (StatusCode::CONFLICT, "not_eligible", Some("to")),
                HandoverError::NoPeer(_) => (StatusCode::CONFLICT, "no_peer", None),
                HandoverError::Failed(_) => (StatusCode::BAD_GATEWAY, "handover_failed", None),
            },
            RequestError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", None),
        };
        let answer = Self::new(status, code, error.to_string());
        match path {
            Some(path) => answer.at(path),
            None => answer,
        }
    }
}
