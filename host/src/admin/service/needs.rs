//! The numbers beside the console's navigation: what needs a person, and how much there is.

use weir_core::delivery::DeliveryState;
use weir_store::query::CountsFilter;

use super::AdminService;
use crate::api::QuarantineQuery;
use crate::api::params::Limit;

/// Quarantined requests that are counted; the navigation shows more as `99+`.
const QUARANTINED_MAX: usize = 100;

/// How many there are of each. None if the store does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NavCounts {
    pub(crate) dead_letters: Option<u64>,
    /// At most [`QUARANTINED_MAX`].
    pub(crate) quarantined: Option<u64>,
    pub(crate) sources: u64,
    pub(crate) handlers: u64,
    pub(crate) destinations: u64,
}

impl AdminService {
    /// Counts for the navigation of a page. Reads totals in memory and at most a hundred rows.
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
            sources: self.sources().items.len() as u64,
            handlers: self.handlers.handlers().len() as u64,
            destinations: self.egress.destinations().len() as u64,
        }
    }
}
