//! The dead letters of the admin API: lists them, shows one with its attempts, and makes one due
//! again.

use weir_core::delivery::DeliveryState;
use weir_store::query::{DeliveryDetail, DeliveryFilter, EventFilter};
use weir_store::upkeep::{ReplayRequest, ReplaySelection};

use super::events::{list_page, page_request};
use super::lookup::IdMatch;
use super::{AdminService, Principal, views};
use crate::admin::error::ApiError;
use crate::api::{DeadLettersQuery, DeliveryView, ListPage, RequeueAnswer};

impl AdminService {
    /// Dead letters, newest first.
    pub(crate) async fn dead_letters(
        &self,
        query: DeadLettersQuery,
    ) -> Result<ListPage<DeliveryView>, ApiError> {
        let DeadLettersQuery { target, source, kind, since, until, limit, cursor } = query;
        let now = self.clock.now();
        let filter = DeliveryFilter {
            states: vec![DeliveryState::DeadLetter],
            targets: target.values().to_vec(),
            of: EventFilter {
                sources: source.values().to_vec(),
                kinds: kind.into_values(),
                since: since.map(|moment| moment.resolve(now)),
                until: until.map(|moment| moment.resolve(now)),
                ..EventFilter::default()
            },
        };
        let found = self.store.deliveries(filter, page_request(limit, cursor)).await?;
        let has_alternatives = source.values().len() > 1 || target.values().len() > 1;
        if found.items.is_empty() || has_alternatives {
            self.check_sources(source.values()).await?;
            self.check_targets(target.values()).await?;
        }
        Ok(list_page(found, views::delivery))
    }

    /// One dead letter with its attempts.
    pub(crate) async fn dead_letter(&self, id: &str) -> Result<DeliveryView, ApiError> {
        Ok(views::delivery(&self.find_dead_letter(id).await?))
    }

    /// Makes one dead letter due again. It may fail as often as a new delivery.
    pub(crate) async fn requeue(&self, id: &str, by: Principal) -> Result<RequeueAnswer, ApiError> {
        let result = self.do_requeue(id, by.clone()).await;
        self.recorded(&by, "requeue", id, result).await
    }

    async fn do_requeue(&self, id: &str, by: Principal) -> Result<RequeueAnswer, ApiError> {
        let delivery = self.find_dead_letter(id).await?;
        // The request is named after the current generation. If two operators ask at the same
        // time, the delivery is made due only once.
        let request = format!("requeue:{}:{}", delivery.id, delivery.generation);
        let what = ReplaySelection::Delivery(delivery.id);
        let replay = ReplayRequest { what, limit: 1, request, new_ids: false };
        let replayed = self.store.replay(replay).await?;
        if !replayed.deliveries.contains(&delivery.id) {
            return Err(not_a_dead_letter("it is being requeued already"));
        }
        let DeliveryDetail { id, target, .. } = &delivery;
        tracing::info!(delivery = %id, %target, %by, "dead letter requeued");
        Ok(RequeueAnswer { requeued: replayed.deliveries })
    }

    async fn find_dead_letter(&self, id: &str) -> Result<DeliveryDetail, ApiError> {
        let delivery = match self.find(id).await {
            Ok(IdMatch::Delivery { delivery, .. }) => self.store.delivery(delivery).await?,
            Ok(_) => {
                let detail = "this is not the id of a delivery; `weir events ID` shows the \
                              deliveries of an event";
                return Err(ApiError::bad_request("invalid_id", detail));
            }
            Err(error) if error.code() == "event_not_found" => None,
            Err(error) => return Err(error),
        };
        let Some(delivery) = delivery else {
            let detail = "there is no delivery with this id; it may be past its retention";
            return Err(ApiError::not_found("dead_letter_not_found", detail));
        };
        match delivery.state {
            DeliveryState::DeadLetter => Ok(delivery),
            state => Err(not_a_dead_letter(&format!("it is {state}"))),
        }
    }
}

fn not_a_dead_letter(why: &str) -> ApiError {
    ApiError::conflict("not_a_dead_letter", format!("this delivery is not a dead letter: {why}"))
}
