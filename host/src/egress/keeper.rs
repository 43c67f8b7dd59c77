//! Keeps what gates know in agreement with the store: an open breaker's state in the registry, so that it survives,
//! and a hold on its destination, so that people see what waits and why. Also the gates' alarm clock.
//!
//! Sending never waits for this: a gate opens in memory, at once.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Mutex, Notify};
use tokio::time::sleep;
use weir_core::breaker::Phase;
use weir_core::name::DestinationName;
use weir_core::time::{Clock, Timestamp};
use weir_store::hold::{HoldId, HoldScope, NewHold};
use weir_store::registry::{CasOutcome, Kind};
use weir_store::{Store, StoreError};

use super::gate::{Record, Standing};
use super::outlet::Outlet;
use crate::shutdown::Drain;

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

/// What was written could not be kept.
#[derive(Debug, Error)]
enum KeepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("another host keeps writing the breaker of {0}")]
    Contended(String),
}

/// Keeps gates and store in agreement.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) drain: Drain,
    pub(super) outlets: Vec<Arc<Outlet>>,
    /// A gate has changed.
    pub(super) changed: Arc<Notify>,
    /// Something may be sent again.
    pub(super) freed: Arc<Notify>,
    pub(super) rows: Mutex<BTreeMap<DestinationName, Rows>>,
}

/// What the store has of one gate.
#[derive(Debug, Default)]
pub(super) struct Rows {
    record: Option<Record>,
    version: Option<u64>,
    hold: Option<(HoldId, Option<Timestamp>)>,
}

impl Keeper {
    /// Takes up what the process before this one kept, as soon as the store tells it.
    pub(super) async fn restore(&self) {
        while let Err(error) = self.try_restore().await {
            tracing::warn!(%error, "cannot read the breakers of destinations yet");
            sleep(FAILED_PAUSE).await;
        }
    }

    async fn try_restore(&self) -> Result<(), StoreError> {
        let mut all = self.rows.lock().await;
        let kept: BTreeMap<_, _> = self.store.list(Kind::Breaker).await?.into_iter().collect();
        let holds = self.store.holds().await?;
        for outlet in &self.outlets {
            let rows = all.entry(outlet.name().clone()).or_default();
            if let Some(entry) = kept.get(&outlet.target.to_string()) {
                rows.version = Some(entry.version);
                let text = entry.value.as_deref().unwrap_or_default();
                match serde_json::from_slice::<Record>(text) {
                    Ok(record) => {
                        rows.record = Some(record.clone());
                        outlet.gate.restore(record);
                    }
                    Err(error) => {
                        tracing::warn!(target = %outlet.target, %error, "a breaker's state is unreadable and is dropped");
                    }
                }
            }
            let scope = scope(outlet);
            let ours = |hold: &NewHold| hold.scope == scope && is_breakers(hold);
            let held = holds.iter().find(|held| ours(&held.hold));
            rows.hold = held.map(|held| (held.id, held.hold.until));
        }
        Ok(())
    }

    /// Until claiming stops.
    pub(super) async fn run(&self) {
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
    pub(super) async fn keep(&self) -> Option<Duration> {
        let mut all = self.rows.lock().await;
        let mut next: Option<Duration> = None;
        let mut by_then = |wait: Duration| next = Some(next.map_or(wait, |next| next.min(wait)));
        for outlet in &self.outlets {
            let rows = all.entry(outlet.name().clone()).or_default();
            let standing = match self.agree(outlet, rows).await {
                Ok(standing) => standing,
                Err(error) => {
                    tracing::warn!(target = %outlet.target, %error, "cannot keep a breaker's state, trying again");
                    by_then(FAILED_PAUSE);
                    continue;
                }
            };
            let now = self.clock.now();
            if let Some(until) = standing.paused_until {
                by_then(until.since(now));
            }
            if let (Phase::Open, Some(record)) = (standing.phase, &standing.record) {
                by_then(record.breaker.probe_at.since(now).min(LOOK));
            }
        }
        next
    }

    /// Brings the rows of one gate in line with it.
    async fn agree(&self, outlet: &Outlet, rows: &mut Rows) -> Result<Standing, KeepError> {
        if let Some((id, Some(until))) = rows.hold
            && outlet.gate.standing(self.clock.now()).phase == Phase::Open
        {
            let released = !self.store.holds().await?.iter().any(|held| held.id == id);
            let now = self.clock.now();
            // Not over, and gone: a person has ended it.
            if released && now < until {
                outlet.gate.released(now);
                self.freed.notify_one();
                tracing::info!(destination = %outlet.name(), "released, one message is tried now");
            }
        }
        let standing = outlet.gate.standing(self.clock.now());
        outlet.metrics.breaker(standing.phase);
        if standing.record != rows.record {
            let key = outlet.target.to_string();
            self.write(&key, standing.record.as_ref(), rows).await?;
        }
        let open = standing.record.as_ref().filter(|_| standing.phase == Phase::Open);
        let until = open.map(|record| Some(record.breaker.probe_at));
        if rows.hold.map(|(_, until)| until) != until {
            let placed = match until {
                Some(until) => {
                    let (reason, by) = (BREAKER.into(), BY.into());
                    let hold = NewHold { scope: scope(outlet), reason, by, until };
                    Some((self.store.hold(hold).await?, until))
                }
                None => None,
            };
            if let Some((old, _)) = std::mem::replace(&mut rows.hold, placed) {
                self.store.release(old).await?;
            }
        }
        Ok(standing)
    }

    async fn write(
        &self,
        key: &str,
        record: Option<&Record>,
        rows: &mut Rows,
    ) -> Result<(), KeepError> {
        // Plain data always serialises.
        let value = record.and_then(|record| serde_json::to_vec(record).ok());
        for _ in 0..CAS_TRIES {
            if value.is_none() && rows.version.is_none() {
                break;
            }
            match self.store.cas(Kind::Breaker, key, rows.version, value.clone()).await? {
                CasOutcome::Written { version } => {
                    rows.version = value.is_some().then_some(version);
                    rows.record = record.cloned();
                    return Ok(());
                }
                CasOutcome::Conflict { found } => rows.version = found,
            }
        }
        if value.is_none() && rows.version.is_none() {
            rows.record = None;
            return Ok(());
        }
        Err(KeepError::Contended(key.into()))
    }
}

/// Whether a hold stands for an open breaker.
#[must_use]
pub fn is_breakers(hold: &NewHold) -> bool {
    &*hold.by == BY && &*hold.reason == BREAKER
}

fn scope(outlet: &Outlet) -> HoldScope {
    HoldScope::Destination(outlet.name().clone())
}
