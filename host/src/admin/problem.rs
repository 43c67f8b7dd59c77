//! ApiError documents (RFC 9457): every answer that is not what was asked for.
//!
//! A problem travels through the response's extensions to `guard`, which alone knows the request's id and writes it.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use weir_store::StoreError;

use super::access::AccessDenied;
use super::json;
use super::query::QueryError;
use super::scope::ScopeError;

/// When to come back, in seconds, if the reason is passing.
const RETRY_AFTER_S: u16 = 1;

/// Why not. The code is part of the released interface; the sentence may change.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    passing: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    request_id: &'a str,
}

impl ApiError {
    /// A problem that stays until something changes.
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, code, detail: detail.into(), passing: false }
    }

    /// A problem that may be gone in a second.
    pub(super) fn passing(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self { status, code, detail: detail.into(), passing: true }
    }

    /// What is asked for is not there.
    pub(super) fn not_found(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// An id in the path that is none.
    pub(super) fn invalid_id(error: &weir_core::id::InvalidId) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_id", error.to_string())
    }

    /// For an answer that the framework gave, of which only the status is known.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let code = match status {
            StatusCode::BAD_REQUEST => "malformed",
            StatusCode::PAYLOAD_TOO_LARGE => "body_too_large",
            _ if status.is_client_error() => "refused",
            _ => "internal",
        };
        Self::new(status, code, status.canonical_reason().unwrap_or("no reason known"))
    }

    /// The stable code.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// The document. Other headers of the answer, such as `Allow`, are kept.
    pub(super) fn document(&self, mut headers: HeaderMap, request_id: &str) -> Response {
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.passing {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let document = Document {
            title: self.status.canonical_reason().unwrap_or("Refused"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            request_id,
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
            AccessDenied::TokenMissing => (StatusCode::UNAUTHORIZED, "token_missing"),
            AccessDenied::TokenMismatch => (StatusCode::UNAUTHORIZED, "token_mismatch"),
        };
        Self::new(status, code, denied.to_string())
    }
}

impl From<ScopeError> for ApiError {
    fn from(bad: ScopeError) -> Self {
        match bad {
            ScopeError::Malformed(detail) => {
                Self::new(StatusCode::BAD_REQUEST, "invalid_scope", detail)
            }
            ScopeError::Unknown(detail) => Self::not_found("unknown_name", detail),
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(bad: QueryError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, bad.code(), bad.to_string())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            // What a caller got wrong here is a cursor: everything else was checked before.
            StoreError::Invalid(why) => {
                Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", why)
            }
            StoreError::Overloaded { .. } | StoreError::DiskFull => {
                Self::passing("store_busy", error.to_string())
            }
            StoreError::Poisoned { .. } | StoreError::Closed => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Self::new(status, "store_unavailable", error.to_string())
            }
            _ => {
                tracing::error!(%error, "store failed to answer an operator");
                let detail = "the store failed; the log says how";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store_failed", detail)
            }
        }
    }
}
