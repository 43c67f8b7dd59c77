//! `/api/v1/handlers`, `/api/v1/destinations`, `/api/v1/routes`, `/api/v1/refusals`,
//! `/api/v1/inbox`, `/api/v1/settings`, `/api/v1/unreadable`: short lists on one page;
//! `/api/v1/stats`; and `/api/v1/time/confirm`.

use super::{Json, JsonResult, NoQuery, Principal, Query, Service};
use crate::api::{
    ConfirmTimeAnswer, DestinationView, HandlerView, InboxMessageView, ListPage, RefusalView,
    RefusalsQuery, RuleView, SettingsAnswer, StatsAnswer, StatsQuery, UnreadableView,
};

pub(super) async fn handlers(service: Service, _: NoQuery) -> Json<ListPage<HandlerView>> {
    Json(ListPage::whole(service.handlers().await))
}

pub(super) async fn destinations(service: Service, _: NoQuery) -> Json<ListPage<DestinationView>> {
    Json(ListPage::whole(service.destinations().await))
}

pub(super) async fn routes(service: Service, _: NoQuery) -> Json<ListPage<RuleView>> {
    Json(service.rules())
}

pub(super) async fn refusals(
    service: Service,
    Query(query): Query<RefusalsQuery>,
) -> JsonResult<ListPage<RefusalView>> {
    Ok(Json(service.refusals(query).await?))
}

pub(super) async fn settings(service: Service, _: NoQuery) -> JsonResult<SettingsAnswer> {
    Ok(Json(service.settings().await?))
}

pub(super) async fn inbox(service: Service, _: NoQuery) -> Json<ListPage<InboxMessageView>> {
    Json(service.inbox_messages())
}

pub(super) async fn unreadable(service: Service, _: NoQuery) -> Json<ListPage<UnreadableView>> {
    Json(service.unreadable())
}

pub(super) async fn confirm_time(
    service: Service,
    by: Principal,
    _: NoQuery,
) -> JsonResult<ConfirmTimeAnswer> {
    Ok(Json(service.confirm_time(by).await?))
}

pub(super) async fn stats(
    service: Service,
    Query(query): Query<StatsQuery>,
) -> JsonResult<StatsAnswer> {
    Ok(Json(service.stats(query).await?))
}
