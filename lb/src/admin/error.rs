//! The error answers of the admin API.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use wire::ErrorBody;

use crate::pool::{Invalid, Refused};

/// Carries the generation in force, on answers to writes that were refused because of it.
pub(super) const GENERATION: HeaderName = HeaderName::from_static("phalanx-generation");

/// An error answer.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    /// Boxed for being large: the answers that are none pay for it too.
    headers: Box<HeaderMap>,
    body: ErrorBody,
}

impl ApiError {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, headers: Box::default(), body: ErrorBody::new(code, message) }
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The connection is of no further use.
    fn closing(self) -> Self {
        self.with(CONNECTION, HeaderValue::from_static("close"))
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such resource")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "the resource does not have this method",
        )
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "writes need a valid bearer token")
            .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    pub(super) fn no_token() -> Self {
        let message = "writes need a token, and none is configured: set admin.token or admin.token_file";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
            .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    pub(super) fn body_timeout() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body did not arrive in time").closing()
    }

    pub(super) fn body_too_large(limit: usize) -> Self {
        let message = format!("the body is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message).closing()
    }

    pub(super) fn invalid_body(message: &str, path: Option<String>) -> Self {
        let mut error = Self::new(StatusCode::BAD_REQUEST, "invalid_body", message);
        error.body.error.path = path;
        error
    }

    pub(super) fn invalid_parameter(name: &str, message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", message);
        error.body = error.body.at(name);
        error
    }

    pub(super) fn too_many_readers() -> Self {
        let message = "the heartbeat has as many readers as may be, half of admin.max_connections";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_readers", message)
    }

    pub(super) fn not_ready(message: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", message)
    }

    /// On another connection the successor may be met.
    pub(super) fn upgrading() -> Self {
        let message = "a successor takes over, and what is written here would be lost: connect again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "upgrading", message).closing()
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        let mut error = Self::new(StatusCode::BAD_REQUEST, "invalid_field", invalid.message);
        error.body = error.body.at(invalid.path);
        error
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let (status, code, present) = match &refused {
            Refused::Stale { present, .. } => (StatusCode::CONFLICT, "stale_generation", *present),
            Refused::Conflict { present } => (StatusCode::CONFLICT, "generation_conflict", *present),
            Refused::Unknown { present, .. } => (StatusCode::NOT_FOUND, "unknown_upstream", *present),
        };
        Self::new(status, code, refused.to_string()).with(GENERATION, HeaderValue::from(present))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, *self.headers, Json(self.body)).into_response()
    }
}
