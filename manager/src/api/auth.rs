//! Who may write. An extractor in front of the body's: a caller without the token learns nothing else.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};

use super::path::Name;
use super::places::Caller;
use super::{ApiError, Context};
use crate::identity::Token;

/// The caller is an administrator.
pub(super) struct Administrator;

/// The caller is the manager of the peer that the path names: it has the peers' token, and speaks from where that peer is
/// configured to be. So a second node of the same name does not speak for the first, whatever its configuration says.
pub(super) struct PeerManager;

impl FromRequestParts<Context> for Administrator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, ApiError> {
        check(parts, &context.api_token).map(|()| Self)
    }
}

impl FromRequestParts<Context> for PeerManager {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, ApiError> {
        check(parts, &context.peer_token)?;
        let Name(node) = Name::from_request_parts(parts, context).await?;
        let Some(caller) = parts.extensions.get::<Caller>() else { return Ok(Self) };
        let Some(configured) = caller.elsewhere(&node) else { return Ok(Self) };
        let message = format!(
            "node {node} is configured here at {configured}, and this comes from {}: either the address is wrong, or two \
             nodes have that name",
            caller.addr
        );
        Err(ApiError::new(StatusCode::FORBIDDEN, "wrong_address", message))
    }
}

fn check(parts: &Parts, token: &Token) -> Result<(), ApiError> {
    if token.admits(parts.headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes)) {
        return Ok(());
    }
    let message = "this request needs the header `Authorization: Bearer <token>` with the right token";
    Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message))
}
