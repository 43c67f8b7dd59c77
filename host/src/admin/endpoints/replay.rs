//! `/api/v1/replay` and `/api/v1/retry`.

use super::{Json, JsonBody, JsonResult, NoQuery, Principal, Service};
use crate::api::{ReplayAnswer, ReplayBody, RetryAnswer, RetryBody};

pub(super) async fn replay(
    service: Service,
    by: Principal,
    _: NoQuery,
    JsonBody(body): JsonBody<ReplayBody>,
) -> JsonResult<ReplayAnswer> {
    Ok(Json(service.replay(body, by).await?))
}

pub(super) async fn retry(
    service: Service,
    by: Principal,
    _: NoQuery,
    JsonBody(body): JsonBody<RetryBody>,
) -> JsonResult<RetryAnswer> {
    Ok(Json(service.retry(body, by).await?))
}
