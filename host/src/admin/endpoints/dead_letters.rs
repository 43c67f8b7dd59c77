//! `/api/v1/dead-letters`.

use super::{Json, JsonBody, JsonResult, NoQuery, PathText, Principal, Query, Service};
use crate::api::{
    DeadLetterActAnswer, DeadLetterActBody, DeadLetterCauses, DeadLetterSelection, DeadLetterSet,
    DeadLettersQuery, DeliveryView, ListPage, RequeueAnswer,
};

/// Dead letters, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/dead-letters",
    tag = "deliveries",
    params(DeadLettersQuery),
    responses(
        (status = 200, body = ListPage<DeliveryView>, description = "A page of dead letters")
    )
)]
pub(super) async fn list(
    service: Service,
    Query(query): Query<DeadLettersQuery>,
) -> JsonResult<ListPage<DeliveryView>> {
    Ok(Json(service.dead_letters(query).await?))
}

/// One dead letter with its attempts.
#[utoipa::path(
    get,
    path = "/api/v1/dead-letters/{id}",
    tag = "deliveries",
    params(("id" = String, Path, description = "The id of a delivery")),
    responses((status = 200, body = DeliveryView, description = "The dead letter"))
)]
pub(super) async fn show(
    service: Service,
    PathText(id): PathText,
    _: NoQuery,
) -> JsonResult<DeliveryView> {
    Ok(Json(service.dead_letter(&id).await?))
}

/// Makes a dead letter due again.
#[utoipa::path(
    post,
    path = "/api/v1/dead-letters/{id}/requeue",
    tag = "deliveries",
    params(("id" = String, Path, description = "The id of a delivery")),
    responses(
        (status = 200, body = RequeueAnswer, description = "The deliveries that are due again")
    )
)]
pub(super) async fn requeue(
    service: Service,
    by: Principal,
    PathText(id): PathText,
    _: NoQuery,
) -> JsonResult<RequeueAnswer> {
    Ok(Json(service.requeue(&id, by).await?))
}

/// The causes of dead letters, with how many each has.
#[utoipa::path(
    get,
    path = "/api/v1/dead-letters/causes",
    tag = "deliveries",
    responses((status = 200, body = DeadLetterCauses, description = "The causes"))
)]
pub(super) async fn causes(service: Service, _: NoQuery) -> JsonResult<DeadLetterCauses> {
    Ok(Json(service.dead_letter_causes().await?))
}

/// The dead letters that a selection means.
#[utoipa::path(
    post,
    path = "/api/v1/dead-letters/count",
    tag = "deliveries",
    request_body = DeadLetterSelection,
    responses((status = 200, body = DeadLetterSet, description = "The set"))
)]
pub(super) async fn count(
    service: Service,
    _: NoQuery,
    JsonBody(selection): JsonBody<DeadLetterSelection>,
) -> JsonResult<DeadLetterSet> {
    Ok(Json(service.dead_letter_set(&selection).await?))
}

/// Makes a set of dead letters due again.
#[utoipa::path(
    post,
    path = "/api/v1/dead-letters/requeue",
    tag = "deliveries",
    request_body = DeadLetterActBody,
    responses((status = 200, body = DeadLetterActAnswer, description = "The result"))
)]
pub(super) async fn requeue_set(
    service: Service,
    by: Principal,
    _: NoQuery,
    JsonBody(body): JsonBody<DeadLetterActBody>,
) -> JsonResult<DeadLetterActAnswer> {
    Ok(Json(service.requeue_set(body, by).await?))
}

/// Discards a set of dead letters.
#[utoipa::path(
    post,
    path = "/api/v1/dead-letters/discard",
    tag = "deliveries",
    request_body = DeadLetterActBody,
    responses((status = 200, body = DeadLetterActAnswer, description = "The result"))
)]
pub(super) async fn discard_set(
    service: Service,
    by: Principal,
    _: NoQuery,
    JsonBody(body): JsonBody<DeadLetterActBody>,
) -> JsonResult<DeadLetterActAnswer> {
    Ok(Json(service.discard_set(body, by).await?))
}
