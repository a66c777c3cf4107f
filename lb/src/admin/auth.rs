//! Who may write. Who may ask at all is decided before, when a connection is taken.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;
use subtle::ConstantTimeEq;

use super::{Api, ApiError};

/// Proof that the request carries the token. Without it: 401.
pub(super) struct Writer;

impl FromRequestParts<Arc<Api>> for Writer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let Some(token) = &api.config.token else { return Err(ApiError::no_token()) };
        let mut given = parts.headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (given.next(), given.next()) else { return Err(ApiError::unauthorized()) };
        let (scheme, given) = value.as_bytes().split_at_checked(7).ok_or_else(ApiError::unauthorized)?;
        let right = bool::from(given.ct_eq(token.as_bytes()));
        if scheme.eq_ignore_ascii_case(b"bearer ") && right {
            Ok(Self)
        } else {
            Err(ApiError::unauthorized())
        }
    }
}
