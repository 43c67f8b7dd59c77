//! Egress: permit, claim, sign, send, decide, settle; for every destination.
//!
//! Each kind of destination has a file: `webhook`, `inbox`. `guard` says which addresses may be reached, `connect`
//! asks it, `decide` says what an answer means. `fetch` gets, by the same way, what the hub itself needs to know.
//!
//! What may not live here: choosing delays (the retry policy does), editing rows (the store does).

mod connect;
mod decide;
pub mod fetch;
pub mod guard;
mod inbox;
mod outgoing;
mod signing;
#[cfg(test)]
mod tests;
mod webhook;
#[cfg(test)]
mod webhook_tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use thiserror::Error;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use weir_core::delivery::{Next, Outcome};
use weir_core::name::{DestinationName, Target};
use weir_core::state::ReadSet;
use weir_core::time::Clock;
use weir_store::hot::{ClaimRequest, Claimed, RoutedEffects, Settled, Settlement};
use weir_store::{Store, StoreError};

pub use inbox::{Inbox, InboxMessage, MESSAGES_MAX as INBOX_MESSAGES_MAX};
pub use webhook::EndpointError;

use crate::claims::{self, Held, Idle, InHand};
use crate::config::{Config, Destination, DestinationKind};
use crate::observe::metrics::{Metrics, TargetMetrics};
use crate::seed;
use crate::shutdown::Drain;
use crate::tasks::{OnFailure, Tasks};
use decide::{Answer, Sent};
use outgoing::Outgoing;
use webhook::Endpoint;

/// Claims of one destination that are sent but not yet settled, beside those being sent.
const UNSETTLED_MAX: usize = 512;

/// A destination that cannot be sent to as it is configured.
#[derive(Debug, Error)]
#[error("destination {destination} cannot be set up")]
pub struct EgressError {
    /// Which.
    pub destination: DestinationName,
    /// Why.
    #[source]
    pub cause: EndpointError,
}

/// What egress is made of.
#[derive(Debug)]
pub struct EgressParts {
    /// The configuration: its destinations.
    pub config: Arc<Config>,
    /// Where deliveries wait.
    pub store: Arc<dyn Store>,
    /// For signatures and records.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Metrics,
    /// When to stop.
    pub drain: Drain,
    /// Where sends are spawned.
    pub tasks: Tasks,
}

/// Sends what is due to destinations.
#[derive(Debug)]
pub struct Egress {
    shared: Arc<Shared>,
    outlets: Vec<Arc<Outlet>>,
    tasks: Tasks,
}

#[derive(Debug)]
struct Shared {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    drain: Drain,
    metrics: Metrics,
    inbox: Inbox,
    freed: Arc<Notify>,
}

/// One destination at work.
struct Outlet {
    destination: Arc<Destination>,
    target: Target,
    /// None for an inbox.
    endpoint: Option<Endpoint>,
    permits: Arc<Semaphore>,
    in_hand: Arc<InHand>,
    metrics: Arc<TargetMetrics>,
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Egress {
    /// Sets up a client for every destination; nothing is sent yet.
    pub fn new(parts: EgressParts) -> Result<Self, EgressError> {
        let EgressParts { config, store, clock, metrics, drain, tasks } = parts;
        let outlet = |(name, destination): (&DestinationName, &Arc<Destination>)| {
            let target = Target::Destination(name.clone());
            let endpoint = match &destination.kind {
                DestinationKind::Webhook(webhook) => {
                    let refused = |cause| EgressError { destination: name.clone(), cause };
                    Some(Endpoint::new(webhook, destination.concurrency).map_err(refused)?)
                }
                DestinationKind::Inbox => None,
            };
            Ok(Arc::new(Outlet {
                destination: Arc::clone(destination),
                endpoint,
                permits: Arc::new(Semaphore::new(destination.concurrency)),
                in_hand: Arc::default(),
                metrics: metrics.target(&target),
                target,
            }))
        };
        let outlets = config.destinations.iter().map(outlet).collect::<Result<_, _>>()?;
        let (inbox, freed) = (Inbox::new(), Arc::default());
        let shared = Arc::new(Shared { store, clock, drain, metrics, inbox, freed });
        Ok(Self { shared, outlets, tasks })
    }

    /// What `inbox` destinations got.
    #[must_use]
    pub fn inbox(&self) -> Inbox {
        self.shared.inbox.clone()
    }

    /// Claims and sends until the drain stops claiming, then waits for what is being sent until it stops waiting.
    pub async fn run(self) {
        let claiming_stopped = self.shared.drain.clone();
        tokio::select! {
            () = self.claim_and_send() => {}
            () = claiming_stopped.claiming_stopped() => {}
        }
        let drain = &self.shared.drain;
        while self.outlets.iter().any(|outlet| outlet.in_hand.count() > 0) {
            tokio::select! {
                () = self.shared.freed.notified() => {}
                () = drain.waiting_stopped() => return,
            }
        }
    }

    async fn claim_and_send(&self) {
        let by_target: BTreeMap<&Target, &Arc<Outlet>> =
            self.outlets.iter().map(|outlet| (&outlet.target, outlet)).collect();
        let mut idle = Idle::default();
        loop {
            let wanted: Vec<ClaimRequest> =
                self.outlets.iter().flat_map(|outlet| outlet.wanted()).flatten().collect();
            if wanted.is_empty() {
                self.shared.freed.notified().await;
                continue;
            }
            let claims = match self.shared.store.claim(&wanted).await {
                Ok(claims) if claims.is_empty() => {
                    idle.wait(&*self.shared.store, &self.shared.freed).await;
                    continue;
                }
                Ok(claims) => claims,
                Err(error) => {
                    idle.failed("claim messages to send", &error).await;
                    continue;
                }
            };
            idle.worked();
            for claim in claims {
                let Some(outlet) = by_target.get(&claim.target) else { continue };
                let held = outlet.in_hand.take(1, &self.shared.freed);
                // There may be one claim more than permits: it waits for the next.
                let permit = Arc::clone(&outlet.permits).try_acquire_owned().ok();
                let (shared, outlet) = (Arc::clone(&self.shared), Arc::clone(outlet));
                let sending = async move { shared.attend(&outlet, claim, permit, held).await };
                self.tasks.spawn("send", OnFailure::Log, sending);
            }
        }
    }
}

impl Outlet {
    /// What it has room for: no more than can be sent at once, nor while too much waits to be settled.
    fn wanted(&self) -> Option<[ClaimRequest; 2]> {
        let unsettled = self.in_hand.count();
        let permits = self.permits.available_permits();
        let limit = permits.min(UNSETTLED_MAX.saturating_sub(unsettled));
        (limit > 0).then(|| claims::both_lanes(&self.target, limit))
    }
}

impl Shared {
    /// Sends one claim and settles it, unless the drain stops waiting first: then it is given back.
    async fn attend(
        &self,
        outlet: &Outlet,
        claim: Claimed,
        permit: Option<OwnedSemaphorePermit>,
        held: Held,
    ) {
        tokio::select! {
            () = self.send_and_settle(outlet, &claim, permit) => {}
            () = self.drain.waiting_stopped() => {}
        }
        drop(claim);
        drop(held);
    }

    async fn send_and_settle(
        &self,
        outlet: &Outlet,
        claim: &Claimed,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let permit = match permit {
            Some(permit) => Some(permit),
            // Never closed.
            None => Arc::clone(&outlet.permits).acquire_owned().await.ok(),
        };
        let out = match &outlet.target {
            Target::Destination(name) => Outgoing::of(claim, name),
            Target::Handler(_) => return,
        };
        let sent = self.send(outlet, &out).await;
        drop(permit);
        self.freed.notify_one();
        let took = sent.duration;
        let seed = seed::of(claim.delivery, claim.fence);
        let (attempt, next) = decide::decide(
            sent,
            claim.fence.attempt,
            &outlet.destination.retry,
            &mut StdRng::from_seed(seed),
        );
        let outcome = attempt.outcome;
        tracing::debug!(
            event = %claim.event.public_id, delivery = %claim.delivery, message = %out.id,
            target = %outlet.target, attempt = claim.fence.attempt, %outcome,
            reason = attempt.reason.as_deref(), "sent"
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
        self.count(outlet, outcome, took, next, settled).await;
    }

    async fn send(&self, outlet: &Outlet, out: &Outgoing) -> Sent {
        let _running = self.metrics.running().inc();
        let started_at = self.clock.now();
        let watch = Instant::now();
        let answer = match &outlet.endpoint {
            Some(endpoint) => endpoint.send(out, started_at).await,
            None => {
                self.inbox.put(&outlet.destination.name, out, started_at);
                Answer::Taken
            }
        };
        Sent { answer, started_at, duration: watch.elapsed() }
    }

    async fn count(
        &self,
        outlet: &Outlet,
        outcome: Outcome,
        took: std::time::Duration,
        next: Next,
        settled: Option<Result<Settled, StoreError>>,
    ) {
        match settled {
            Some(Ok(Settled::Applied { .. })) => {
                outlet.metrics.attempt(outcome, took);
                match next {
                    Next::Processed => {}
                    Next::Retry { .. } => outlet.metrics.retry_scheduled(),
                    Next::DeadLetter => outlet.metrics.dead_letter(),
                }
            }
            Some(Ok(Settled::Superseded)) => outlet.metrics.superseded(),
            // Sending reads no state and emits nothing.
            Some(Ok(Settled::StateConflict { .. } | Settled::Exhausted { .. })) | None => {}
            Some(Err(error)) => claims::gave_up_settling(&outlet.target, &error, &self.drain).await,
        }
    }
}
