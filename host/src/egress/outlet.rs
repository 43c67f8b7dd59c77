//! One destination at work: how it is reached, its gate, what is under way, and how it stands for people.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::Semaphore;
use weir_core::breaker::BreakerChange;
use weir_core::hops::HopKey;
use weir_core::name::{DestinationName, Target};
use weir_core::time::Timestamp;
use weir_store::ClaimRequest;

use super::EgressError;
use super::webhook::Endpoint;
use crate::claims::ClaimCounter;
use crate::config::{Destination, DestinationKind};
use crate::gate::{AttemptEnd, AttemptPermit, FlowControl, TargetHealth};
use crate::observe::metrics::{Metrics, TargetMetrics};
use crate::observe::notice::{Notice, Notices};

/// Claims of one destination that are sent but not yet settled, beside those being sent.
const UNSETTLED_MAX: usize = 512;

/// One destination at work.
pub(super) struct DestinationRuntime {
    pub(super) destination: Arc<Destination>,
    pub(super) target: Target,
    /// None for an inbox.
    pub(super) endpoint: Option<Endpoint>,
    pub(super) gate: Arc<FlowControl>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) in_hand: Arc<ClaimCounter>,
    pub(super) metrics: Arc<TargetMetrics>,
}

impl fmt::Debug for DestinationRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DestinationRuntime").field("target", &self.target).finish_non_exhaustive()
    }
}

/// How it stands with a destination, for the API.
#[derive(Debug, Clone, Serialize)]
pub struct DestinationStatus {
    /// Its name.
    pub name: DestinationName,
    /// `webhook` or `inbox`.
    pub kind: &'static str,
    /// `ok`: messages go out. `failing`: it failed, so they wait, and one is tried now and then. `paused`: it asked to
    /// be left alone for a while, or an operator holds it.
    pub state: TargetHealth,
    /// Since when it is failing.
    pub failing_since: Option<Timestamp>,
    /// The reason, if it is not ok.
    pub reason: Option<Box<str>>,
    /// Time of the next try, if not at once.
    pub next_try: Option<Timestamp>,
    /// Messages that were tried without success since it is failing.
    pub failed_tries: u32,
    /// Number of times that it began to count as failing since the process started.
    pub times_failing: u64,
    /// Messages being sent.
    pub sending: usize,
    /// How many may be sent at once.
    pub concurrency: usize,
    /// How many may be just now, as far as it said that it has too much to do.
    pub places: usize,
    /// Until when it is sent nothing, for the same reason.
    pub paused_until: Option<Timestamp>,
    /// Attempts that worked since the process started.
    pub sent: u64,
    /// Attempts that did not.
    pub failed: u64,
}

impl DestinationRuntime {
    pub(super) fn new(
        destination: &Arc<Destination>,
        metrics: &Metrics,
        hops: &Arc<HopKey>,
    ) -> Result<Self, EgressError> {
        let target = Target::Destination(destination.name.clone());
        let endpoint = match &destination.kind {
            DestinationKind::Webhook(webhook) => {
                let refused = |cause| EgressError { destination: destination.name.clone(), cause };
                Some(
                    Endpoint::new(webhook, destination.concurrency, Arc::clone(hops))
                        .map_err(refused)?,
                )
            }
            DestinationKind::Inbox => None,
        };
        let metrics = metrics.target(&target);
        let policy = destination.breaker.clone();
        let gate =
            FlowControl::new(target.clone(), policy, destination.concurrency, Arc::clone(&metrics));
        Ok(Self {
            endpoint,
            gate: Arc::new(gate),
            permits: Arc::new(Semaphore::new(destination.concurrency)),
            in_hand: Arc::default(),
            metrics,
            target,
            destination: Arc::clone(destination),
        })
    }

    pub(super) fn name(&self) -> &DestinationName {
        &self.destination.name
    }

    /// What it has room for: no more than can be sent at once, nor while too much waits to be settled, nor than its
    /// gate lets through.
    pub(super) fn wanted(&self, now: Timestamp) -> Option<[ClaimRequest; 2]> {
        let unsettled = self.in_hand.count();
        let permits = self.permits.available_permits();
        let limit = permits.min(UNSETTLED_MAX.saturating_sub(unsettled));
        self.gate.wanted(limit, self.sending(), now)
    }

    fn sending(&self) -> usize {
        self.destination.concurrency.saturating_sub(self.permits.available_permits())
    }

    /// Sending has ended: tells the gate, and everybody else what that changed. True if there is something for the
    /// keeper to do.
    pub(super) fn ended(
        &self,
        leave: AttemptPermit,
        end: &AttemptEnd<'_>,
        notices: &Notices,
        now: Timestamp,
    ) -> bool {
        let change = leave.ended(end, now);
        if let Some(change) = change {
            self.tell(change, notices, now);
        }
        change.is_some() || end.slows.is_some()
    }

    fn tell(&self, change: BreakerChange, notices: &Notices, now: Timestamp) {
        let standing = self.gate.standing(now);
        let destination = self.name().clone();
        match (change, standing.record) {
            (BreakerChange::Opened(_), Some(record)) => {
                let (reason, next_try) = (record.reason, record.breaker.probe_at);
                tracing::warn!(
                    %destination, %reason, %next_try,
                    "destination paused after failures: its messages wait"
                );
                notices.tell(Notice::DestinationFailing { destination, reason, at: now, next_try });
            }
            (BreakerChange::Reopened, Some(record)) => {
                let (reason, next_try) = (record.reason, record.breaker.probe_at);
                tracing::info!(%destination, %reason, %next_try, "destination still failing");
            }
            (BreakerChange::Closed { opened_at }, _) => {
                let failed_for = now.since(opened_at);
                tracing::info!(%destination, ?failed_for, "destination ok: its messages go out again");
                notices.tell(Notice::DestinationOk { destination, at: now, failed_for });
            }
            // It has been closed and opened by others in between, and they tell of it.
            (_, None) => {}
        }
    }

    pub(super) fn status(&self, now: Timestamp) -> DestinationStatus {
        let standing = self.gate.standing(now);
        let (sent, failed) = self.metrics.attempts();
        let breaker = standing.record.as_ref().map(|record| record.breaker);
        DestinationStatus {
            name: self.name().clone(),
            kind: match self.destination.kind {
                DestinationKind::Webhook(_) => "webhook",
                DestinationKind::Inbox => "inbox",
            },
            state: standing.health(),
            failing_since: breaker.map(|kept| kept.opened_at),
            next_try: standing.next_try(),
            failed_tries: breaker.map_or(0, |kept| kept.failed_probes),
            reason: standing.reason(),
            times_failing: self.metrics.times_failing(),
            sending: self.sending(),
            concurrency: self.destination.concurrency,
            places: standing.places,
            paused_until: standing.paused_until,
            sent,
            failed,
        }
    }
}
