//! `/v1/vms`: this node's VMs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use wire::{CreateVm, Vm, VmList};

use super::auth::Administrator;
use super::body::Body;
use super::path::Name;
use super::{ApiError, Context};

pub(super) async fn list(State(context): State<Context>) -> Result<Json<VmList>, ApiError> {
    Ok(Json(VmList { vms: context.driver.vms().await? }))
}

pub(super) async fn show(State(context): State<Context>, Name(id): Name) -> Result<Json<Vm>, ApiError> {
    let vm = context.driver.vms().await?.into_iter().find(|vm| vm.id == id);
    vm.map(Json).ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "unknown_vm", format!("this node has no VM {id}"))
    })
}

pub(super) async fn create(
    State(context): State<Context>,
    _: Administrator,
    Body(request): Body<CreateVm>,
) -> Result<(StatusCode, Json<Vm>), ApiError> {
    Ok((StatusCode::CREATED, Json(context.driver.create(request).await?)))
}

pub(super) async fn remove(
    State(context): State<Context>,
    _: Administrator,
    Name(id): Name,
) -> Result<(StatusCode, Json<Vm>), ApiError> {
    Ok((StatusCode::ACCEPTED, Json(context.driver.remove(id).await?)))
}
