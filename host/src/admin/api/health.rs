//! `/health`, `/health/live`, `/health/ready`, `/metrics`. Parameters are let through: probes add what they like.

use axum::response::IntoResponse as _;
use http::header::CONTENT_TYPE;
use serde_json::json;

use super::{Answer, Hub, Problem, StatusCode, json};
use crate::observe::exposition;

/// The state of everything, for people.
pub(in crate::admin) async fn health(hub: Hub) -> Answer {
    let report = hub.health.report(&hub.metrics, (hub.handlers)()).await;
    let status = match hub.health.ready() {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    json::answer(status, &report)
}

/// Whether a supervisor should leave the process alone.
pub(in crate::admin) async fn live(hub: Hub) -> Answer {
    if !hub.health.live() {
        let detail = "the store takes no more writes; only a restart helps";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_poisoned", detail));
    }
    json::answer(StatusCode::OK, &json!({ "status": "ok" }))
}

/// Whether webhooks are taken.
pub(in crate::admin) async fn ready(hub: Hub) -> Answer {
    hub.health.ready().map_err(|reason| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason, "webhooks are not taken")
    })?;
    json::answer(StatusCode::OK, &json!({ "status": "ok" }))
}

/// What was counted.
pub(in crate::admin) async fn metrics(hub: Hub) -> Answer {
    let text = hub.metrics.encode_with(&hub.health.scrape().await);
    Ok(([(CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response())
}
