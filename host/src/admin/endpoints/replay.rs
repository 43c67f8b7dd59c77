//! `/api/v1/replay` and `/api/v1/retry`.

use super::{Json, JsonBody, JsonResult, NoQuery, Principal, Service};
use crate::api::{ReplayAnswer, ReplayBody, RetryAnswer, RetryBody};

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
