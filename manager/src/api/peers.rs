//! `/v1/peers/{node}/services`: where peers say what they serve.

use axum::Json;
use axum::extract::{Path, State};
use wire::{PeerAck, PeerServices};

use super::auth::PeerManager;
use super::body::Body;
use super::{ApiError, Context};

pub(super) async fn put_services(
    State(context): State<Context>,
    _: PeerManager,
    Path(node): Path<String>,
    Body(account): Body<PeerServices>,
) -> Result<Json<PeerAck>, ApiError> {
    Ok(Json(context.driver.account(node, account).await?))
}
