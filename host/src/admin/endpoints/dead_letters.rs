//! `/api/v1/dead-letters`.

use super::{Json, JsonBody, JsonResult, NoQuery, PathText, Principal, Query, Service};
use crate::api::{
    DeadLetterActAnswer, DeadLetterActBody, DeadLetterCauses, DeadLetterSelection, DeadLetterSet,
    DeadLettersQuery, DeliveryView, ListPage, RequeueAnswer,
};

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

pub(super) async fn causes(service: Service, _: NoQuery) -> JsonResult<DeadLetterCauses> {
    Ok(Json(service.dead_letter_causes().await?))
}

pub(super) async fn count(
    service: Service,
    _: NoQuery,
    JsonBody(selection): JsonBody<DeadLetterSelection>,
) -> JsonResult<DeadLetterSet> {
    Ok(Json(service.dead_letter_set(&selection).await?))
}

pub(super) async fn requeue_set(
    service: Service,
    by: Principal,
    _: NoQuery,
    JsonBody(body): JsonBody<DeadLetterActBody>,
) -> JsonResult<DeadLetterActAnswer> {
    Ok(Json(service.requeue_set(body, by).await?))
}

pub(super) async fn discard_set(
    service: Service,
    by: Principal,
    _: NoQuery,
    JsonBody(body): JsonBody<DeadLetterActBody>,
) -> JsonResult<DeadLetterActAnswer> {
    Ok(Json(service.discard_set(body, by).await?))
}
