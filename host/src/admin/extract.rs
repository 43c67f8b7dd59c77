//! Extractors and answers of endpoints: the service, ids in paths, JSON bodies, JSON answers.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_core::id::InvalidId;

use super::error::ApiError;
use super::json;
use super::service::AdminService;

/// The service, as an endpoint takes it.
pub(crate) type Service = State<Arc<AdminService>>;

/// The one variable part of a path. Empty if it is not UTF-8, which is not an id either.
#[derive(Debug)]
pub(crate) struct PathText(pub(crate) String);

impl PathText {
    /// The id of the kind that is asked for.
    pub(crate) fn id<T: FromStr<Err = InvalidId>>(&self) -> Result<T, ApiError> {
        self.0.parse().map_err(|error| ApiError::invalid_id(&error))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(text.map(|Path(text)| text).unwrap_or_default()))
    }
}

/// The address of the client's end of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    /// A request that came over no connection is of this process.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get().copied();
        Ok(peer.unwrap_or(Self(Ipv4Addr::LOCALHOST.into())))
    }
}

/// A JSON body. Fields that its type does not know are an error.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|rejection| ApiError::of_status(rejection.status()))?;
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            let detail = format!("the JSON body is not valid here: {error}");
            ApiError::bad_request("malformed", detail)
        })
    }
}

/// A JSON answer with the status 200.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        json_bytes(&self.0).map_or_else(IntoResponse::into_response, json_response)
    }
}

/// JSON as the body of an answer.
pub(crate) fn json_bytes(value: &impl Serialize) -> Result<Bytes, ApiError> {
    json::encode(value).map(Bytes::from).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written as JSON");
        ApiError::of_status(StatusCode::INTERNAL_SERVER_ERROR)
    })
}

/// An answer of bytes that are JSON.
pub(crate) fn json_response(bytes: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}
