//! `/api/v1/quarantine`.

use super::{Json, JsonBody, JsonResult, NoQuery, PathText, Principal, Query, Service};
use crate::api::{
    ListPage, QuarantineDetail, QuarantineItem, QuarantineQuery, QuarantineTrial, ReleaseAllAnswer,
    ReleaseAnswer, ReleaseBody, TrialQuery,
};

pub(super) async fn list(
    service: Service,
    Query(query): Query<QuarantineQuery>,
) -> JsonResult<ListPage<QuarantineItem>> {
    Ok(Json(service.quarantine(query).await?))
}

pub(super) async fn show(
    service: Service,
    path: PathText,
    _: NoQuery,
) -> JsonResult<QuarantineDetail> {
    Ok(Json(service.quarantined_request(path.id()?).await?))
}

pub(super) async fn release(
    service: Service,
    by: Principal,
    path: PathText,
    _: NoQuery,
) -> JsonResult<ReleaseAnswer> {
    Ok(Json(service.release_request(path.id()?, by).await?))
}

pub(super) async fn release_all(
    service: Service,
    by: Principal,
    _: NoQuery,
    JsonBody(body): JsonBody<ReleaseBody>,
) -> JsonResult<ReleaseAllAnswer> {
    Ok(Json(service.release_requests(body, by).await?))
}

pub(super) async fn trial(
    service: Service,
    Query(query): Query<TrialQuery>,
) -> JsonResult<QuarantineTrial> {
    Ok(Json(service.try_quarantine(query.source.as_str()).await?))
}
