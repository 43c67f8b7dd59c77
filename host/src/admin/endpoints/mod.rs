//! The HTTP side of the admin API: one function a route. It reads the request, asks the service,
//! and answers.

mod access;
mod dead_letters;
mod events;
mod health;
mod holds;
mod lists;
mod quarantine;
mod replay;
mod session;
mod sources;

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post};

use super::error::ApiError;
use super::extract::{Json, JsonBody, PathText, Peer, Service, json_bytes, json_response};
use super::principal::Principal;
use super::query::{NoParameters, Query};
use super::service::AdminService;

/// An answer of JSON, or the error.
type JsonResult<T> = Result<Json<T>, ApiError>;
/// For routes that take no parameters.
type NoQuery = Query<NoParameters>;

/// Every route.
pub(super) fn router() -> Router<Arc<AdminService>> {
    Router::new()
        .route("/health", get(health::health))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/login", post(session::sign_in))
        .route("/login/{code}", get(session::exchange))
        .route("/logout", post(session::sign_out))
        .merge(api())
}

fn api() -> Router<Arc<AdminService>> {
    Router::new()
        .route("/api/v1/whoami", get(access::who_am_i))
        .route("/api/v1/login-codes", post(access::login_code))
        .route("/api/v1/tokens", get(access::tokens).post(access::create_token))
        .route("/api/v1/tokens/{name}", delete(access::revoke_token))
        .route("/api/v1/events", get(events::list))
        .route("/api/v1/events/count", get(events::count))
        .route("/api/v1/events/{id}", get(events::show))
        .route("/api/v1/events/{id}/body", get(events::body))
        .route("/api/v1/events/{id}/why", get(events::why))
        .route("/api/v1/dead-letters", get(dead_letters::list))
        .route("/api/v1/dead-letters/causes", get(dead_letters::causes))
        .route("/api/v1/dead-letters/count", post(dead_letters::count))
        .route("/api/v1/dead-letters/requeue", post(dead_letters::requeue_set))
        .route("/api/v1/dead-letters/discard", post(dead_letters::discard_set))
        .route("/api/v1/dead-letters/{id}", get(dead_letters::show))
        .route("/api/v1/dead-letters/{id}/requeue", post(dead_letters::requeue))
        .route("/api/v1/handlers", get(lists::handlers))
        .route("/api/v1/destinations", get(lists::destinations))
        .route("/api/v1/routes", get(lists::routes))
        .route("/api/v1/refusals", get(lists::refusals))
        .route("/api/v1/settings", get(lists::settings))
        .route("/api/v1/inbox", get(lists::inbox))
        .route("/api/v1/unreadable", get(lists::unreadable))
        .route("/api/v1/stats", get(lists::stats))
        .route("/api/v1/holds", get(holds::list).post(holds::place))
        .route("/api/v1/holds/{id}", delete(holds::release))
        .route("/api/v1/quarantine", get(quarantine::list))
        .route("/api/v1/quarantine/trial", get(quarantine::trial))
        .route("/api/v1/quarantine/release", post(quarantine::release_all))
        .route("/api/v1/quarantine/{id}", get(quarantine::show))
        .route("/api/v1/quarantine/{id}/release", post(quarantine::release))
        .route("/api/v1/sources", get(sources::list))
        .route(
            "/api/v1/sources/{name}/secret-window",
            post(sources::open_window).delete(sources::close_window),
        )
        .route("/api/v1/sources/{name}/sample", post(sources::send_sample))
        .route("/api/v1/sources/{name}/secret", delete(sources::forget_secret))
        .route("/api/v1/sources/{name}/secret/show", post(sources::show_secret))
        .route("/api/v1/replay", post(replay::replay))
        .route("/api/v1/retry", post(replay::retry))
        .route("/api/v1/time/confirm", post(lists::confirm_time))
}
