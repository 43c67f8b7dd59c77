//! `/health`, `/health/live`, `/health/ready`, `/metrics`. Parameters are let through: probes add what they like.

use axum::response::IntoResponse as _;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use serde_json::json;

use super::{ApiError, ApiResult, ServiceState, StatusCode, json};
use crate::admin::standing;
use crate::observe::text::Format;

/// The state of everything, for people.
pub(in crate::admin) async fn health(hub: ServiceState) -> ApiResult {
    let report = hub.health.report(&hub.metrics, standing::handlers(&hub).await).await;
    let status = match hub.health.ready() {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    json::answer(status, &report)
}

/// Whether a supervisor should leave the process alone.
pub(in crate::admin) async fn live(hub: ServiceState) -> ApiResult {
    if !hub.health.live() {
        let detail = "the store takes no more writes; only a restart helps";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "store_poisoned", detail));
    }
    json::answer(StatusCode::OK, &json!({ "status": "ok" }))
}

/// Whether webhooks are taken.
pub(in crate::admin) async fn ready(hub: ServiceState) -> ApiResult {
    hub.health.ready().map_err(|reason| {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, reason, "webhooks are not taken")
    })?;
    json::answer(StatusCode::OK, &json!({ "status": "ok" }))
}

/// The metrics, in the format that the scraper asks for.
pub(in crate::admin) async fn metrics(hub: ServiceState, headers: HeaderMap) -> ApiResult {
    let asked = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::wanted(asked);
    let states = standing::states(&hub).await;
    let scraped = hub.health.scrape(states, hub.clock.now()).await;
    let text = hub.metrics.encode_with(&scraped, format);
    // A cache in between must not hand one format to who asked for the other.
    Ok(([(CONTENT_TYPE, format.content_type()), (VARY, "accept")], text).into_response())
}
