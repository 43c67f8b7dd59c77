//! `/api/v1/whoami`, `/api/v1/tokens` and `/api/v1/login-codes`.

use http::{HeaderMap, StatusCode};

use super::{ApiError, Json, JsonBody, JsonResult, NoQuery, PathText, Principal, Service};
use crate::api::{CreateTokenBody, CreatedToken, ListPage, LoginCode, TokenView, WhoAmI};

pub(super) async fn who_am_i(by: Principal, _: NoQuery) -> Json<WhoAmI> {
    Json(by.who_am_i())
}

pub(super) async fn tokens(service: Service, _: NoQuery) -> JsonResult<ListPage<TokenView>> {
    Ok(Json(service.tokens().await?))
}

pub(super) async fn create_token(
    service: Service,
    by: Principal,
    _: NoQuery,
    JsonBody(body): JsonBody<CreateTokenBody>,
) -> Result<(StatusCode, Json<CreatedToken>), ApiError> {
    Ok((StatusCode::CREATED, Json(service.create_token(body, by).await?)))
}

pub(super) async fn revoke_token(
    service: Service,
    by: Principal,
    PathText(name): PathText,
    _: NoQuery,
) -> JsonResult<TokenView> {
    Ok(Json(service.revoke_token(&name, by).await?))
}

pub(super) async fn login_code(
    service: Service,
    headers: HeaderMap,
    _: NoQuery,
) -> Result<(StatusCode, Json<LoginCode>), ApiError> {
    Ok((StatusCode::CREATED, Json(service.login_code(&headers).await?)))
}
