//! `/api/v1/sources`.

use http::StatusCode;

use super::{ApiError, Json, JsonBody, JsonResult, NoQuery, PathText, Principal, Service};
use crate::api::schema;
use crate::api::{
    ForgottenSecret, ListPage, OpenWindowBody, ReconcileAnswer, ReconcileBody, SampleAnswer,
    SampleBody, SecretAnswer, SourceView, WindowAnswer,
};

/// Every source in force; secrets by name only.
#[utoipa::path(
    get,
    path = "/api/v1/sources",
    tag = "sources",
    responses((status = 200, body = ListPage<SourceView>, description = "Every source"))
)]
pub(super) async fn list(service: Service, _: NoQuery) -> Json<ListPage<SourceView>> {
    Json(service.sources_with_health().await)
}

/// One source, with the fields of its events.
#[utoipa::path(
    get,
    path = "/api/v1/sources/{name}",
    tag = "sources",
    params(("name" = schema::SourceNameText, Path, description = "The name of a source")),
    responses((status = 200, body = SourceView, description = "The source"))
)]
pub(super) async fn show(
    service: Service,
    PathText(source): PathText,
    _: NoQuery,
) -> JsonResult<SourceView> {
    Ok(Json(service.source(&source).await?))
}

/// Lets the next handshake set the secret of a source.
#[utoipa::path(
    post,
    path = "/api/v1/sources/{name}/secret-window",
    tag = "sources",
    params(("name" = schema::SourceNameText, Path, description = "The name of a source")),
    request_body = OpenWindowBody,
    responses((status = 201, body = WindowAnswer, description = "The window"))
)]
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
#[utoipa::path(
    post,
    path = "/api/v1/sources/{name}/secret/show",
    tag = "sources",
    params(("name" = schema::SourceNameText, Path, description = "The name of a source")),
    responses(
        (status = 200, body = SecretAnswer, description = "The secret"),
        (status = 202, body = SecretAnswer, description = "It has not come yet")
    )
)]
pub(super) async fn show_secret(
    service: Service,
    by: Principal,
    PathText(source): PathText,
    _: NoQuery,
) -> Result<(StatusCode, Json<SecretAnswer>), ApiError> {
    let answer = service.show_secret(&source, by).await?;
    let is_there = answer.secret.is_some();
    let status = if is_there { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(answer)))
}

/// Closes the window.
#[utoipa::path(
    delete,
    path = "/api/v1/sources/{name}/secret-window",
    tag = "sources",
    params(("name" = schema::SourceNameText, Path, description = "The name of a source")),
    responses((status = 200, body = ForgottenSecret, description = "The source"))
)]
pub(super) async fn close_window(
    service: Service,
    by: Principal,
    PathText(source): PathText,
    _: NoQuery,
) -> JsonResult<ForgottenSecret> {
    Ok(Json(service.close_window(&source, by).await?))
}

/// Forgets the secret that was handed over.
#[utoipa::path(
    delete,
    path = "/api/v1/sources/{name}/secret",
    tag = "sources",
    params(("name" = schema::SourceNameText, Path, description = "The name of a source")),
    responses((status = 200, body = ForgottenSecret, description = "The source"))
)]
pub(super) async fn forget_secret(
    service: Service,
    by: Principal,
    PathText(source): PathText,
    _: NoQuery,
) -> JsonResult<ForgottenSecret> {
    Ok(Json(service.forget_secret(&source, by).await?))
}

/// Sends a sample of the source's provider to the source itself.
#[utoipa::path(
    post,
    path = "/api/v1/sources/{name}/sample",
    tag = "sources",
    params(("name" = schema::SourceNameText, Path, description = "The name of a source")),
    request_body = SampleBody,
    responses((status = 200, body = SampleAnswer, description = "The answer to the sample"))
)]
pub(super) async fn send_sample(
    service: Service,
    by: Principal,
    PathText(source): PathText,
    _: NoQuery,
    JsonBody(body): JsonBody<SampleBody>,
) -> JsonResult<SampleAnswer> {
    Ok(Json(service.send_sample(&source, body, by).await?))
}

/// Stores what a provider's API has and the hub has not. An operator vouches for it: no signature
/// is checked, and its scheme is `provider-api`.
#[utoipa::path(
    post,
    path = "/api/v1/sources/{name}/reconcile",
    tag = "sources",
    params(("name" = schema::SourceNameText, Path, description = "The name of a source")),
    request_body = ReconcileBody,
    responses((status = 200, body = ReconcileAnswer, description = "The results"))
)]
pub(super) async fn reconcile(
    service: Service,
    by: Principal,
    PathText(source): PathText,
    _: NoQuery,
    JsonBody(body): JsonBody<ReconcileBody>,
) -> JsonResult<ReconcileAnswer> {
    Ok(Json(service.reconcile(&source, body, by).await?))
}
