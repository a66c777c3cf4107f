//! Who may ask, and who may write. All that is known of an asker is decided here.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::AUTHORIZATION;
use http::request::Parts;
use subtle::ConstantTimeEq;

use super::connection::Connection;
use super::{Api, ApiError};

/// Answers 403 to addresses that are not allowed.
pub(super) async fn only_allowed(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Connection>().map(|connection| connection.peer.ip());
    if peer.is_some_and(|peer| api.config.allows(peer)) {
        next.run(request).await
    } else {
        ApiError::forbidden().into_response()
    }
}

/// Proof that the request carries the token. Without it: 401.
pub(super) struct Writer;

impl FromRequestParts<Arc<Api>> for Writer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let mut given = parts.headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (given.next(), given.next()) else { return Err(ApiError::unauthorized()) };
        let (scheme, token) = value.as_bytes().split_at_checked(7).ok_or_else(ApiError::unauthorized)?;
        let right = bool::from(token.ct_eq(api.config.token.as_bytes()));
        if scheme.eq_ignore_ascii_case(b"bearer ") && right {
            Ok(Self)
        } else {
            Err(ApiError::unauthorized())
        }
    }
}
