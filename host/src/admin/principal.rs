//! The principal: the client that makes a request of the admin API.

use std::fmt;

use axum::extract::FromRequestParts;
use http::StatusCode;
use http::request::Parts;

use super::error::ApiError;

/// The client that makes a request. The access check puts it into the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Principal {
    /// A client without a token: a probe, or a reader on this machine.
    Anonymous,
    /// A holder of the admin token.
    Operator,
}

impl Principal {
    /// The name in records and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let principal = parts.extensions.get().copied();
        // The guard sets it before every endpoint.
        principal.ok_or_else(|| ApiError::of_status(StatusCode::INTERNAL_SERVER_ERROR))
    }
}
