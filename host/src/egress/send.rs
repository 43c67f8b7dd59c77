//! One claim: sign, send, decide, settle.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use weir_core::delivery::{NextState, Outcome};
use weir_core::name::Target;
use weir_core::state::ReadSet;
use weir_core::time::Clock;
use weir_store::{Claim, RoutedEffects, Settled, Settlement};
use weir_store::{Store, StoreError};

use super::decide::{self, SendDecision, SendOutcome, Sent};
use super::inbox::Inbox;
use super::outgoing::Outgoing;
use super::outlet::DestinationRuntime;
use super::passing::HeaderForwarding;
use crate::claims::{self, Held};
use crate::gate::{AttemptEnd, AttemptPermit, BreakerPersistence};
use crate::observe::metrics::Metrics;
use crate::observe::notice::{Notice, Notices};
use crate::runtime::shutdown::Drain;
use crate::runtime::telemetry::FLOW;
use crate::seed;

/// What every send works with.
#[derive(Debug)]
pub(super) struct SendContext {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) drain: Drain,
    pub(super) metrics: Metrics,
    pub(super) notices: Notices,
    pub(super) inbox: Inbox,
    /// What goes along with events that routes send.
    pub(super) passing: HeaderForwarding,
    /// There may be room for more.
    pub(super) freed: Arc<Notify>,
    /// Keeps the gates across restarts.
    pub(super) keeper: Arc<BreakerPersistence>,
}

/// A claim that may be sent.
pub(super) struct SendJob {
    pub(super) outlet: Arc<DestinationRuntime>,
    pub(super) claim: Claim,
    pub(super) leave: AttemptPermit,
    /// None if it has to wait for one.
    pub(super) permit: Option<OwnedSemaphorePermit>,
    pub(super) held: Held,
}

impl SendContext {
    /// Sends one claim and settles it, unless the drain stops waiting first: then it is given back.
    pub(super) async fn attend(self: Arc<Self>, sending: SendJob) {
        let SendJob { outlet, claim, leave, permit, held } = sending;
        tokio::select! {
            () = self.send_and_settle(&outlet, &claim, leave, permit) => {}
            () = self.drain.waiting_stopped() => {}
        }
        drop(claim);
        drop(held);
    }

    async fn send_and_settle(
        &self,
        outlet: &DestinationRuntime,
        claim: &Claim,
        leave: AttemptPermit,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let permit = match permit {
            Some(permit) => Some(permit),
            // Never closed.
            None => Arc::clone(&outlet.permits).acquire_owned().await.ok(),
        };
        let out = match &outlet.target {
            Target::Destination(name) => Outgoing::of(claim, name, &self.passing),
            Target::Handler(_) => return,
        };
        if !leave.stands() {
            return;
        }
        let sent = self.send(outlet, &out).await;
        drop(permit);
        let (took, started_at) = (sent.duration, sent.started_at);
        let seed = seed::of(claim.delivery, claim.fence);
        let retry = &outlet.destination.retry;
        let random = &mut StdRng::from_seed(seed);
        let SendDecision { attempt, next, mark, slows } =
            decide::decide(sent, claim.fence.attempt, retry, random);
        let end = AttemptEnd { mark, slows, started_at, reason: attempt.reason.as_deref() };
        if outlet.ended(leave, &end, &self.notices, self.clock.now()) {
            self.keeper.tell();
        }
        self.freed.notify_one();
        let outcome = attempt.outcome;
        let reason = attempt.reason.clone();
        tracing::debug!(
            target: FLOW,
            event = %claim.event.public_id, delivery = %claim.delivery, message_id = %out.id,
            destination = %outlet.name(), attempt = claim.fence.attempt, %outcome, ?took,
            reason = attempt.reason.as_deref(), "message sent"
        );
        let settlement = Settlement {
            delivery: claim.delivery,
            fence: claim.fence,
            attempt,
            next,
            effects: RoutedEffects::default(),
            reads: ReadSet::default(),
        };
        let settled = claims::settle(&*self.store, &self.drain, &[settlement]).await.pop();
        if next == NextState::DeadLetter && matches!(settled, Some(Ok(Settled::Applied { .. }))) {
            self.notices.tell(Notice::dead_letter(claim, outcome, reason.as_deref()));
        }
        self.count(outlet, outcome, took, next, settled).await;
    }

    async fn send(&self, outlet: &DestinationRuntime, out: &Outgoing) -> Sent {
        let _running = self.metrics.running().inc();
        let started_at = self.clock.now();
        let watch = Instant::now();
        let answer = match &outlet.endpoint {
            Some(endpoint) => endpoint.send(out, started_at).await,
            None => {
                self.inbox.put(&outlet.destination.name, out, started_at);
                SendOutcome::Accepted
            }
        };
        Sent { answer, started_at, duration: watch.elapsed() }
    }

    async fn count(
        &self,
        outlet: &DestinationRuntime,
        outcome: Outcome,
        took: Duration,
        next: NextState,
        settled: Option<Result<Settled, StoreError>>,
    ) {
        match settled {
            Some(Ok(Settled::Applied { .. })) => {
                outlet.metrics.attempt(outcome, took);
                match next {
                    NextState::Processed => {}
                    NextState::Retry { .. } => outlet.metrics.retry_scheduled(),
                    NextState::DeadLetter => outlet.metrics.dead_letter(),
                }
            }
            Some(Ok(Settled::Superseded)) => outlet.metrics.superseded(),
            // SendJob reads no state and emits nothing.
            Some(Ok(Settled::StateConflict { .. } | Settled::Exhausted { .. })) | None => {}
            Some(Err(error)) => claims::gave_up_settling(&outlet.target, &error, &self.drain).await,
        }
    }
}
