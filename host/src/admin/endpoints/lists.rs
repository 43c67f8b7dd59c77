//! `/api/v1/handlers`, `/api/v1/destinations`, `/api/v1/routes`, `/api/v1/schedules`,
//! `/api/v1/refusals`, `/api/v1/inbox`, `/api/v1/settings`, `/api/v1/unreadable`: short lists on
//! one page; `/api/v1/stats`; and `/api/v1/time/confirm`.

use super::{Json, JsonResult, NoQuery, Principal, Query, Service};
use crate::api::{
    ConfirmTimeAnswer, DestinationView, HandlerView, InboxMessageView, ListPage, RefusalView,
    RefusalsQuery, RuleView, ScheduleView, SettingsAnswer, StatsAnswer, StatsQuery, UnreadableView,
};

/// Every handler and its state.
#[utoipa::path(
    get,
    path = "/api/v1/handlers",
    tag = "targets",
    responses((status = 200, body = ListPage<HandlerView>, description = "Every handler"))
)]
pub(super) async fn handlers(service: Service, _: NoQuery) -> Json<ListPage<HandlerView>> {
    Json(ListPage::whole(service.handlers().await))
}

/// Every destination and its state.
#[utoipa::path(
    get,
    path = "/api/v1/destinations",
    tag = "targets",
    responses((status = 200, body = ListPage<DestinationView>, description = "Every destination"))
)]
pub(super) async fn destinations(service: Service, _: NoQuery) -> Json<ListPage<DestinationView>> {
    Json(ListPage::whole(service.destinations().await))
}

/// The rules of the routing table in force.
#[utoipa::path(
    get,
    path = "/api/v1/routes",
    tag = "targets",
    responses((status = 200, body = ListPage<RuleView>, description = "The rules"))
)]
pub(super) async fn routes(service: Service, _: NoQuery) -> Json<ListPage<RuleView>> {
    Json(service.rules())
}

/// The schedules with their next times.
#[utoipa::path(
    get,
    path = "/api/v1/schedules",
    tag = "sources",
    responses((status = 200, body = ListPage<ScheduleView>, description = "The schedules"))
)]
pub(super) async fn schedules(service: Service, _: NoQuery) -> Json<ListPage<ScheduleView>> {
    Json(service.schedules())
}

/// Refused requests that the hub remembers, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/refusals",
    tag = "sources",
    params(RefusalsQuery),
    responses((status = 200, body = ListPage<RefusalView>, description = "A page of refusals"))
)]
pub(super) async fn refusals(
    service: Service,
    Query(query): Query<RefusalsQuery>,
) -> JsonResult<ListPage<RefusalView>> {
    Ok(Json(service.refusals(query).await?))
}

/// The settings in force, with where each value comes from.
#[utoipa::path(
    get,
    path = "/api/v1/settings",
    tag = "store",
    responses((status = 200, body = SettingsAnswer, description = "The settings"))
)]
pub(super) async fn settings(service: Service, _: NoQuery) -> JsonResult<SettingsAnswer> {
    Ok(Json(service.settings().await?))
}

/// The last messages of inboxes.
#[utoipa::path(
    get,
    path = "/api/v1/inbox",
    tag = "targets",
    responses((status = 200, body = ListPage<InboxMessageView>, description = "The messages"))
)]
pub(super) async fn inbox(service: Service, _: NoQuery) -> Json<ListPage<InboxMessageView>> {
    Json(service.inbox_messages())
}

/// Rows of the store that could not be read and were set aside.
#[utoipa::path(
    get,
    path = "/api/v1/unreadable",
    tag = "store",
    responses((status = 200, body = ListPage<UnreadableView>, description = "The rows"))
)]
pub(super) async fn unreadable(service: Service, _: NoQuery) -> Json<ListPage<UnreadableView>> {
    Json(service.unreadable())
}

/// Confirms that the clock of the machine is right.
#[utoipa::path(
    post,
    path = "/api/v1/time/confirm",
    tag = "store",
    responses((status = 200, body = ConfirmTimeAnswer, description = "The time that is confirmed"))
)]
pub(super) async fn confirm_time(
    service: Service,
    by: Principal,
    _: NoQuery,
) -> JsonResult<ConfirmTimeAnswer> {
    Ok(Json(service.confirm_time(by).await?))
}

/// Counts and durations by step, for charts.
#[utoipa::path(
    get,
    path = "/api/v1/stats",
    tag = "store",
    params(StatsQuery),
    responses((status = 200, body = StatsAnswer, description = "The statistics"))
)]
pub(super) async fn stats(
    service: Service,
    Query(query): Query<StatsQuery>,
) -> JsonResult<StatsAnswer> {
    Ok(Json(service.stats(query).await?))
}
