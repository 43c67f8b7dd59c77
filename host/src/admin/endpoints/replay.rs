//! `/api/v1/replay`, `/api/v1/retry`, `/api/v1/cancel` and `/api/v1/erase`.

use super::{Json, JsonBody, JsonResult, NoQuery, Principal, Service};
use crate::api::{
    CancelAnswer, CancelBody, EraseAnswer, EraseBody, ReplayAnswer, ReplayBody, RetryAnswer,
    RetryBody,
};

/// Replays stored events or deliveries.
#[utoipa::path(
    post,
    path = "/api/v1/replay",
    tag = "deliveries",
    request_body = ReplayBody,
    responses((status = 200, body = ReplayAnswer, description = "The result of this page"))
)]
pub(super) async fn replay(
    service: Service,
    by: Principal,
    _: NoQuery,
    JsonBody(body): JsonBody<ReplayBody>,
) -> JsonResult<ReplayAnswer> {
    Ok(Json(service.replay(body, by).await?))
}

/// Makes deliveries due that wait for their next attempt.
#[utoipa::path(
    post,
    path = "/api/v1/retry",
    tag = "deliveries",
    request_body = RetryBody,
    responses((status = 200, body = RetryAnswer, description = "The deliveries that became due"))
)]
pub(super) async fn retry(
    service: Service,
    by: Principal,
    _: NoQuery,
    JsonBody(body): JsonBody<RetryBody>,
) -> JsonResult<RetryAnswer> {
    Ok(Json(service.retry(body, by).await?))
}

/// Cancels a delivery that is not finished, or all of an event.
#[utoipa::path(
    post,
    path = "/api/v1/cancel",
    tag = "deliveries",
    request_body = CancelBody,
    responses((status = 200, body = CancelAnswer, description = "The cancelled deliveries"))
)]
pub(super) async fn cancel(
    service: Service,
    by: Principal,
    _: NoQuery,
    JsonBody(body): JsonBody<CancelBody>,
) -> JsonResult<CancelAnswer> {
    Ok(Json(service.cancel(body, by).await?))
}

/// Erases the contents of an event, or of all events with a business key.
#[utoipa::path(
    post,
    path = "/api/v1/erase",
    tag = "events",
    request_body = EraseBody,
    responses((status = 200, body = EraseAnswer, description = "The events"))
)]
pub(super) async fn erase(
    service: Service,
    by: Principal,
    _: NoQuery,
    JsonBody(body): JsonBody<EraseBody>,
) -> JsonResult<EraseAnswer> {
    Ok(Json(service.erase(body, by).await?))
}
