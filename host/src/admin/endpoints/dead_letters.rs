//! `/api/v1/dead-letters`.

use super::{Json, JsonResult, NoQuery, PathText, Principal, Query, Service};
use crate::api::{DeadLettersQuery, DeliveryView, ListPage, RequeueAnswer};

pub(super) async fn list(
    service: Service,
    Query(query): Query<DeadLettersQuery>,
) -> JsonResult<ListPage<DeliveryView>> {
    Ok(Json(service.dead_letters(query).await?))
}

pub(super) async fn show(
    service: Service,
    PathText(id): PathText,
    _: NoQuery,
) -> JsonResult<DeliveryView> {
    Ok(Json(service.dead_letter(&id).await?))
}

pub(super) async fn requeue(
    service: Service,
    by: Principal,
    PathText(id): PathText,
    _: NoQuery,
) -> JsonResult<RequeueAnswer> {
    Ok(Json(service.requeue(&id, by).await?))
}
