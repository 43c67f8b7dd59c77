//! The HTTP side of the admin API: one function a route. It reads the request, asks the service,
//! and answers.

mod access;
mod dead_letters;
mod document;
mod events;
mod follow;
mod handlers;
mod health;
mod holds;
mod jobs;
mod lists;
mod live;
mod quarantine;
mod replay;
mod session;
mod sources;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ApiError;
use super::extract::{Json, JsonBody, PathText, Peer, Service, json_bytes, json_response};
use super::guard::{RECONCILE_BODY_BYTES_MAX, STATE_BODY_BYTES_MAX};
use super::principal::Principal;
use super::query::{NoParameters, Query};
use super::service::AdminService;

/// An answer of JSON, or the error.
type JsonResult<T> = Result<Json<T>, ApiError>;
/// For routes that take no parameters.
type NoQuery = Query<NoParameters>;

/// Every route.
pub(super) fn router() -> Router<Arc<AdminService>> {
    routes_with_document().split_for_parts().0
}

/// The OpenAPI document of every route.
pub(super) fn document() -> OpenApi {
    document::complete(routes_with_document().split_for_parts().1)
}

fn routes_with_document() -> OpenApiRouter<Arc<AdminService>> {
    OpenApiRouter::with_openapi(document::base())
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(session::sign_in))
        .routes(routes!(session::exchange))
        .routes(routes!(session::sign_out))
        .routes(routes!(document::show))
        .routes(routes!(access::who_am_i))
        .routes(routes!(access::login_code))
        .routes(routes!(access::tokens, access::create_token))
        .routes(routes!(access::revoke_token))
        .routes(routes!(access::audit))
        .routes(routes!(events::list))
        .routes(routes!(events::count))
        .routes(routes!(live::live))
        .routes(routes!(events::export))
        .routes(routes!(follow::follow))
        .routes(routes!(events::reads))
        .routes(routes!(events::rerun))
        .routes(routes!(events::show))
        .routes(routes!(events::body))
        .routes(routes!(events::why))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::causes))
        .routes(routes!(dead_letters::count))
        .routes(routes!(dead_letters::requeue_set))
        .routes(routes!(dead_letters::discard_set))
        .routes(routes!(dead_letters::show))
        .routes(routes!(dead_letters::requeue))
        .routes(routes!(lists::handlers))
        .merge(handler_routes())
        .merge(reconcile_routes())
        .routes(routes!(lists::destinations))
        .routes(routes!(lists::routes))
        .routes(routes!(lists::schedules))
        .routes(routes!(lists::refusals))
        .routes(routes!(lists::settings))
        .routes(routes!(lists::inbox))
        .routes(routes!(lists::unreadable))
        .routes(routes!(lists::stats))
        .routes(routes!(lists::confirm_time))
        .routes(routes!(holds::list, holds::place))
        .routes(routes!(holds::release))
        .routes(routes!(quarantine::list))
        .routes(routes!(quarantine::trial))
        .routes(routes!(quarantine::release_all))
        .routes(routes!(quarantine::show))
        .routes(routes!(quarantine::release))
        .routes(routes!(sources::list))
        .routes(routes!(sources::show))
        .routes(routes!(sources::send_sample))
        .routes(routes!(sources::open_window, sources::close_window))
        .routes(routes!(sources::forget_secret))
        .routes(routes!(sources::show_secret))
        .routes(routes!(replay::replay))
        .routes(routes!(replay::retry))
        .routes(routes!(replay::cancel))
        .routes(routes!(replay::erase))
        .routes(routes!(jobs::list, jobs::create))
        .routes(routes!(jobs::count))
        .routes(routes!(jobs::show))
        .routes(routes!(jobs::live))
        .routes(routes!(jobs::pause))
        .routes(routes!(jobs::resume))
        .routes(routes!(jobs::cancel))
}

/// The route that takes the bodies of webhooks.
fn reconcile_routes() -> OpenApiRouter<Arc<AdminService>> {
    OpenApiRouter::new()
        .routes(routes!(sources::reconcile))
        .layer(DefaultBodyLimit::max(RECONCILE_BODY_BYTES_MAX))
}

/// The routes of one handler. Their bodies may carry a value of its state.
fn handler_routes() -> OpenApiRouter<Arc<AdminService>> {
    OpenApiRouter::new()
        .routes(routes!(handlers::show))
        .routes(routes!(handlers::history))
        .routes(routes!(handlers::diff))
        .routes(routes!(handlers::roll_back))
        .routes(routes!(handlers::pin, handlers::unpin))
        .routes(routes!(handlers::rename))
        .routes(routes!(handlers::state, handlers::write_state, handlers::clear_state))
        .routes(routes!(handlers::state_value))
        .layer(DefaultBodyLimit::max(STATE_BODY_BYTES_MAX))
}
