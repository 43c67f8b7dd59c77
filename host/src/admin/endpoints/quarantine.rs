//! `/api/v1/quarantine`.

use super::{Json, JsonBody, JsonResult, NoQuery, PathText, Principal, Query, Service};
use crate::api::schema;
use crate::api::{
    ListPage, QuarantineDetail, QuarantineItem, QuarantineQuery, QuarantineTrial, ReleaseAllAnswer,
    ReleaseAnswer, ReleaseBody, TrialQuery,
};

/// Quarantined requests, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/quarantine",
    tag = "quarantine",
    params(QuarantineQuery),
    responses((status = 200, body = ListPage<QuarantineItem>, description = "A page of requests"))
)]
pub(super) async fn list(
    service: Service,
    Query(query): Query<QuarantineQuery>,
) -> JsonResult<ListPage<QuarantineItem>> {
    Ok(Json(service.quarantine(query).await?))
}

/// One request with its headers and the beginning of its body.
#[utoipa::path(
    get,
    path = "/api/v1/quarantine/{id}",
    tag = "quarantine",
    params(
        ("id" = schema::QuarantineIdText, Path, description = "The id of a quarantined request")
    ),
    responses((status = 200, body = QuarantineDetail, description = "The request"))
)]
pub(super) async fn show(
    service: Service,
    path: PathText,
    _: NoQuery,
) -> JsonResult<QuarantineDetail> {
    Ok(Json(service.quarantined_request(path.id()?).await?))
}

/// Verifies one request again, with the secrets of now.
#[utoipa::path(
    post,
    path = "/api/v1/quarantine/{id}/release",
    tag = "quarantine",
    params(
        ("id" = schema::QuarantineIdText, Path, description = "The id of a quarantined request")
    ),
    responses((status = 200, body = ReleaseAnswer, description = "The events that it became"))
)]
pub(super) async fn release(
    service: Service,
    by: Principal,
    path: PathText,
    _: NoQuery,
) -> JsonResult<ReleaseAnswer> {
    Ok(Json(service.release_request(path.id()?, by).await?))
}

/// Verifies a page of requests again, oldest first.
#[utoipa::path(
    post,
    path = "/api/v1/quarantine/release",
    tag = "quarantine",
    request_body = ReleaseBody,
    responses(
        (status = 200, body = ReleaseAllAnswer, description = "The requests that were looked at")
    )
)]
pub(super) async fn release_all(
    service: Service,
    by: Principal,
    _: NoQuery,
    JsonBody(body): JsonBody<ReleaseBody>,
) -> JsonResult<ReleaseAllAnswer> {
    Ok(Json(service.release_requests(body, by).await?))
}

/// Verifies the requests of a source again with the secrets of now, and changes nothing.
#[utoipa::path(
    get,
    path = "/api/v1/quarantine/trial",
    tag = "quarantine",
    params(TrialQuery),
    responses((status = 200, body = QuarantineTrial, description = "The result"))
)]
pub(super) async fn trial(
    service: Service,
    Query(query): Query<TrialQuery>,
) -> JsonResult<QuarantineTrial> {
    Ok(Json(service.try_quarantine(query.source.as_str()).await?))
}
