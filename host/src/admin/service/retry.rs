//! Retries: makes deliveries that wait for their next attempt due at once. They lose no attempts.

use weir_core::delivery::DeliveryState;
use weir_core::id::{DeliveryId, EventId};
use weir_core::name::Target;
use weir_store::hold::HoldScope;
use weir_store::upkeep::{RetriedNow, RetryNow};

use super::lookup::{IdMatch, id_not_found, several_events};
use super::{AdminService, Principal};
use crate::admin::error::ApiError;
use crate::api::{RetryAnswer, RetryBody};
use crate::delivery::breakers::is_breaker_hold;

impl AdminService {
    /// Makes the deliveries due.
    pub(crate) async fn retry(
        &self,
        body: RetryBody,
        by: Principal,
    ) -> Result<RetryAnswer, ApiError> {
        let RetryBody { id, destination, handler } = body.clone();
        let destination = destination.map(|name| format!("destination:{name}"));
        let handler = handler.map(|name| format!("handler:{name}"));
        let subject = id.or(destination).or(handler).unwrap_or_default();
        let result = self.do_retry(body, by.clone()).await;
        self.recorded(&by, "retry", &subject, result).await
    }

    async fn do_retry(&self, body: RetryBody, by: Principal) -> Result<RetryAnswer, ApiError> {
        match (body.id, body.destination, body.handler) {
            (Some(id), None, None) => self.retry_id(&id, by).await,
            (None, Some(name), None) => self.retry_target(&format!("destination:{name}"), by).await,
            (None, None, Some(name)) => self.retry_target(&format!("handler:{name}"), by).await,
            _ => {
                let detail = "give exactly one of `id`, `destination` and `handler`";
                Err(ApiError::bad_request("malformed", detail))
            }
        }
    }

    async fn retry_id(&self, id: &str, by: Principal) -> Result<RetryAnswer, ApiError> {
        match self.find(id).await? {
            IdMatch::Delivery { delivery, .. } => self.retry_delivery(delivery, by).await,
            IdMatch::Events(events) => match events[..] {
                [event] => self.retry_event(event, by).await,
                _ => Err(several_events(&events)),
            },
            IdMatch::Refusal(_) | IdMatch::Quarantined(_) => {
                let detail = "this is the id of a request that was refused; it has no deliveries";
                Err(ApiError::conflict("nothing_to_retry", detail))
            }
        }
    }

    async fn retry_delivery(&self, id: DeliveryId, by: Principal) -> Result<RetryAnswer, ApiError> {
        let retried = self.store.retry_now(RetryNow::Delivery(id)).await?;
        if retried.deliveries.is_empty() {
            let delivery = self.store.delivery(id).await?;
            let state = delivery.map(|delivery| (delivery.state, delivery.held));
            return Err(nothing_to_retry(&id.to_string(), state));
        }
        Ok(answer(retried, by))
    }

    async fn retry_event(&self, id: EventId, by: Principal) -> Result<RetryAnswer, ApiError> {
        let event = self.store.event(id).await?.ok_or_else(|| id_not_found(&id.to_string()))?;
        let retried = self.store.retry_now(RetryNow::Event(event.id)).await?;
        if retried.deliveries.is_empty() {
            let detail = format!(
                "no delivery of {id} waits for a retry: it is {}; `weir why {id}` shows what it \
                 waits for",
                event.status
            );
            return Err(ApiError::conflict("nothing_to_retry", detail));
        }
        Ok(answer(retried, by))
    }

    /// Retries everything that waits for a target. A target that is failing is tried with one
    /// delivery at once.
    async fn retry_target(&self, text: &str, by: Principal) -> Result<RetryAnswer, ApiError> {
        let target: Target = text
            .parse()
            .map_err(|error| ApiError::bad_request("invalid_scope", format!("{error}")))?;
        self.known_names().check_target(&target)?;
        let mut count = 0;
        loop {
            let some = self.store.retry_now(RetryNow::Target(target.clone())).await?;
            count += some.deliveries.len();
            if !some.more || some.deliveries.is_empty() {
                break;
            }
        }
        let scope = HoldScope::from(&target);
        let holds = self.store.holds().await?;
        let breaker =
            holds.iter().find(|held| held.hold.scope == scope && is_breaker_hold(&held.hold));
        let tried = match breaker {
            Some(held) => self.store.release(held.id).await?,
            None => false,
        };
        tracing::info!(%target, deliveries = count, tried, %by, "deliveries retried");
        Ok(RetryAnswer {
            target: Some(target),
            retried: count,
            deliveries: None,
            tried: Some(tried),
        })
    }
}

fn answer(retried: RetriedNow, by: Principal) -> RetryAnswer {
    let count = retried.deliveries.len();
    tracing::info!(deliveries = count, %by, "deliveries retried");
    RetryAnswer { target: None, retried: count, deliveries: Some(retried.deliveries), tried: None }
}

/// For a delivery that does not wait for a retry, with the command that helps.
fn nothing_to_retry(id: &str, state: Option<(DeliveryState, bool)>) -> ApiError {
    let detail = match state {
        None => return id_not_found(id),
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
    ApiError::conflict("nothing_to_retry", detail)
}
