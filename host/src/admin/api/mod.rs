//! The answers, by what is asked about. Each function is one route: read the request, ask, show.

pub(super) mod dead_letters;
pub(super) mod events;
pub(super) mod health;
pub(super) mod holds;
pub(super) mod parts;
pub(super) mod quarantine;
pub(super) mod replay;
pub(super) mod retry;
mod seek;
pub(super) mod sources;
pub(super) mod why;

use std::sync::Arc;

use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use http::{StatusCode, Uri};
use weir_core::id::InvalidId;

use super::problem::ApiError;
use super::{AdminService, json, query, scope, views, waits};

type ApiResult = Result<Response, ApiError>;
type ServiceState = State<Arc<AdminService>>;
type Id = Result<Path<String>, PathRejection>;

/// The id in a path.
fn id<T: std::str::FromStr<Err = InvalidId>>(path: Id) -> Result<T, ApiError> {
    // An encoding that is no UTF-8 is no id either.
    let text = path.map(|Path(text)| text).unwrap_or_default();
    text.parse().map_err(|error| ApiError::invalid_id(&error))
}

/// The text in a path that may be any id.
fn any_id(path: Id) -> String {
    path.map(|Path(text)| text).unwrap_or_default()
}

/// What is asked for, from the body: JSON, with no field that is not known.
fn asked<T: serde::de::DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
) -> Result<T, ApiError> {
    let body = body.map_err(|rejection| ApiError::of_status(rejection.status()))?;
    serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("the body is not what is asked for here: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "malformed", detail)
    })
}
