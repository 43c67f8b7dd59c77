//! `/api/v1/whoami`, `/api/v1/tokens`, `/api/v1/login-codes` and `/api/v1/audit`.

use http::{HeaderMap, StatusCode};

use super::{ApiError, Json, JsonBody, JsonResult, NoQuery, PathText, Principal, Query, Service};
use crate::api::{
    AuditQuery, AuditView, CreateTokenBody, CreatedToken, ListPage, LoginCode, TokenView, WhoAmI,
};

/// The client that asks, as the hub sees it.
#[utoipa::path(
    get,
    path = "/api/v1/whoami",
    tag = "access",
    responses((status = 200, body = WhoAmI, description = "The client"))
)]
pub(super) async fn who_am_i(by: Principal, _: NoQuery) -> Json<WhoAmI> {
    Json(by.who_am_i())
}

/// Named tokens, by name.
#[utoipa::path(
    get,
    path = "/api/v1/tokens",
    tag = "access",
    responses((status = 200, body = ListPage<TokenView>, description = "Every named token"))
)]
pub(super) async fn tokens(service: Service, _: NoQuery) -> JsonResult<ListPage<TokenView>> {
    Ok(Json(service.tokens().await?))
}

/// Makes a named token.
#[utoipa::path(
    post,
    path = "/api/v1/tokens",
    tag = "access",
    request_body = CreateTokenBody,
    responses(
        (status = 201, body = CreatedToken, description = "The token, which is shown only now")
    )
)]
pub(super) async fn create_token(
    service: Service,
    by: Principal,
    _: NoQuery,
    JsonBody(body): JsonBody<CreateTokenBody>,
) -> Result<(StatusCode, Json<CreatedToken>), ApiError> {
    Ok((StatusCode::CREATED, Json(service.create_token(body, by).await?)))
}

/// Revokes a token, and ends its sessions.
#[utoipa::path(
    delete,
    path = "/api/v1/tokens/{name}",
    tag = "access",
    params(("name" = String, Path, description = "The name of a token")),
    responses(
        (status = 200, body = TokenView, description = "The token that is refused from now on")
    )
)]
pub(super) async fn revoke_token(
    service: Service,
    by: Principal,
    PathText(name): PathText,
    _: NoQuery,
) -> JsonResult<TokenView> {
    Ok(Json(service.revoke_token(&name, by).await?))
}

/// Makes a code that signs one browser in, once, within a minute.
#[utoipa::path(
    post,
    path = "/api/v1/login-codes",
    tag = "access",
    responses((status = 201, body = LoginCode, description = "The code"))
)]
pub(super) async fn login_code(
    service: Service,
    by: Principal,
    headers: HeaderMap,
    _: NoQuery,
) -> Result<(StatusCode, Json<LoginCode>), ApiError> {
    Ok((StatusCode::CREATED, Json(service.login_code(&headers, by).await?)))
}

/// Acts of clients, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    tag = "audit",
    params(AuditQuery),
    responses((status = 200, body = ListPage<AuditView>, description = "A page of acts"))
)]
pub(super) async fn audit(
    service: Service,
    Query(query): Query<AuditQuery>,
) -> JsonResult<ListPage<AuditView>> {
    Ok(Json(service.audit(query).await?))
}
