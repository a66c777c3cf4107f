//! The one shape of every error answer.

use serde::{Deserialize, Serialize};

/// The body of every answer with a 4xx or 5xx status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong, for programs (`code`) and for people (`message`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// A stable word in `snake_case`, such as `invalid_field` or `pool_exhausted`.
    pub code: String,
    /// One sentence that names the offending value.
    pub message: String,
    /// The field or parameter at fault, as a dotted path (`upstreams[2].addr`), when one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl ErrorBody {
    /// An error with no field to blame.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { error: ErrorDetail { code: code.to_owned(), message: message.into(), path: None } }
    }

    /// The same error, blamed on the field at `path`.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.error.path = Some(path.into());
        self
    }
}
