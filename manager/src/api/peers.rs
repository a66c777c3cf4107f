//! `/v1/peers/{node}/services`: where peers say what they serve.

use axum::Json;
use axum::extract::State;
use wire::{PeerAck, PeerServices};

use super::auth::PeerManager;
use super::body::Body;
use super::path::Name;
use super::{ApiError, Context};

pub(super) async fn put_services(
    State(context): State<Context>,
    _: PeerManager,
    Name(node): Name,
    Body(account): Body<PeerServices>,
) -> Result<Json<PeerAck>, ApiError> {
    Ok(Json(context.driver.account(node, account).await?))
}
