//! Acts on handlers and destinations: pause, resume, try. Each leads back to the target's page.

use axum::extract::{Form, Path};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::parts;
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::admin::principal::Principal;
use crate::api::{PlaceHoldBody, RetryBody};

/// The hold to release.
#[derive(Debug, Deserialize)]
pub(super) struct ResumeForm {
    hold: String,
}

/// Answers `POST /handlers/{name}/pause`.
pub(super) async fn pause_handler(
    service: Service,
    by: Principal,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    pause(&service, by, &format!("handler:{name}")).await?;
    Ok(back("/handlers/", &name, "paused"))
}

/// Answers `POST /destinations/{name}/pause`.
pub(super) async fn pause_destination(
    service: Service,
    by: Principal,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    pause(&service, by, &format!("destination:{name}")).await?;
    Ok(back("/destinations/", &name, "paused"))
}

async fn pause(service: &Service, by: Principal, scope: &str) -> Result<(), ApiError> {
    let reason = Some("paused in the console".to_owned());
    let body = PlaceHoldBody { scope: scope.to_owned(), reason, until: None };
    service.place_hold(body, by).await.map(drop)
}

/// Answers `POST /handlers/{name}/resume`.
pub(super) async fn resume_handler(
    service: Service,
    by: Principal,
    Path(name): Path<String>,
    Form(form): Form<ResumeForm>,
) -> Result<Response, ApiError> {
    service.release_hold(&form.hold, by).await?;
    Ok(back("/handlers/", &name, "resumed"))
}

/// Answers `POST /destinations/{name}/resume`.
pub(super) async fn resume_destination(
    service: Service,
    by: Principal,
    Path(name): Path<String>,
    Form(form): Form<ResumeForm>,
) -> Result<Response, ApiError> {
    service.release_hold(&form.hold, by).await?;
    Ok(back("/destinations/", &name, "resumed"))
}

/// Answers `POST /handlers/{name}/try`.
pub(super) async fn try_handler(
    service: Service,
    by: Principal,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let body = RetryBody { handler: Some(name.clone()), ..RetryBody::default() };
    service.retry(body, by).await?;
    Ok(back("/handlers/", &name, "tried"))
}

/// Answers `POST /destinations/{name}/try`.
pub(super) async fn try_destination(
    service: Service,
    by: Principal,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let body = RetryBody { destination: Some(name.clone()), ..RetryBody::default() };
    service.retry(body, by).await?;
    Ok(back("/destinations/", &name, "tried"))
}

fn back(folder: &str, name: &str, did: &str) -> Response {
    let path = format!("{folder}{}", parts::path_part(name));
    Redirect::to(&parts::address(&path, &[("did", did)])).into_response()
}
