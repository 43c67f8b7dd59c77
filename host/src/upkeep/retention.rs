//! Retention: deletes old data from the store, a chunk at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use weir_store::upkeep::Retention;

use crate::config::{ConfiguredRetention, ConfiguredSources};
use crate::context::HubContext;
use crate::observe::health::Health;
use crate::observe::notice::Notice;

/// Time between two passes, if no setting has changed.
const EVERY: Duration = Duration::from_secs(600);
/// The same with a limit of the store's size. Changes of settings are seen as often.
const EVERY_IF_LIMITED: Duration = Duration::from_secs(30);

/// Time between two chunks, so that other writes do not wait.
const PAUSE: Duration = Duration::from_millis(50);

/// The dependencies of [`RetentionWorker`] besides the [`HubContext`].
#[derive(Debug)]
pub struct RetentionDeps {
    pub retention: ConfiguredRetention,
    /// The sources in force. Some of them have lives of their own.
    pub sources: ConfiguredSources,
    pub health: Arc<Health>,
}

/// Prunes the store periodically.
#[derive(Debug)]
pub struct RetentionWorker {
    ctx: HubContext,
    deps: RetentionDeps,
}

impl RetentionWorker {
    #[must_use]
    pub const fn new(ctx: HubContext, deps: RetentionDeps) -> Self {
        Self { ctx, deps }
    }

    /// Runs until claiming stops.
    pub async fn run(self) {
        let mut look = interval(EVERY_IF_LIMITED);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = None::<(Instant, Arc<Retention>)>;
        loop {
            tokio::select! {
                () = self.ctx.drain.claiming_stopped() => return,
                _ = look.tick() => {}
            }
            let current = self.deps.retention.current();
            let is_due = last.as_ref().is_none_or(|(at, with)| {
                current.max_bytes.is_some() || at.elapsed() >= EVERY || *with != current
            });
            if !is_due {
                continue;
            }
            last = Some((Instant::now(), current));
            tokio::select! {
                () = self.ctx.drain.claiming_stopped() => return,
                () = self.prune() => {}
            }
        }
    }

    async fn prune(&self) {
        let retention = self.retention();
        let (mut events, mut early, mut keys) = (0, 0, 0);
        loop {
            match self.ctx.store.prune(&retention).await {
                Ok(pruned) => {
                    events += pruned.events;
                    early += pruned.early;
                    keys += pruned.keys;
                    if !pruned.more {
                        self.deps.health.set_retention(None);
                        self.report_size(early, pruned.too_large, retention.max_bytes);
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "retention stopped; it continues later");
                    self.deps.health.set_retention(Some(error.to_string()));
                    break;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        if events + keys > 0 {
            tracing::info!(events, early, keys, "retention deleted old data");
        }
    }

    /// The lives of now: those of sources change while the hub runs.
    fn retention(&self) -> Retention {
        let sources = self.deps.sources.current();
        let lives = sources.iter().filter_map(|(name, of)| Some((name.clone(), of.payload_life?)));
        Retention {
            source_lives: lives.collect(),
            ..Retention::clone(&self.deps.retention.current())
        }
    }

    /// Reports events that were deleted before their time, and a store that is still too large.
    fn report_size(&self, early: u64, too_large: Option<u64>, max: Option<u64>) {
        if early > 0 {
            tracing::warn!(
                events = early,
                max_bytes = max,
                "finished events were deleted before their time, \
                because the store was larger than retention.max_bytes"
            );
        }
        if let (Some(bytes), Some(max)) = (too_large, max) {
            self.ctx.notices.post(Notice::StoreOverLimit { bytes, max });
        }
    }
}
