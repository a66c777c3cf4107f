//! The name in a path, or an error of the same shape as all others.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::ApiError;

/// The one variable part of a path.
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let name: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        let refused = |rejection: PathRejection| {
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_path", rejection.body_text())
        };
        name.map(|Path(name)| Self(name)).map_err(refused)
    }
}
