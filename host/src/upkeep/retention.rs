//! Retention: deletes old data from the store, a chunk at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use weir_store::Store;
use weir_store::upkeep::Retention;

use crate::observe::health::Health;
use crate::runtime::shutdown::Drain;

/// Time between two passes.
const EVERY: Duration = Duration::from_secs(600);

/// Time between two chunks, so that other writes do not wait.
const PAUSE: Duration = Duration::from_millis(50);

/// Prunes the store periodically.
#[derive(Debug)]
pub struct RetentionWorker {
    store: Arc<dyn Store>,
    retention: Retention,
    health: Arc<Health>,
    drain: Drain,
}

impl RetentionWorker {
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        retention: Retention,
        health: Arc<Health>,
        drain: Drain,
    ) -> Self {
        Self { store, retention, health, drain }
    }

    /// Runs until claiming stops.
    pub async fn run(self) {
        let mut due = interval(EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.drain.claiming_stopped() => return,
                _ = due.tick() => {}
            }
            tokio::select! {
                () = self.drain.claiming_stopped() => return,
                () = self.prune() => {}
            }
        }
    }

    async fn prune(&self) {
        let (mut events, mut keys) = (0, 0);
        loop {
            match self.store.prune(&self.retention).await {
                Ok(pruned) => {
                    events += pruned.events;
                    keys += pruned.keys;
                    if !pruned.more {
                        self.health.set_retention(None);
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "retention stopped; it continues later");
                    self.health.set_retention(Some(error.to_string()));
                    break;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        if events + keys > 0 {
            tracing::info!(events, keys, "retention deleted old data");
        }
    }
}
