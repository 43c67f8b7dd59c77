//! Cancellations: ends deliveries that are not finished. They stay stored as cancelled.

use weir_core::delivery::DeliveryState;
use weir_core::id::{DeliveryId, EventId};
use weir_store::upkeep::{CancelOutcome, CancelSelection};

use super::lookup::{IdMatch, id_not_found, several_events};
use super::{AdminService, Principal};
use crate::admin::error::ApiError;
use crate::api::{CancelAnswer, CancelBody};

impl AdminService {
    /// Cancels a delivery, or all of an event.
    pub(crate) async fn cancel(
        &self,
        body: CancelBody,
        by: Principal,
    ) -> Result<CancelAnswer, ApiError> {
        let result = self.do_cancel(&body.id, by.clone()).await;
        self.recorded(&by, "cancel", &body.id, result).await
    }

    async fn do_cancel(&self, id: &str, by: Principal) -> Result<CancelAnswer, ApiError> {
        let done = match self.find(id).await? {
            IdMatch::Delivery { delivery, .. } => self.cancel_delivery(delivery).await?,
            IdMatch::Events(events) => match events[..] {
                [event] => self.cancel_event(event).await?,
                _ => return Err(several_events(&events)),
            },
            IdMatch::Refusal(_) | IdMatch::Quarantined(_) => {
                let detail = "this is the id of a request that was refused; it has no deliveries";
                return Err(nothing_to_cancel(detail.to_owned()));
            }
        };
        let CancelOutcome { deliveries, running } = done;
        tracing::info!(deliveries = deliveries.len(), running, %by, "deliveries cancelled");
        Ok(CancelAnswer { cancelled: deliveries, running })
    }

    async fn cancel_delivery(&self, id: DeliveryId) -> Result<CancelOutcome, ApiError> {
        let done = self.store.cancel(CancelSelection::Delivery(id)).await?;
        if !done.deliveries.is_empty() {
            return Ok(done);
        }
        let delivery = self.store.delivery(id).await?;
        let state = delivery.map(|delivery| delivery.state);
        Err(match state {
            None => id_not_found(&id.to_string()),
            Some(DeliveryState::DeadLetter) => nothing_to_cancel(format!(
                "{id} is a dead letter; `weir dead-letters discard {id}` discards it"
            )),
            Some(state) => {
                nothing_to_cancel(format!("{id} is {state}: there is nothing to cancel"))
            }
        })
    }

    async fn cancel_event(&self, id: EventId) -> Result<CancelOutcome, ApiError> {
        let event = self.stored_event(id).await?;
        let done = self.store.cancel(CancelSelection::Event(event.id)).await?;
        if done.deliveries.is_empty() {
            let detail = format!("no delivery of {id} is unfinished: it is {}", event.status);
            return Err(nothing_to_cancel(detail));
        }
        Ok(done)
    }
}

fn nothing_to_cancel(detail: String) -> ApiError {
    ApiError::conflict("nothing_to_cancel", detail)
}
