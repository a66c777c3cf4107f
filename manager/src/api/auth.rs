//! Who may write. An extractor in front of the body's: a caller without the token learns nothing else.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};

use super::{ApiError, Context};
use crate::identity::Token;

/// The caller is an administrator.
pub(super) struct Administrator;

/// The caller is a peer's manager.
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
        check(parts, &context.peer_token).map(|()| Self)
    }
}

fn check(parts: &Parts, token: &Token) -> Result<(), ApiError> {
    if token.admits(parts.headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes)) {
        return Ok(());
    }
    let message = "this request needs the header `Authorization: Bearer <token>` with the right token";
    Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message))
}
