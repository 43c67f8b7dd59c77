//! Errors of the admin API, and the problem documents (RFC 9457) that are their answers.
//!
//! An error travels in the extensions of the response to `guard`, which knows the request's id and
//! writes the document.

use std::borrow::Cow;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use weir_store::StoreError;

use super::access::AccessDenied;
use super::identity::{IdentityError, TokenStoreError};
use super::json;
use super::permissions::NotPermitted;
use super::query::QueryError;
use super::service::ScopeError;
use crate::api::ApiProblem;
use crate::jobs::JobError;

/// Seconds after which to try again, if the cause is transient.
const RETRY_AFTER_S: u16 = 1;
/// Seconds after which to try to sign in again.
const SIGN_IN_RETRY_AFTER_S: u16 = 60;

/// A request that was not done. The code is part of the interface; the sentence may change.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    /// Seconds after which to try again, if that can help.
    retry_after: Option<u16>,
}

type ErrorDetail = Cow<'static, str>;

impl ApiError {
    /// An error that stays until something changes.
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<ErrorDetail>,
    ) -> Self {
        Self { status, code, detail: detail.into(), retry_after: None }
    }

    /// An error that may be gone in a second.
    pub(crate) fn transient(code: &'static str, detail: impl Into<ErrorDetail>) -> Self {
        Self { retry_after: Some(RETRY_AFTER_S), ..Self::unavailable(code, detail) }
    }

    pub(crate) fn unavailable(code: &'static str, detail: impl Into<ErrorDetail>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }

    pub(crate) fn bad_request(code: &'static str, detail: impl Into<ErrorDetail>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub(crate) fn not_found(code: &'static str, detail: impl Into<ErrorDetail>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// The request does not fit the present state.
    pub(crate) fn conflict(code: &'static str, detail: impl Into<ErrorDetail>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// The thing existed and is gone.
    pub(crate) fn gone(code: &'static str, detail: impl Into<ErrorDetail>) -> Self {
        Self::new(StatusCode::GONE, code, detail)
    }

    pub(crate) fn internal(code: &'static str, detail: impl Into<ErrorDetail>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, detail)
    }

    /// The client asked more often than it may, and may ask again after this time.
    pub(crate) fn too_many_requests(wait: Duration) -> Self {
        let seconds = wait.as_secs().saturating_add(1);
        let retry_after = Some(u16::try_from(seconds).unwrap_or(u16::MAX));
        let detail = "this token asks more often than admin.rate permits";
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self { retry_after, ..Self::new(status, "too_many_requests", detail) }
    }

    /// Text in the path that is not an id.
    pub(crate) fn invalid_id(error: &weir_core::id::InvalidId) -> Self {
        Self::bad_request("invalid_id", error.to_string())
    }

    /// An answer of the framework, of which only the status is known.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let code = match status {
            StatusCode::BAD_REQUEST => "malformed",
            StatusCode::PAYLOAD_TOO_LARGE => "body_too_large",
            _ if status.is_client_error() => "refused",
            _ => "internal",
        };
        Self::new(status, code, status.canonical_reason().unwrap_or("unknown error"))
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The sentence for people.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// True if it may be gone in a second.
    pub(crate) fn is_transient(&self) -> bool {
        self.retry_after.is_some()
    }

    /// True if the hub is the cause, and not what was asked for.
    pub(crate) fn is_of_hub(&self) -> bool {
        self.status.is_server_error()
    }

    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// The document. Other headers of the answer, such as `Allow`, are kept.
    pub(crate) fn document(self, mut headers: HeaderMap, request_id: &str) -> Response {
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let document = ApiProblem {
            title: self.status.canonical_reason().unwrap_or("Refused").to_owned(),
            status: self.status.as_u16(),
            code: self.code.to_owned(),
            detail: self.detail.into_owned(),
            request_id: request_id.to_owned(),
        };
        (self.status, headers, json::encode(&document).unwrap_or_default()).into_response()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<AccessDenied> for ApiError {
    fn from(denied: AccessDenied) -> Self {
        let (status, code) = match denied {
            AccessDenied::HostMalformed => (StatusCode::BAD_REQUEST, "host_malformed"),
            AccessDenied::HostNotAllowed => (StatusCode::MISDIRECTED_REQUEST, "host_not_allowed"),
            AccessDenied::OriginNotAllowed => (StatusCode::FORBIDDEN, "origin_not_allowed"),
        };
        Self::new(status, code, denied.to_string())
    }
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        let said = error.to_string();
        let refused = |code| Self::new(StatusCode::UNAUTHORIZED, code, said.clone());
        match error {
            IdentityError::TokenMissing => refused("token_missing"),
            IdentityError::TokenMismatch => refused("token_mismatch"),
            IdentityError::TokenExpired { .. } => refused("token_expired"),
            IdentityError::CodeInvalid => refused("code_invalid"),
            IdentityError::TooManyFailures => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                let retry_after = Some(SIGN_IN_RETRY_AFTER_S);
                Self { retry_after, ..Self::new(status, "too_many_sign_ins", said) }
            }
            IdentityError::Store(error) => error.into(),
        }
    }
}

impl From<NotPermitted> for ApiError {
    fn from(error: NotPermitted) -> Self {
        let said = error.to_string();
        match error {
            NotPermitted::Unknown(error) => error.into(),
            NotPermitted::RoleMissing { .. } => {
                Self::new(StatusCode::FORBIDDEN, "role_missing", said)
            }
        }
    }
}

impl From<TokenStoreError> for ApiError {
    fn from(error: TokenStoreError) -> Self {
        let said = error.to_string();
        match error {
            TokenStoreError::NameTaken(_) => Self::conflict("token_name_taken", said),
            TokenStoreError::TooMany => Self::conflict("too_many_tokens", said),
            TokenStoreError::Unknown(_) => Self::not_found("token_not_found", said),
            TokenStoreError::Store(error) => error.into(),
        }
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        let said = error.to_string();
        match error {
            JobError::Unknown(_) => Self::not_found("job_not_found", said),
            JobError::Differs(_) => Self::conflict("job_differs", said),
            JobError::TooMany => Self::conflict("too_many_jobs", said),
            JobError::Refused(_) => Self::conflict("job_over", said),
            JobError::Store(error) => error.into(),
        }
    }
}

impl From<ScopeError> for ApiError {
    fn from(error: ScopeError) -> Self {
        match error {
            ScopeError::Malformed(error) => Self::bad_request("invalid_scope", error.to_string()),
            ScopeError::Unknown(detail) => Self::not_found("unknown_name", detail),
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        Self::bad_request(error.code(), error.to_string())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            // All that a client can get wrong here is a cursor: everything else was checked before.
            StoreError::Invalid(why) => Self::bad_request("invalid_parameter", why),
            StoreError::Overloaded { .. }
            | StoreError::DiskFull
            | StoreError::Unavailable { .. }
            | StoreError::Unknown { .. } => Self::transient("store_busy", error.to_string()),
            StoreError::Poisoned { .. } | StoreError::Closed => {
                Self::unavailable("store_unavailable", error.to_string())
            }
            _ => {
                tracing::error!(%error, "the store failed to answer an admin request");
                Self::internal("store_failed", "the store failed; the log says how")
            }
        }
    }
}
