//! Request bodies: JSON that is understood as a whole, or an error that names the field.

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::ApiError;

/// A body of type `T`.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            let status = rejection.status();
            ApiError::new(status, "body", rejection.body_text())
        })?;
        parse(&bytes).map(Self)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let invalid = |code, message: String| ApiError::new(StatusCode::BAD_REQUEST, code, message);
    // serde would take a list for a struct, field by field.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(invalid("invalid_body", "a JSON object is expected".to_owned()));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let answer = invalid("invalid_body", error.into_inner().to_string());
        if path == "." { answer } else { answer.at(path) }
    })?;
    json.end().map_err(|error| invalid("invalid_body", error.to_string()))?;
    Ok(value)
}
