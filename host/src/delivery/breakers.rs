//! Saves open breakers in the store: in the registry, so that they survive a restart, and as holds,
//! so that operators see which deliveries wait and why. Also wakes the claim loop when a pause
//! ends.
//!
//! Attempts never wait for this: breakers open in memory, at once.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex as Lock;
use thiserror::Error;
use tokio::sync::{Mutex, Notify};
use tokio::time::sleep;
use weir_core::breaker::BreakerState;
use weir_core::name::Target;
use weir_core::time::Clock;
use weir_store::hold::{Hold, HoldScope, NewHold};
use weir_store::registry::{CasOutcome, EntryKind};
use weir_store::{Store, StoreError};

use super::flow_control::{BreakerRecord, FlowControl, FlowStatus};
use crate::runtime::shutdown::Drain;

/// The reason of the holds that are placed here.
const BREAKER: &str = "breaker";
/// The name under which they are placed.
pub(crate) const HUB: &str = "weir";
/// The longest time until a hold is noticed that an operator released.
const RELEASE_CHECK: Duration = Duration::from_millis(500);
/// The pause after the store failed.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// Tries to write an entry that another process writes too.
const CAS_TRIES: usize = 3;

/// A breaker's state that could not be saved.
#[derive(Debug, Error)]
enum PersistError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("another process keeps writing the breaker of {0}")]
    Contended(String),
}

/// Keeps the breakers in memory and their entries and holds in the store in agreement.
#[derive(Debug)]
pub(crate) struct BreakerPersistence {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    drain: Drain,
    /// Notified when deliveries may be claimed again.
    wake: Arc<Notify>,
    /// Notified when the state of a target has changed.
    changed: Notify,
    targets: Lock<Vec<Arc<FlowControl>>>,
    /// Stored breakers of targets that are not known yet.
    unclaimed: Lock<BTreeMap<String, BreakerRecord>>,
    /// The content of the store, by target.
    stored: Mutex<BTreeMap<String, StoredBreaker>>,
}

/// The entry and the hold of one target in the store.
#[derive(Debug, Default)]
struct StoredBreaker {
    record: Option<BreakerRecord>,
    version: Option<u64>,
    /// The hold since the breaker opened, in force or not. It keeps its id and its start until the
    /// breaker closes.
    hold: Option<Hold>,
}

impl BreakerPersistence {
    /// For no targets yet.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        drain: Drain,
        wake: Arc<Notify>,
    ) -> Self {
        Self {
            store,
            clock,
            drain,
            wake,
            changed: Notify::new(),
            targets: Lock::default(),
            unclaimed: Lock::default(),
            stored: Mutex::default(),
        }
    }

    /// Adds a target, and restores its breaker if an earlier process left it open.
    pub(crate) fn add(&self, flow: &Arc<FlowControl>) {
        if let Some(record) = self.unclaimed.lock().remove(&flow.target.to_string()) {
            flow.restore(record);
        }
        self.targets.lock().push(flow.clone());
        self.changed.notify_one();
    }

    /// Forgets a target that is gone. What the store has of it stays, as for a target that is not
    /// known at the start.
    pub(crate) fn forget(&self, target: &Target) {
        self.targets.lock().retain(|flow| flow.target != *target);
    }

    /// Gives the breaker of a target to another name, as the store has done. The target has no
    /// attempts meanwhile.
    pub(crate) async fn rename(&self, from: &Target, to: &Target) {
        let mut stored = self.stored.lock().await;
        let flow = {
            let mut known = self.targets.lock();
            known.iter().position(|flow| flow.target == *from).map(|at| known.remove(at))
        };
        let record = flow.and_then(|flow| flow.status(self.clock.now()).record);
        if let Some(record) = record {
            self.unclaimed.lock().insert(to.to_string(), record);
        }
        let Some(mut row) = stored.remove(&from.to_string()) else { return };
        let entry = self.store.get(EntryKind::Breaker, &to.to_string()).await;
        row.version = entry.ok().flatten().map(|entry| entry.version);
        if let Some(hold) = &mut row.hold {
            hold.hold.scope = HoldScope::from(to);
        }
        stored.insert(to.to_string(), row);
    }

    /// Says that the state of a target has changed.
    pub(crate) fn notify_changed(&self) {
        self.changed.notify_one();
    }

    /// Restores the breakers that an earlier process left open, as soon as the store can be read.
    /// Nothing may be claimed before.
    pub(crate) async fn restore(&self) {
        while let Err(error) = self.try_restore().await {
            tracing::warn!(%error, "cannot read the breakers, trying again");
            sleep(FAILED_PAUSE).await;
        }
    }

    async fn try_restore(&self) -> Result<(), StoreError> {
        let mut stored = self.stored.lock().await;
        let entries = self.store.list(EntryKind::Breaker).await?;
        for held in self.store.holds().await?.iter().filter(|held| is_breaker_hold(&held.hold)) {
            stored.entry(held.hold.scope.to_string()).or_default().hold = Some(held.clone());
        }
        let mut unclaimed = self.unclaimed.lock();
        for (target, entry) in entries {
            let row = stored.entry(target.clone()).or_default();
            row.version = Some(entry.version);
            match serde_json::from_slice::<BreakerRecord>(
                entry.value.as_deref().unwrap_or_default(),
            ) {
                Ok(record) => {
                    row.record = Some(record.clone());
                    unclaimed.insert(target, record);
                }
                Err(error) => {
                    tracing::warn!(target, %error, "stored breaker cannot be read, ignoring it");
                }
            }
        }
        for flow in self.targets.lock().iter() {
            if let Some(record) = unclaimed.remove(&flow.target.to_string()) {
                flow.restore(record);
            }
        }
        Ok(())
    }

    /// Saves changes as they come, until claiming stops.
    pub(crate) async fn run(&self) {
        loop {
            let next = self.save().await;
            let next_change = async {
                match next {
                    Some(wait) => sleep(wait).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = next_change => self.wake.notify_one(),
                () = self.drain.claiming_stopped() => return,
            }
        }
    }

    /// Saves what has changed. Returns the time until the next change that comes by itself, such as
    /// the end of a pause.
    pub(crate) async fn save(&self) -> Option<Duration> {
        let mut stored = self.stored.lock().await;
        let mut next: Option<Duration> = None;
        let mut within = |wait: Duration| next = Some(next.map_or(wait, |next| next.min(wait)));
        let targets = self.targets.lock().clone();
        for flow in targets {
            let row = stored.entry(flow.target.to_string()).or_default();
            let status = match self.sync(&flow, row).await {
                Ok(status) => status,
                Err(error) => {
                    let target = &flow.target;
                    tracing::warn!(%target, %error, "cannot save breaker, trying again");
                    within(FAILED_PAUSE);
                    continue;
                }
            };
            let now = self.clock.now();
            if let Some(until) = status.paused_until {
                within(until.since(now));
            }
            if let (BreakerState::Open, Some(record)) = (status.breaker, &status.record) {
                within(record.breaker.probe_at.since(now).min(RELEASE_CHECK));
            }
        }
        next
    }

    /// Brings the entry and the hold of one target in line with its breaker.
    async fn sync(
        &self,
        flow: &FlowControl,
        stored: &mut StoredBreaker,
    ) -> Result<FlowStatus, PersistError> {
        self.check_release(flow, stored).await?;
        let status = flow.status(self.clock.now());
        // An entry that could not be read is removed too.
        let left_over = status.record.is_none() && stored.version.is_some();
        if status.record != stored.record || left_over {
            self.write(&flow.target.to_string(), status.record.as_ref(), stored).await?;
        }
        self.sync_hold(flow, &status, stored).await?;
        Ok(status)
    }

    /// Ends the pause of a breaker whose hold an operator has released.
    async fn check_release(
        &self,
        flow: &FlowControl,
        stored: &mut StoredBreaker,
    ) -> Result<(), PersistError> {
        let Some(Hold { id, hold: NewHold { until: Some(until), .. }, .. }) = &stored.hold else {
            return Ok(());
        };
        let (id, until) = (*id, *until);
        if flow.status(self.clock.now()).breaker != BreakerState::Open
            || self.store.holds().await?.iter().any(|held| held.id == id)
        {
            return Ok(());
        }
        let now = self.clock.now();
        // A hold that is gone before its end was released by an operator.
        if now < until {
            // It is not in force any more, so the next one is placed anew.
            if let Some(ended) = &mut stored.hold {
                ended.hold.until = None;
            }
            flow.end_pause(now);
            self.wake.notify_one();
            tracing::info!(target = %flow.target, "hold released, trying one delivery");
        }
        Ok(())
    }

    /// Places or ends the hold of a target. It is in force until the next probe, and stays the same
    /// hold until the breaker is closed.
    async fn sync_hold(
        &self,
        flow: &FlowControl,
        status: &FlowStatus,
        stored: &mut StoredBreaker,
    ) -> Result<(), PersistError> {
        match (status.breaker, &status.record) {
            (BreakerState::Open, Some(record)) => {
                let (until, at) = (Some(record.breaker.probe_at), record.breaker.opened_at);
                if stored.hold.as_ref().is_some_and(|held| held.hold.until == until) {
                    return Ok(());
                }
                let (scope, reason, by) =
                    (HoldScope::from(&flow.target), BREAKER.into(), HUB.into());
                let hold = NewHold { scope, reason, by, until };
                let placed = match &stored.hold {
                    Some(Hold { id, at, .. }) => {
                        let again = Hold { id: *id, hold, at: *at };
                        self.store.restore_hold(again.clone()).await?;
                        again
                    }
                    None => {
                        let id = self.store.hold(hold.clone()).await?;
                        let placed = self.store.holds().await?;
                        let placed = placed.into_iter().find(|held| held.id == id);
                        placed.unwrap_or(Hold { id, hold, at })
                    }
                };
                stored.hold = Some(placed);
            }
            (BreakerState::Closed, _) => {
                if let Some(old) = stored.hold.take() {
                    self.store.release(old.id).await?;
                }
            }
            (BreakerState::Open | BreakerState::HalfOpen, _) => {}
        }
        Ok(())
    }

    async fn write(
        &self,
        key: &str,
        record: Option<&BreakerRecord>,
        stored: &mut StoredBreaker,
    ) -> Result<(), PersistError> {
        // Plain data always serialises.
        let value = record.and_then(|record| serde_json::to_vec(record).ok());
        for _ in 0..CAS_TRIES {
            if value.is_none() && stored.version.is_none() {
                stored.record = None;
                return Ok(());
            }
            match self.store.cas(EntryKind::Breaker, key, stored.version, value.clone()).await? {
                CasOutcome::Written { version } => {
                    stored.version = value.is_some().then_some(version);
                    stored.record = record.cloned();
                    return Ok(());
                }
                CasOutcome::Conflict { found } => stored.version = found,
            }
        }
        Err(PersistError::Contended(key.into()))
    }
}

/// Removes the stored breaker of a target whose configuration has changed, and its hold. Call it
/// before breakers are restored.
pub(crate) async fn reset(store: &dyn Store, target: &Target) -> Result<(), StoreError> {
    let key = target.to_string();
    if let Some(entry) = store.get(EntryKind::Breaker, &key).await? {
        store.cas(EntryKind::Breaker, &key, Some(entry.version), None).await?;
    }
    let scope = HoldScope::from(target);
    for held in store.holds().await? {
        if held.hold.scope == scope && is_breaker_hold(&held.hold) {
            store.release(held.id).await?;
        }
    }
    Ok(())
}

/// True for a hold that was placed here.
pub(crate) fn is_breaker_hold(hold: &NewHold) -> bool {
    &*hold.by == HUB && &*hold.reason == BREAKER
}
