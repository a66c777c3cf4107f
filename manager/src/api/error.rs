//! Errors as answers.

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use manager_core::core::{CreateError, RemoveError, ServicesError};
use manager_core::peers::AccountError;
use wire::ErrorBody;

use crate::driver::RequestError;

/// An error with its status.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    body: ErrorBody,
}

impl ApiError {
    /// An error with no field to blame.
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, body: ErrorBody::new(code, message) }
    }

    /// The same error, blamed on the field at `path`.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.body = self.body.at(path);
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110, 15.5.2: a 401 names the scheme.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let (status, code, path) = match &error {
            RequestError::Create(error) => match error {
                CreateError::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not_ready", None),
                CreateError::NotInPool(_) => {
                    (StatusCode::BAD_REQUEST, "invalid_field", Some("addr".to_owned()))
                }
                CreateError::InUse { .. } => {
                    (StatusCode::CONFLICT, "address_in_use", Some("addr".to_owned()))
                }
                CreateError::NoRoom { .. } => (StatusCode::CONFLICT, "no_room", None),
                CreateError::Exhausted(_) => (StatusCode::CONFLICT, "pool_exhausted", None),
            },
            RequestError::Services(error) => match error {
                ServicesError::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not_ready", None),
                ServicesError::Changed { .. } => (StatusCode::CONFLICT, "changed", Some("expect".to_owned())),
                ServicesError::NoRoom { .. } => {
                    (StatusCode::CONFLICT, "no_room", Some("services".to_owned()))
                }
            },
            RequestError::Remove(error) => match error {
                RemoveError::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not_ready", None),
                RemoveError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_vm", None),
                RemoveError::LoadBalancer(_) => (StatusCode::CONFLICT, "load_balancer", None),
                RemoveError::Removing(_) => (StatusCode::CONFLICT, "removing", None),
                RemoveError::Reserved(_) => (StatusCode::CONFLICT, "reserved", None),
            },
            RequestError::Account(error) => match error {
                AccountError::UnknownNode(_) => (StatusCode::NOT_FOUND, "unknown_node", None),
                AccountError::Service { index, field, .. } => {
                    (StatusCode::BAD_REQUEST, "invalid_field", Some(format!("services[{index}].{field}")))
                }
            },
            RequestError::Disk => (StatusCode::INSUFFICIENT_STORAGE, "disk", None),
            RequestError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", None),
        };
        let answer = Self::new(status, code, error.to_string());
        match path {
            Some(path) => answer.at(path),
            None => answer,
        }
    }
}

pub(super) async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {}", uri.path()))
}

pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
