//! Roll-ups: once a minute and at the end, what was counted since the last time is added to the
//! store, for charts. Nothing is written per event.

mod delta;
pub mod layout;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::TryRng as _;
use rand::rngs::SysRng;
use weir_core::time::Timestamp;
use weir_store::StoreError;
use weir_store::query::CountsFilter;
use weir_store::rollup::{MINUTE, ROLLUP_SERIES_MAX, Rollup, RollupBatch, step_start};

use crate::context::HubContext;
use crate::observe::metrics::Metrics;
use delta::Counted;

/// Adds roll-ups to the store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RollupWorker {
    ctx: HubContext,
    unsaved: Unsaved,
}

/// Counts that are not in the store yet. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Unsaved {
    metrics: Metrics,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// The counters as they were when the last batch was made.
    counted: Counted,
    /// The time at which it was made.
    since: Timestamp,
    /// A batch that may not be stored. It is repeated as it is, so that it counts once.
    pending: Option<RollupBatch>,
}

impl Unsaved {
    /// Begins with counters that are all zero.
    #[must_use]
    pub fn new(metrics: Metrics, now: Timestamp) -> Self {
        let state = State { counted: Counted::new(), since: now, pending: None };
        Self { metrics, state: Arc::new(Mutex::new(state)) }
    }

    /// The roll-ups of the current minute, as far as the store does not have them.
    #[must_use]
    pub fn rows(&self) -> Vec<(Box<str>, Rollup)> {
        let state = self.state.lock();
        let mut rows: BTreeMap<Box<str>, Rollup> = BTreeMap::new();
        let pending = state.pending.iter().flat_map(|batch| batch.rows.iter().cloned());
        for (series, rollup) in
            delta::between(&state.counted, &self.counted()).into_iter().chain(pending)
        {
            rows.entry(series).or_default().merge(&rollup);
        }
        rows.into_iter().collect()
    }

    fn counted(&self) -> Counted {
        let sources = self.metrics.sources().into_iter();
        let sources = sources.map(|(name, of)| (layout::source(&name), layout::of_source(&of)));
        let targets = self.metrics.targets().into_iter();
        sources.chain(targets.map(|(name, of)| (name, layout::of_target(&of)))).collect()
    }

    /// The batch to store now: the pending one, or what was counted since.
    fn batch(&self, hub: Option<Rollup>, now: Timestamp) -> RollupBatch {
        let mut state = self.state.lock();
        if let Some(pending) = &state.pending {
            return pending.clone();
        }
        let counted = self.counted();
        let mut rows = delta::between(&state.counted, &counted);
        delta::limit(&mut rows, ROLLUP_SERIES_MAX - 1);
        rows.extend(hub.map(|hub| (layout::HUB.into(), hub)));
        // It belongs to the minute in which it began, or to the last one after a long failure.
        let at = state.since.max(now.before(MINUTE)).min(now);
        // Without randomness, the time: it only has to differ from the batch before.
        let id = SysRng.try_next_u64().unwrap_or(now.as_millis());
        let batch = RollupBatch { id, at, rows };
        *state = State { counted, since: now, pending: Some(batch.clone()) };
        batch
    }

    fn stored(&self, id: u64) {
        let pending = &mut self.state.lock().pending;
        if pending.as_ref().is_some_and(|batch| batch.id == id) {
            *pending = None;
        }
    }
}

impl RollupWorker {
    #[must_use]
    pub fn new(ctx: HubContext) -> Self {
        let unsaved = Unsaved::new(ctx.metrics.clone(), ctx.clock.now());
        Self { ctx, unsaved }
    }

    /// The counts that are not in the store yet.
    #[must_use]
    pub fn unsaved(&self) -> Unsaved {
        self.unsaved.clone()
    }

    /// Saves at the end of each minute until claiming stops. What ends after that is saved by the
    /// last call of [`Self::save`].
    pub async fn run(self) {
        loop {
            let wait = until_next_minute(self.ctx.clock.now());
            tokio::select! {
                () = self.ctx.drain.claiming_stopped() => return,
                () = tokio::time::sleep(wait) => self.save().await,
            }
        }
    }

    /// Stores what was counted. A failure is logged, and the same is tried the next time.
    pub async fn save(&self) {
        if let Err(error) = self.try_save().await {
            tracing::warn!(%error, "roll-ups are not stored; they are kept for the next minute");
        }
    }

    async fn try_save(&self) -> Result<(), StoreError> {
        let hub = self.hub().await?;
        // A batch from before first, then what was counted since.
        let had_pending = self.unsaved.state.lock().pending.is_some();
        for _ in 0..=usize::from(had_pending) {
            let batch = self.unsaved.batch(Some(hub.clone()), self.ctx.clock.now());
            let id = batch.id;
            self.ctx.store.rollups_put(batch).await?;
            self.unsaved.stored(id);
        }
        Ok(())
    }

    /// The levels of the hub now.
    async fn hub(&self) -> Result<Rollup, StoreError> {
        let deliveries = self.ctx.store.counts(CountsFilter::Deliveries).await?;
        let oldest = self.ctx.store.oldest_waiting().await?;
        Ok(layout::of_hub(&deliveries, &oldest, self.ctx.clock.now()))
    }
}

/// The time until the next whole minute.
fn until_next_minute(now: Timestamp) -> Duration {
    step_start(now, MINUTE).after(MINUTE).since(now)
}
