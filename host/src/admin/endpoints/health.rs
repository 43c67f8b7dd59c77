//! `/health`, `/health/live`, `/health/ready`, `/metrics`. Any parameter is accepted: probes add
//! their own.

use axum::response::{IntoResponse as _, Response};
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::{HeaderMap, StatusCode};

use super::{ApiError, Json, JsonResult, Service};
use crate::api::{AliveAnswer, HealthReport};
use crate::observe::text::Format;

/// Reports the state of everything.
#[utoipa::path(
    get,
    path = "/health",
    tag = "health",
    responses(
        (status = 200, body = HealthReport, description = "Webhooks are accepted"),
        (status = 503, body = HealthReport, description = "Webhooks are not accepted")
    )
)]
pub(super) async fn health(service: Service) -> (StatusCode, Json<HealthReport>) {
    let status = match service.health.ready() {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(service.health_report().await))
}

/// Fails if only a restart helps.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "health",
    responses((status = 200, body = AliveAnswer, description = "It lives"))
)]
pub(super) async fn live(service: Service) -> JsonResult<AliveAnswer> {
    if !service.health.live() {
        let detail = "the store accepts no more writes; only a restart helps";
        return Err(ApiError::unavailable("store_poisoned", detail));
    }
    Ok(Json(AliveAnswer::ok()))
}

/// Fails while webhooks are refused.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "health",
    responses((status = 200, body = AliveAnswer, description = "Webhooks are accepted"))
)]
pub(super) async fn ready(service: Service) -> JsonResult<AliveAnswer> {
    let ready = service.health.ready();
    ready.map_err(|reason| ApiError::unavailable(reason, "webhooks are not accepted now"))?;
    Ok(Json(AliveAnswer::ok()))
}

/// Writes the metrics in the format that the scraper asks for.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses(
        (
            status = 200,
            description = "The metrics",
            content(
                (String = "text/plain; version=0.0.4; charset=utf-8"),
                (String = "application/openmetrics-text; version=1.0.0; charset=utf-8")
            )
        )
    )
)]
pub(super) async fn metrics(service: Service, headers: HeaderMap) -> Response {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::wanted(accepted);
    let text = service.metrics.encode_with(&service.scrape().await, format);
    // A cache in between must not give one format to a scraper that asked for the other.
    ([(CONTENT_TYPE, format.content_type()), (VARY, "accept")], text).into_response()
}
