//! `/api/v1/handlers/{name}`: versions, state and the name of one handler.

use super::{Json, JsonBody, JsonResult, NoQuery, PathText, Principal, Query, Service};
use crate::admin::service::versions::VersionActKind;
use crate::api::schema::HandlerNameText;
use crate::api::{
    DiffQuery, HandlerDetailView, ListPage, RenameAnswer, RenameBody, StateClearQuery,
    StateClearedAnswer, StateKeyQuery, StateListQuery, StateSizeView, StateValueView,
    StateWriteBody, VersionActBody, VersionDiffView, VersionEventView,
};

/// One handler with its versions.
#[utoipa::path(
    get,
    path = "/api/v1/handlers/{name}",
    tag = "targets",
    params(("name" = HandlerNameText, Path, description = "The name of a handler")),
    responses((status = 200, body = HandlerDetailView, description = "The handler"))
)]
pub(super) async fn show(
    service: Service,
    PathText(name): PathText,
    _: NoQuery,
) -> JsonResult<HandlerDetailView> {
    Ok(Json(service.handler(&name).await?))
}

/// The changes of its versions, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/handlers/{name}/history",
    tag = "targets",
    params(("name" = HandlerNameText, Path, description = "The name of a handler")),
    responses((status = 200, body = ListPage<VersionEventView>, description = "The changes"))
)]
pub(super) async fn history(
    service: Service,
    PathText(name): PathText,
    _: NoQuery,
) -> JsonResult<ListPage<VersionEventView>> {
    Ok(Json(service.handler_history(&name).await?))
}

/// The differences of two versions.
#[utoipa::path(
    get,
    path = "/api/v1/handlers/{name}/diff",
    tag = "targets",
    params(("name" = HandlerNameText, Path, description = "The name of a handler"), DiffQuery),
    responses((status = 200, body = VersionDiffView, description = "The differences"))
)]
pub(super) async fn diff(
    service: Service,
    PathText(name): PathText,
    Query(query): Query<DiffQuery>,
) -> JsonResult<VersionDiffView> {
    Ok(Json(service.handler_diff(&name, query).await?))
}

/// Puts an older version into service.
#[utoipa::path(
    post,
    path = "/api/v1/handlers/{name}/rollback",
    tag = "targets",
    params(("name" = HandlerNameText, Path, description = "The name of a handler")),
    request_body = VersionActBody,
    responses((status = 200, body = HandlerDetailView, description = "The handler"))
)]
pub(super) async fn roll_back(
    service: Service,
    by: Principal,
    PathText(name): PathText,
    _: NoQuery,
    JsonBody(body): JsonBody<VersionActBody>,
) -> JsonResult<HandlerDetailView> {
    Ok(Json(service.act_on_version(VersionActKind::RollBack, &name, body, by).await?))
}

/// Keeps the version in service until the pin is removed.
#[utoipa::path(
    post,
    path = "/api/v1/handlers/{name}/pin",
    tag = "targets",
    params(("name" = HandlerNameText, Path, description = "The name of a handler")),
    request_body = VersionActBody,
    responses((status = 200, body = HandlerDetailView, description = "The handler"))
)]
pub(super) async fn pin(
    service: Service,
    by: Principal,
    PathText(name): PathText,
    _: NoQuery,
    JsonBody(body): JsonBody<VersionActBody>,
) -> JsonResult<HandlerDetailView> {
    Ok(Json(service.act_on_version(VersionActKind::Pin, &name, body, by).await?))
}

/// Removes the pin. A candidate then serves.
#[utoipa::path(
    delete,
    path = "/api/v1/handlers/{name}/pin",
    tag = "targets",
    params(("name" = HandlerNameText, Path, description = "The name of a handler")),
    responses((status = 200, body = HandlerDetailView, description = "The handler"))
)]
pub(super) async fn unpin(
    service: Service,
    by: Principal,
    PathText(name): PathText,
    _: NoQuery,
) -> JsonResult<HandlerDetailView> {
    let body = VersionActBody::default();
    Ok(Json(service.act_on_version(VersionActKind::Unpin, &name, body, by).await?))
}

/// Renames a handler with its files, its state, its breaker and its past.
#[utoipa::path(
    post,
    path = "/api/v1/handlers/{name}/rename",
    tag = "targets",
    params(("name" = HandlerNameText, Path, description = "The name of a handler")),
    request_body = RenameBody,
    responses((status = 200, body = RenameAnswer, description = "Both names"))
)]
pub(super) async fn rename(
    service: Service,
    by: Principal,
    PathText(name): PathText,
    _: NoQuery,
    JsonBody(body): JsonBody<RenameBody>,
) -> JsonResult<RenameAnswer> {
    Ok(Json(service.rename_handler(&name, body, by).await?))
}

/// A page of its state, by key.
#[utoipa::path(
    get,
    path = "/api/v1/handlers/{name}/state",
    tag = "targets",
    params(("name" = HandlerNameText, Path, description = "The name of a handler"), StateListQuery),
    responses((status = 200, body = ListPage<StateValueView>, description = "A page of values"))
)]
pub(super) async fn state(
    service: Service,
    PathText(name): PathText,
    Query(query): Query<StateListQuery>,
) -> JsonResult<ListPage<StateValueView>> {
    Ok(Json(service.state(&name, query).await?))
}

/// One value of its state.
#[utoipa::path(
    get,
    path = "/api/v1/handlers/{name}/state/value",
    tag = "targets",
    params(("name" = HandlerNameText, Path, description = "The name of a handler"), StateKeyQuery),
    responses((status = 200, body = StateValueView, description = "The value"))
)]
pub(super) async fn state_value(
    service: Service,
    PathText(name): PathText,
    Query(query): Query<StateKeyQuery>,
) -> JsonResult<StateValueView> {
    Ok(Json(service.state_value(&name, query).await?))
}

/// Sets and removes keys of its state, all or none.
#[utoipa::path(
    post,
    path = "/api/v1/handlers/{name}/state",
    tag = "targets",
    params(("name" = HandlerNameText, Path, description = "The name of a handler")),
    request_body = StateWriteBody,
    responses((status = 200, body = StateSizeView, description = "The size of the state"))
)]
pub(super) async fn write_state(
    service: Service,
    by: Principal,
    PathText(name): PathText,
    _: NoQuery,
    JsonBody(body): JsonBody<StateWriteBody>,
) -> JsonResult<StateSizeView> {
    Ok(Json(service.write_state(&name, body, by).await?))
}

/// Removes all keys of its state, or those with a prefix.
#[utoipa::path(
    delete,
    path = "/api/v1/handlers/{name}/state",
    tag = "targets",
    params(("name" = HandlerNameText, Path, description = "The name of a handler"), StateClearQuery),
    responses((status = 200, body = StateClearedAnswer, description = "The end of the removal"))
)]
pub(super) async fn clear_state(
    service: Service,
    by: Principal,
    PathText(name): PathText,
    Query(query): Query<StateClearQuery>,
) -> JsonResult<StateClearedAnswer> {
    Ok(Json(service.clear_state(&name, query, by).await?))
}
