//! `POST /api/v1/retry`: makes deliveries that wait for a retry due at once. They lose no attempts.

use axum::extract::rejection::BytesRejection;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use weir_core::delivery::DeliveryState;
use weir_core::id::{DeliveryId, EventId};
use weir_core::name::Target;
use weir_store::hold::HoldScope;
use weir_store::upkeep::{RetriedNow, RetryNow};

use super::seek::{self, IdMatch};
use super::{AdminService, ApiError, ApiResult, ServiceState, StatusCode, Uri, asked, json, query};
use crate::admin::scope;
use crate::delivery::breakers::is_breaker_hold;

/// The body of a request: one of `id`, `destination` and `handler`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Of a delivery, a message, an attempt or an event; or the sender's own.
    id: Option<String>,
    /// A destination's name.
    destination: Option<String>,
    /// A handler's name.
    handler: Option<String>,
}

/// Makes the deliveries due.
pub(in crate::admin) async fn retry(
    hub: ServiceState,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult {
    query::none(uri.query())?;
    let asked: Asked = asked(body)?;
    let answer = match (asked.id, asked.destination, asked.handler) {
        (Some(id), None, None) => one(&hub, &id).await?,
        (None, Some(name), None) => all_of(&hub, &format!("destination:{name}")).await?,
        (None, None, Some(name)) => all_of(&hub, &format!("handler:{name}")).await?,
        _ => {
            let detail = "say one of `id`, `destination` and `handler`";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "malformed", detail));
        }
    };
    json::answer(StatusCode::OK, &answer)
}

async fn one(hub: &AdminService, id: &str) -> Result<Value, ApiError> {
    match seek::seek(hub, id).await? {
        IdMatch::Delivery { delivery, .. } => delivery_now(hub, delivery).await,
        IdMatch::Events(events) => match events[..] {
            [event] => event_now(hub, event).await,
            _ => Err(seek::not_one(&events)),
        },
        IdMatch::Refusal(_) | IdMatch::Quarantined(_) => {
            let detail = "this request was refused, so there is nothing to retry";
            Err(ApiError::new(StatusCode::CONFLICT, "nothing_to_retry", detail))
        }
    }
}

async fn delivery_now(hub: &AdminService, id: DeliveryId) -> Result<Value, ApiError> {
    let retried = hub.store.retry_now(RetryNow::Delivery(id)).await?;
    if retried.deliveries.is_empty() {
        let delivery = hub.store.delivery(id).await?;
        let state = delivery.map(|delivery| (delivery.state, delivery.held));
        return Err(nothing(&id.to_string(), state));
    }
    Ok(done(&retried))
}

async fn event_now(hub: &AdminService, id: EventId) -> Result<Value, ApiError> {
    let event = hub.store.event(id).await?.ok_or_else(|| seek::unknown(&id.to_string()))?;
    let retried = hub.store.retry_now(RetryNow::Event(event.id)).await?;
    if retried.deliveries.is_empty() {
        let detail = format!(
            "nothing of {id} waits for a retry: it is {}; `weir why {id}` says what it waits for",
            event.status
        );
        return Err(ApiError::new(StatusCode::CONFLICT, "nothing_to_retry", detail));
    }
    Ok(done(&retried))
}

/// Everything that waits for a target; one that is failing is tried at once.
async fn all_of(hub: &AdminService, text: &str) -> Result<Value, ApiError> {
    let bad = |why| ApiError::new(StatusCode::BAD_REQUEST, "invalid_scope", why);
    let target: Target = query::target(text).map_err(bad)?;
    scope::target(&target, &hub.known(), &(hub.handlers)())?;
    let mut all = RetriedNow::default();
    loop {
        let some = hub.store.retry_now(RetryNow::Target(target.clone())).await?;
        let more = some.more && !some.deliveries.is_empty();
        all.deliveries.extend(some.deliveries);
        if !more {
            break;
        }
    }
    let scope = match &target {
        Target::Handler(name) => HoldScope::Handler(name.clone()),
        Target::Destination(name) => HoldScope::Destination(name.clone()),
    };
    let holds = hub.store.holds().await?;
    let breaker = holds.iter().find(|held| held.hold.scope == scope && is_breaker_hold(&held.hold));
    let tried = match breaker {
        Some(held) => hub.store.release(held.id).await?,
        None => false,
    };
    tracing::info!(%target, deliveries = all.deliveries.len(), tried, "retried by an operator");
    Ok(json!({ "target": target, "retried": all.deliveries.len(), "tried": tried }))
}

fn done(retried: &RetriedNow) -> Value {
    tracing::info!(deliveries = retried.deliveries.len(), "retried by an operator");
    json!({ "retried": retried.deliveries.len(), "deliveries": retried.deliveries })
}

/// The problem for a delivery that waits for no retry, with the command that helps.
fn nothing(id: &str, state: Option<(DeliveryState, bool)>) -> ApiError {
    let why = match state {
        None => return seek::unknown(id),
        Some((DeliveryState::DeadLetter, _)) => {
            format!("{id} is a dead letter; `weir dead-letters requeue {id}` tries it again")
        }
        Some((DeliveryState::Processing, _)) => format!("{id} is being tried now"),
        Some((DeliveryState::Pending | DeliveryState::Retrying, true)) => {
            format!("{id} is due already, and on hold; `weir holds` lists the holds")
        }
        Some((DeliveryState::Pending | DeliveryState::Retrying, false)) => {
            format!("{id} is due already, or waits for its first attempt")
        }
        Some((state, _)) => {
            format!("{id} is {state}; `weir replay --delivery {id}` does it again")
        }
    };
    ApiError::new(StatusCode::CONFLICT, "nothing_to_retry", why)
}
