//! Bodies of writes: bounded in size and time, and their JSON errors blamed on a field.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;

use super::{Api, ApiError};

/// A body that was all there and is a `T`.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, ApiError> {
        let limit = api.config.max_body_bytes.size();
        let body = Limited::new(request.into_body(), limit).collect();
        let bytes = tokio::time::timeout(api.config.read_timeout_ms.duration(), body)
            .await
            .map_err(|_| ApiError::body_timeout())?
            .map_err(|e| {
                if e.is::<http_body_util::LengthLimitError>() {
                    ApiError::body_too_large(limit)
                } else {
                    ApiError::invalid_body(&e.to_string(), None)
                }
            })?
            .to_bytes();
        decode(&bytes).map(Self)
    }
}

/// Reads a value. Only when that fails, it is read once more to find the field to blame: keeping track of where one is
/// takes twice as long as reading.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        match serde_path_to_error::deserialize::<_, T>(&mut json) {
            // What is wrong comes after the value.
            Ok(_) => ApiError::invalid_body(&error.to_string(), None),
            Err(e) => {
                let path = e.path().to_string();
                ApiError::invalid_body(&e.into_inner().to_string(), (path != ".").then_some(path))
            }
        }
    })
}
