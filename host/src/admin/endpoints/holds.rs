//! `/api/v1/holds`.

use http::StatusCode;

use super::{ApiError, Json, JsonBody, JsonResult, NoQuery, PathText, Principal, Query, Service};
use crate::api::{HoldView, HoldsQuery, ListPage, PlaceHoldBody};

/// The holds in force, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/holds",
    tag = "holds",
    params(HoldsQuery),
    responses((status = 200, body = ListPage<HoldView>, description = "The holds"))
)]
pub(super) async fn list(
    service: Service,
    Query(query): Query<HoldsQuery>,
) -> JsonResult<ListPage<HoldView>> {
    Ok(Json(service.holds(query).await?))
}

/// Places a hold.
#[utoipa::path(
    post,
    path = "/api/v1/holds",
    tag = "holds",
    request_body = PlaceHoldBody,
    responses((status = 201, body = HoldView, description = "The hold"))
)]
pub(super) async fn place(
    service: Service,
    by: Principal,
    _: NoQuery,
    JsonBody(body): JsonBody<PlaceHoldBody>,
) -> Result<(StatusCode, Json<HoldView>), ApiError> {
    Ok((StatusCode::CREATED, Json(service.place_hold(body, by).await?)))
}

/// Ends a hold of an operator; for the hold of a breaker, one delivery is tried.
#[utoipa::path(
    delete,
    path = "/api/v1/holds/{id}",
    tag = "holds",
    params(("id" = u64, Path, description = "The number of a hold")),
    responses((status = 200, body = HoldView, description = "The hold that has ended"))
)]
pub(super) async fn release(
    service: Service,
    by: Principal,
    PathText(number): PathText,
    _: NoQuery,
) -> JsonResult<HoldView> {
    Ok(Json(service.release_hold(&number, by).await?))
}
