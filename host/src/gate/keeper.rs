//! Keeps what gates know in agreement with the store: an open breaker's state in the registry, so that it survives,
//! and a hold on its target, so that people see what waits and why. Also the gates' alarm clock.
//!
//! Nothing waits for this: a gate opens in memory, at once.

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

use super::{BreakerRecord, FlowControl, Standing};
use crate::runtime::shutdown::Drain;

/// The reason of a hold that stands for an open breaker.
const BREAKER: &str = "breaker";
/// Who places it.
const BY: &str = "weir";
/// How soon it is noticed that a person has released such a hold.
const LOOK: Duration = Duration::from_millis(500);
/// After the store failed.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// Tries to write an entry that somebody else writes too.
const CAS_TRIES: usize = 3;

/// What was to be written could not be kept.
#[derive(Debug, Error)]
enum PersistError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("another host keeps writing the breaker of {0}")]
    Contended(String),
}

/// Keeps gates and store in agreement.
#[derive(Debug)]
pub(crate) struct BreakerPersistence {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    drain: Drain,
    /// Something may be claimed again.
    freed: Arc<Notify>,
    /// A gate has changed.
    changed: Notify,
    gates: Lock<Vec<Arc<FlowControl>>>,
    /// What was kept of targets that nobody has a gate for yet.
    left: Lock<BTreeMap<String, BreakerRecord>>,
    /// What the store has, by target.
    rows: Mutex<BTreeMap<String, Rows>>,
}

/// What the store has of one gate.
#[derive(Debug, Default)]
struct Rows {
    record: Option<BreakerRecord>,
    version: Option<u64>,
    /// Its hold of this time of failing, in force or not: it keeps its number and its beginning.
    hold: Option<Hold>,
}

impl BreakerPersistence {
    /// For no gates yet. Tells `freed` when something may be claimed again.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        drain: Drain,
        freed: Arc<Notify>,
    ) -> Self {
        Self {
            store,
            clock,
            drain,
            freed,
            changed: Notify::new(),
            gates: Lock::default(),
            left: Lock::default(),
            rows: Mutex::default(),
        }
    }

    /// Keeps a gate too, and takes up what the process before this one kept of it.
    pub(crate) fn watch(&self, gate: &Arc<FlowControl>) {
        if let Some(record) = self.left.lock().remove(&gate.target.to_string()) {
            gate.restore(record);
        }
        self.gates.lock().push(Arc::clone(gate));
        self.changed.notify_one();
    }

    /// A gate has changed.
    pub(crate) fn tell(&self) {
        self.changed.notify_one();
    }

    /// Takes up what the process before this one kept, as soon as the store tells it. Nothing should be claimed before.
    pub(crate) async fn restore(&self) {
        while let Err(error) = self.try_restore().await {
            tracing::warn!(%error, "cannot read the breakers yet");
            sleep(FAILED_PAUSE).await;
        }
    }

    async fn try_restore(&self) -> Result<(), StoreError> {
        let mut all = self.rows.lock().await;
        let entries = self.store.list(EntryKind::Breaker).await?;
        for held in self.store.holds().await?.iter().filter(|held| is_breaker_hold(&held.hold)) {
            let rows = all.entry(held.hold.scope.to_string()).or_default();
            rows.hold = Some(held.clone());
        }
        let mut left = self.left.lock();
        for (target, entry) in entries {
            let rows = all.entry(target.clone()).or_default();
            rows.version = Some(entry.version);
            match serde_json::from_slice::<BreakerRecord>(
                entry.value.as_deref().unwrap_or_default(),
            ) {
                Ok(record) => {
                    rows.record = Some(record.clone());
                    left.insert(target, record);
                }
                Err(error) => {
                    tracing::warn!(target, %error, "a breaker's state is unreadable and is dropped");
                }
            }
        }
        for gate in self.gates.lock().iter() {
            if let Some(record) = left.remove(&gate.target.to_string()) {
                gate.restore(record);
            }
        }
        Ok(())
    }

    /// Until claiming stops.
    pub(crate) async fn run(&self) {
        loop {
            let next = self.keep().await;
            let alarm = async {
                match next {
                    Some(wait) => sleep(wait).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = alarm => self.freed.notify_one(),
                () = self.drain.claiming_stopped() => return,
            }
        }
    }

    /// Writes what has changed. How long until there is something to look at by itself.
    pub(crate) async fn keep(&self) -> Option<Duration> {
        let mut all = self.rows.lock().await;
        let mut next: Option<Duration> = None;
        let mut by_then = |wait: Duration| next = Some(next.map_or(wait, |next| next.min(wait)));
        let gates = self.gates.lock().clone();
        for gate in gates {
            let rows = all.entry(gate.target.to_string()).or_default();
            let standing = match self.agree(&gate, rows).await {
                Ok(standing) => standing,
                Err(error) => {
                    tracing::warn!(target = %gate.target, %error, "cannot keep a breaker's state, trying again");
                    by_then(FAILED_PAUSE);
                    continue;
                }
            };
            let now = self.clock.now();
            if let Some(until) = standing.paused_until {
                by_then(until.since(now));
            }
            if let (BreakerState::Open, Some(record)) = (standing.phase, &standing.record) {
                by_then(record.breaker.probe_at.since(now).min(LOOK));
            }
        }
        next
    }

    /// Brings the rows of one gate in line with it.
    async fn agree(&self, gate: &FlowControl, rows: &mut Rows) -> Result<Standing, PersistError> {
        if let Some(Hold { id, hold: NewHold { until: Some(until), .. }, .. }) = &rows.hold
            && gate.standing(self.clock.now()).phase == BreakerState::Open
        {
            let (id, until) = (*id, *until);
            let released = !self.store.holds().await?.iter().any(|held| held.id == id);
            let now = self.clock.now();
            // Not over, and gone: a person has ended it.
            if released && now < until {
                // From here on it is not in force, whatever it said: the next one is placed anew.
                if let Some(ended) = &mut rows.hold {
                    ended.hold.until = None;
                }
                gate.released(now);
                self.freed.notify_one();
                tracing::info!(target = %gate.target, "released, one is tried now");
            }
        }
        let standing = gate.standing(self.clock.now());
        // An entry that could not be read goes too.
        let left_over = standing.record.is_none() && rows.version.is_some();
        if standing.record != rows.record || left_over {
            let key = gate.target.to_string();
            self.write(&key, standing.record.as_ref(), rows).await?;
        }
        self.agree_on_the_hold(gate, &standing, rows).await?;
        Ok(standing)
    }

    /// The hold is in force while nothing may go, and ends by itself when one may be tried. Until the gate is closed
    /// again it is one and the same hold.
    async fn agree_on_the_hold(
        &self,
        gate: &FlowControl,
        standing: &Standing,
        rows: &mut Rows,
    ) -> Result<(), PersistError> {
        let record = standing.record.as_ref();
        match (standing.phase, record) {
            (BreakerState::Open, Some(record)) => {
                let (until, at) = (Some(record.breaker.probe_at), record.breaker.opened_at);
                if rows.hold.as_ref().is_some_and(|held| held.hold.until == until) {
                    return Ok(());
                }
                let (scope, reason, by) = (scope(&gate.target), BREAKER.into(), BY.into());
                let hold = NewHold { scope, reason, by, until };
                let placed = match &rows.hold {
                    Some(Hold { id, at, .. }) => {
                        let again = Hold { id: *id, hold, at: *at };
                        self.store.hold_again(again.clone()).await?;
                        again
                    }
                    None => {
                        let id = self.store.hold(hold.clone()).await?;
                        let placed = self.store.holds().await?;
                        let placed = placed.into_iter().find(|held| held.id == id);
                        placed.unwrap_or(Hold { id, hold, at })
                    }
                };
                rows.hold = Some(placed);
            }
            (BreakerState::Closed, _) => {
                if let Some(old) = rows.hold.take() {
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
        rows: &mut Rows,
    ) -> Result<(), PersistError> {
        // Plain data always serialises.
        let value = record.and_then(|record| serde_json::to_vec(record).ok());
        for _ in 0..CAS_TRIES {
            if value.is_none() && rows.version.is_none() {
                rows.record = None;
                return Ok(());
            }
            match self.store.cas(EntryKind::Breaker, key, rows.version, value.clone()).await? {
                CasOutcome::Written { version } => {
                    rows.version = value.is_some().then_some(version);
                    rows.record = record.cloned();
                    return Ok(());
                }
                CasOutcome::Conflict { found } => rows.version = found,
            }
        }
        Err(PersistError::Contended(key.into()))
    }
}

/// Forgets what was kept of a target that is another one now: it begins with a clean slate. For before gates are restored.
pub(crate) async fn forget(store: &dyn Store, target: &Target) -> Result<(), StoreError> {
    let key = target.to_string();
    if let Some(entry) = store.get(EntryKind::Breaker, &key).await? {
        store.cas(EntryKind::Breaker, &key, Some(entry.version), None).await?;
    }
    let of_target = scope(target);
    for held in store.holds().await? {
        if held.hold.scope == of_target && is_breaker_hold(&held.hold) {
            store.release(held.id).await?;
        }
    }
    Ok(())
}

/// Whether a hold stands for an open breaker.
#[must_use]
pub(crate) fn is_breaker_hold(hold: &NewHold) -> bool {
    &*hold.by == BY && &*hold.reason == BREAKER
}

fn scope(target: &Target) -> HoldScope {
    match target {
        Target::Handler(name) => HoldScope::Handler(name.clone()),
        Target::Destination(name) => HoldScope::Destination(name.clone()),
    }
}
