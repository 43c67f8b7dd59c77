//! `/api/v1/holds`.

use http::StatusCode;

use super::{ApiError, Json, JsonBody, JsonResult, NoQuery, PathText, Principal, Query, Service};
use crate::api::{HoldView, HoldsQuery, ListPage, PlaceHoldBody};

pub(super) async fn list(
    service: Service,
    Query(query): Query<HoldsQuery>,
) -> JsonResult<ListPage<HoldView>> {
    Ok(Json(service.holds(query).await?))
}

pub(super) async fn place(
    service: Service,
    by: Principal,
    _: NoQuery,
    JsonBody(body): JsonBody<PlaceHoldBody>,
) -> Result<(StatusCode, Json<HoldView>), ApiError> {
    Ok((StatusCode::CREATED, Json(service.place_hold(body, by).await?)))
}

pub(super) async fn release(
    service: Service,
    by: Principal,
    PathText(number): PathText,
    _: NoQuery,
) -> JsonResult<HoldView> {
    Ok(Json(service.release_hold(&number, by).await?))
}
