//! `/v1/cluster`: the cluster as this node sees it.

use axum::Json;
use axum::extract::State;
use wire::ClusterView;

use super::{ApiError, Context};

pub(super) async fn show(State(context): State<Context>) -> Result<Json<ClusterView>, ApiError> {
    let mut view = context.driver.cluster().await?;
    if let Some(vip) = &context.vip {
        view.vip = Some(vip.status().await?);
    }
    Ok(Json(view))
}
