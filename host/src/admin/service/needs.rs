//! The numbers beside the console's navigation: what needs a person, and how much there is.

use weir_core::delivery::DeliveryState;
use weir_core::name::SourceName;
use weir_store::query::CountsFilter;

use super::AdminService;
use crate::api::params::Limit;
use crate::api::{EventView, QuarantineQuery};

/// Quarantined requests that are counted; the navigation shows more as `99+`.
const QUARANTINED_MAX: usize = 100;

/// The number of each. None if the store does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NavCounts {
    pub(crate) dead_letters: Option<u64>,
    /// At most [`QUARANTINED_MAX`].
    pub(crate) quarantined: Option<u64>,
    /// The number of the hold on the whole hub.
    pub(crate) paused: Option<u64>,
    /// Jobs that are not over.
    pub(crate) jobs: Option<u64>,
    pub(crate) sources: u64,
    pub(crate) handlers: u64,
    pub(crate) destinations: u64,
}

impl AdminService {
    /// Counts for the navigation of a page. Reads totals in memory and at most two hundred rows.
    pub(crate) async fn nav_counts(&self) -> NavCounts {
        let totals = self.store.counts(CountsFilter::Deliveries).await.ok();
        let dead = DeliveryState::DeadLetter.as_str();
        let dead_letters = totals
            .map(|rows| rows.iter().filter(|row| row.what == dead).map(|row| row.count).sum());
        let limit = Some(Limit::clamped(QUARANTINED_MAX));
        let quarantined = self.quarantine(QuarantineQuery { limit, ..Default::default() }).await;
        NavCounts {
            dead_letters,
            quarantined: quarantined.ok().map(|page| page.items.len() as u64),
            paused: self.hub_hold().await.map(|held| held.id.0),
            jobs: self.unfinished_jobs().await,
            sources: self.sources().items.len() as u64,
            handlers: self.handlers.handlers().len() as u64,
            destinations: self.egress.destinations().len() as u64,
        }
    }

    /// True if an event of a sender was ever stored.
    pub(crate) async fn has_events(&self) -> bool {
        let totals = self.store.counts(CountsFilter::Events).await.unwrap_or_default();
        let hub = SourceName::hub();
        totals.iter().any(|row| row.of != hub.as_str() && row.count > 0)
    }

    /// The subjects of events, which `of` finds in their bodies.
    pub(crate) async fn subjects(
        &self,
        events: &[EventView],
        of: impl Fn(&[u8]) -> Option<String>,
    ) -> Vec<Option<String>> {
        let mut subjects = Vec::with_capacity(events.len());
        for event in events {
            let body = self.event_body(event.id).await;
            subjects.push(body.ok().and_then(|body| of(&body)));
        }
        subjects
    }
}
