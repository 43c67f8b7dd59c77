//! Erasing the contents of events, by id or by business key. The audit log has who did it, and of
//! what.

use weir_core::business_key::BusinessKey;
use weir_core::id::EventId;
use weir_store::query::{EventFilter, PageRequest};
use weir_store::upkeep::Erased;

use super::lookup::IdMatch;
use super::{AdminService, Principal};
use crate::admin::error::ApiError;
use crate::api::{EraseAnswer, EraseBody};

/// Most events that are asked for in one call.
const EVENTS_MAX: usize = 500;

impl AdminService {
    /// Erases the contents of one event, or of all with a key.
    pub(crate) async fn erase(
        &self,
        body: EraseBody,
        by: Principal,
    ) -> Result<EraseAnswer, ApiError> {
        let what = match (&body.id, &body.key) {
            (Some(id), None) => id.clone(),
            (None, Some(key)) => key.to_string(),
            _ => {
                let detail = "give exactly one of `id` and `key`";
                return Err(ApiError::bad_request("malformed", detail));
            }
        };
        if body.dry_run {
            let (events, more) = self.events_to_erase(&body).await?;
            return Ok(EraseAnswer { dry_run: true, events, cancelled: 0, more });
        }
        let result = self.do_erase(&body, by.clone()).await;
        self.recorded(&by, "erase", &what, result).await
    }

    async fn do_erase(&self, body: &EraseBody, by: Principal) -> Result<EraseAnswer, ApiError> {
        let (asked, more) = self.events_to_erase(body).await?;
        let Erased { events, cancelled } = self.store.erase(asked).await?;
        tracing::warn!(events = events.len(), cancelled, %by, "contents of events erased");
        Ok(EraseAnswer { dry_run: false, events, cancelled, more })
    }

    /// The events that are meant, and true if there are more.
    async fn events_to_erase(&self, body: &EraseBody) -> Result<(Vec<EventId>, bool), ApiError> {
        match (&body.id, &body.key) {
            (Some(id), _) => Ok((self.events_of_id(id).await?, false)),
            (None, Some(key)) => self.events_of_key(key).await,
            (None, None) => Ok((Vec::new(), false)),
        }
    }

    async fn events_of_id(&self, id: &str) -> Result<Vec<EventId>, ApiError> {
        let events = match self.find(id).await? {
            IdMatch::Events(events) => events,
            IdMatch::Delivery { event, .. } => vec![event],
            IdMatch::Refusal(_) | IdMatch::Quarantined(_) => {
                let detail = "this is the id of a request that was refused; it has no event";
                return Err(ApiError::bad_request("invalid_id", detail));
            }
        };
        let mut stored = Vec::with_capacity(events.len());
        for event in events {
            stored.push(self.stored_event(event).await?.id);
        }
        Ok(stored)
    }

    async fn events_of_key(&self, key: &BusinessKey) -> Result<(Vec<EventId>, bool), ApiError> {
        let filter = EventFilter { keys: vec![key.clone()], ..EventFilter::default() };
        let page = PageRequest { limit: EVENTS_MAX, after: None };
        let found = self.store.events(filter, page).await?;
        let events = found.items.iter().map(|event| event.id).collect();
        Ok((events, found.next.is_some()))
    }
}
