//! `/api/v1/sources`.

use http::StatusCode;

use super::{ApiError, Json, JsonBody, JsonResult, NoQuery, PathText, Principal, Service};
use crate::api::{
    ForgottenSecret, ListPage, OpenWindowBody, SampleAnswer, SampleBody, SecretAnswer, SourceView,
    WindowAnswer,
};

pub(super) async fn list(service: Service, _: NoQuery) -> Json<ListPage<SourceView>> {
    Json(service.sources())
}

pub(super) async fn open_window(
    service: Service,
    by: Principal,
    PathText(source): PathText,
    _: NoQuery,
    JsonBody(body): JsonBody<OpenWindowBody>,
) -> Result<(StatusCode, Json<WindowAnswer>), ApiError> {
    Ok((StatusCode::CREATED, Json(service.open_window(&source, body, by).await?)))
}

/// A secret is shown once, so this changes what is kept: it needs the token also from this machine.
pub(super) async fn show_secret(
    service: Service,
    by: Principal,
    PathText(source): PathText,
    _: NoQuery,
) -> Result<(StatusCode, Json<SecretAnswer>), ApiError> {
    let answer = service.show_secret(&source, by)?;
    let is_there = answer.secret.is_some();
    let status = if is_there { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(answer)))
}

pub(super) async fn close_window(
    service: Service,
    by: Principal,
    PathText(source): PathText,
    _: NoQuery,
) -> JsonResult<ForgottenSecret> {
    Ok(Json(service.close_window(&source, by)?))
}

pub(super) async fn forget_secret(
    service: Service,
    by: Principal,
    PathText(source): PathText,
    _: NoQuery,
) -> JsonResult<ForgottenSecret> {
    Ok(Json(service.forget_secret(&source, by).await?))
}

pub(super) async fn send_sample(
    service: Service,
    by: Principal,
    PathText(source): PathText,
    _: NoQuery,
    JsonBody(body): JsonBody<SampleBody>,
) -> JsonResult<SampleAnswer> {
    Ok(Json(service.send_sample(&source, body, by).await?))
}
