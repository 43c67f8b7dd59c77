//! `/login` and `/logout`: how a browser signs in and out. The page of the form is the console's.

use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::header::{HeaderMap, LOCATION, SET_COOKIE};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{ApiError, NoQuery, PathText, Peer, Principal, Query, Service};
use crate::admin::identity::NewSession;
use crate::admin::service::AdminService;

/// The page after a sign-in that asked for none.
const FIRST_PAGE: &str = "/";

/// The form of the sign-in page.
#[derive(Deserialize, ToSchema)]
pub(super) struct SignInForm {
    token: String,
    /// The page to go to.
    #[serde(default)]
    to: Option<String>,
}

/// The page to go to, after a code.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct GoTo {
    #[serde(default)]
    to: Option<String>,
}

/// Signs in with a token, and shows a page; the sign-in page again if the token is not accepted.
#[utoipa::path(
    post,
    path = "/login",
    tag = "access",
    request_body(content = SignInForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (
            status = 303,
            description = "A cookie and the page, or the sign-in page with the code of the error"
        )
    )
)]
pub(super) async fn sign_in(
    service: Service,
    Peer(from): Peer,
    headers: HeaderMap,
    form: Result<Form<SignInForm>, FormRejection>,
) -> Result<Response, ApiError> {
    let Form(SignInForm { token, to }) = form.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::of_status(rejection.status()),
        _ => ApiError::bad_request("malformed", "send a form with the field `token`"),
    })?;
    let to = own_page(to.as_deref());
    match service.sign_in(&token, from).await {
        Ok(session) => signed_in(&service, &session, &headers, to),
        Err(error) => {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("error", error.code()).append_pair("to", to);
            Ok(Redirect::to(&format!("/login?{}", query.finish())).into_response())
        }
    }
}

/// Signs in with a single-use code. A link on a page of another site may not: it would sign the
/// reader in as a client that the page chose.
#[utoipa::path(
    get,
    path = "/login/{code}",
    tag = "access",
    params(("code" = String, Path, description = "The code"), GoTo),
    responses((status = 303, description = "A cookie and the page"))
)]
pub(super) async fn exchange(
    service: Service,
    Peer(from): Peer,
    headers: HeaderMap,
    PathText(code): PathText,
    Query(GoTo { to }): Query<GoTo>,
) -> Result<Response, ApiError> {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"none" && site != b"same-origin") {
        let detail = "a page of another site may not sign you in; open the address yourself";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "origin_not_allowed", detail));
    }
    let session = service.exchange_code(&code, from).await?;
    signed_in(&service, &session, &headers, own_page(to.as_deref()))
}

/// Ends the session, and shows the sign-in page.
#[utoipa::path(
    post,
    path = "/logout",
    tag = "access",
    responses((status = 303, description = "The sign-in page"))
)]
pub(super) async fn sign_out(
    service: Service,
    by: Principal,
    headers: HeaderMap,
    _: NoQuery,
) -> Result<Response, ApiError> {
    service.sign_out(&headers, by).await;
    with_cookie(&service, None, &headers, "/login")
}

fn signed_in(
    service: &AdminService,
    session: &NewSession,
    headers: &HeaderMap,
    to: &str,
) -> Result<Response, ApiError> {
    with_cookie(service, Some(session), headers, to)
}

fn with_cookie(
    service: &AdminService,
    session: Option<&NewSession>,
    headers: &HeaderMap,
    to: &str,
) -> Result<Response, ApiError> {
    // Behind a proxy with TLS the browser knows more than the listener.
    let says = |name: &str, start: &[u8]| {
        headers.get(name).is_some_and(|value| value.as_bytes().starts_with(start))
    };
    let from_tls = says("origin", b"https://") || says("x-forwarded-proto", b"https");
    let cookie = service.identity.cookie(session, service.is_tls || from_tls);
    let broken = |_| ApiError::of_status(StatusCode::INTERNAL_SERVER_ERROR);
    let cookie = HeaderValue::try_from(cookie).map_err(broken)?;
    let to = HeaderValue::try_from(to).map_err(broken)?;
    Ok((StatusCode::SEE_OTHER, [(SET_COOKIE, cookie), (LOCATION, to)]).into_response())
}

/// A path of this listener, or the first page for anything else.
fn own_page(to: Option<&str>) -> &str {
    let is_own = |to: &&str| {
        to.starts_with('/')
            && !to[1..].starts_with(['/', '\\'])
            && to.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
    };
    to.filter(is_own).unwrap_or(FIRST_PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_of_this_listener_is_gone_to() {
        assert_eq!(own_page(Some("/events?source=github")), "/events?source=github");
        for bad in ["//x.example", "/\\x.example", "https://x.example", "", "/a\r\nb", "/ü"] {
            assert_eq!(own_page(Some(bad)), "/", "{bad}");
        }
        assert_eq!(own_page(None), "/");
    }
}
