//! The acts behind the buttons of an event. Each leads back to the event with its result.

use axum::extract::Form;
use axum::response::Redirect;
use serde::Deserialize;
use weir_core::name::Target;

use crate::admin::error::ApiError;
use crate::admin::extract::{PathText, Service};
use crate::admin::principal::Principal;
use crate::api::{CancelBody, PlaceHoldBody, ReplayBody, RetryBody};
use crate::console::flash::Flash;

/// A delivery of the event.
#[derive(Debug, Deserialize)]
pub(crate) struct DeliveryForm {
    delivery: String,
}

/// A target that is failing or paused.
#[derive(Debug, Deserialize)]
pub(crate) struct TargetForm {
    target: String,
}

/// A hold in force.
#[derive(Debug, Deserialize)]
pub(crate) struct HoldForm {
    hold: String,
}

/// A delivery of the event, or the event itself.
#[derive(Debug, Deserialize)]
pub(crate) struct CancelForm {
    id: String,
}

/// The scope of a new hold.
#[derive(Debug, Deserialize)]
pub(crate) struct ScopeForm {
    scope: String,
}

/// Makes a waiting delivery due at once.
pub(crate) async fn retry(
    service: Service,
    by: Principal,
    PathText(id): PathText,
    Form(form): Form<DeliveryForm>,
) -> Result<Redirect, ApiError> {
    let body = RetryBody { id: Some(form.delivery), ..RetryBody::default() };
    let done = service.retry(body, by).await?;
    Ok(back(&id, Flash::Retried, done.retried))
}

/// Tries a target that is failing with one delivery at once.
pub(crate) async fn try_target(
    service: Service,
    by: Principal,
    PathText(id): PathText,
    Form(form): Form<TargetForm>,
) -> Result<Redirect, ApiError> {
    let target = form.target.parse::<Target>();
    let target = target.map_err(|why| ApiError::bad_request("invalid_target", why.to_string()))?;
    let body = match target {
        Target::Handler(name) => {
            RetryBody { handler: Some(name.to_string()), ..RetryBody::default() }
        }
        Target::Destination(name) => {
            RetryBody { destination: Some(name.to_string()), ..RetryBody::default() }
        }
    };
    service.retry(body, by).await?;
    Ok(back(&id, Flash::Tried, 1))
}

/// Sends a dead letter again as it was stored.
pub(crate) async fn requeue(
    service: Service,
    by: Principal,
    PathText(id): PathText,
    Form(form): Form<DeliveryForm>,
) -> Result<Redirect, ApiError> {
    let body = ReplayBody { delivery: Some(form.delivery), ..ReplayBody::default() };
    let done = service.replay(body, by).await?;
    Ok(back(&id, Flash::Requeued, done.deliveries))
}

/// Releases the hold that keeps a delivery waiting.
pub(crate) async fn release(
    service: Service,
    by: Principal,
    PathText(id): PathText,
    Form(form): Form<HoldForm>,
) -> Result<Redirect, ApiError> {
    service.release_hold(&form.hold, by).await?;
    Ok(back(&id, Flash::Released, 1))
}

/// Cancels a delivery, or all of the event that are not finished.
pub(crate) async fn cancel(
    service: Service,
    by: Principal,
    PathText(id): PathText,
    Form(form): Form<CancelForm>,
) -> Result<Redirect, ApiError> {
    let done = service.cancel(CancelBody { id: form.id }, by).await?;
    Ok(back(&id, Flash::Cancelled, done.cancelled.len()))
}

/// Places a hold on the source or on a target of the event.
pub(crate) async fn hold(
    service: Service,
    by: Principal,
    PathText(id): PathText,
    Form(form): Form<ScopeForm>,
) -> Result<Redirect, ApiError> {
    let body = PlaceHoldBody { scope: form.scope, reason: None, until: None };
    service.place_hold(body, by).await?;
    Ok(back(&id, Flash::Held, 1))
}

fn back(id: &str, did: Flash, count: usize) -> Redirect {
    let path = format!("/events/{}", crate::console::parts::path_part(id));
    Redirect::to(&did.address(&path, count as u64))
}
