//! Egress: permit, claim, sign, send, decide, settle; for every destination.
//!
//! Each kind of destination has a file: `webhook`, `inbox`. `outlet` is one destination at work and `send` sees one
//! claim through, past the gate that says whether a destination is sent to at all. `guard` says which addresses may be
//! reached, `connect` asks it for those that `resolver` finds, `decide` says what an answer means, and `mask` hides there
//! what is secret. `fetch` gets, by the same way, what the hub itself needs to know.
//!
//! What may not live here: choosing delays (the retry policy does), editing rows (the store does).

mod connect;
mod decide;
mod direct;
pub mod fetch;
pub mod guard;
mod inbox;
mod mask;
mod outgoing;
mod outlet;
mod passing;
mod resolver;
mod send;
mod signing;
#[cfg(test)]
mod tests;
mod unescape;
mod webhook;
#[cfg(test)]
mod webhook_tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::Notify;
use weir_core::hops::HopKey;
use weir_core::name::{DestinationName, Target};
use weir_core::time::Clock;
use weir_store::{Claim, ClaimRequest};

pub use direct::DirectWebhook;
pub use inbox::{Inbox, InboxMessage, MESSAGES_MAX as INBOX_MESSAGES_MAX};
pub use outlet::DestinationStatus;
pub use webhook::EndpointError;

use crate::claims::Idle;
use crate::config::Config;
use crate::config::ConfiguredSources;
use crate::context::HubContext;
use crate::gate::BreakerPersistence;
use crate::runtime::tasks::{OnFailure, Tasks};
use outlet::DestinationRuntime;
use passing::HeaderForwarding;
use send::{SendContext, SendJob};

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

/// The dependencies of [`Egress`] besides the [`HubContext`].
#[derive(Debug)]
pub struct Deps {
    /// The sources in force: their providers say which headers go along.
    pub sources: ConfiguredSources,
    /// What says, on the way out, how often a line of messages has left.
    pub hops: Arc<HopKey>,
}

/// Sends what is due to destinations.
#[derive(Debug)]
pub struct Egress {
    shared: Arc<SendContext>,
    outlets: Vec<Arc<DestinationRuntime>>,
    tasks: Tasks,
}

/// Asks about destinations. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EgressHandle {
    outlets: Arc<[Arc<DestinationRuntime>]>,
    clock: Arc<dyn Clock>,
}

impl EgressHandle {
    /// How it stands with every destination, in the order of their names.
    #[must_use]
    pub fn destinations(&self) -> Vec<DestinationStatus> {
        let now = self.clock.now();
        self.outlets.iter().map(|outlet| outlet.status(now)).collect()
    }
}

impl Egress {
    /// Sets up a client for every destination; nothing is sent yet.
    pub fn new(config: &Config, ctx: HubContext, deps: Deps) -> Result<Self, EgressError> {
        let HubContext { store, clock, metrics, notices, drain, tasks } = ctx;
        let Deps { sources, hops } = deps;
        let outlet =
            |destination| DestinationRuntime::new(destination, &metrics, &hops).map(Arc::new);
        let outlets: Vec<_> = config.destinations.values().map(outlet).collect::<Result<_, _>>()?;
        let (inbox, freed) = (Inbox::new(), Arc::<Notify>::default());
        let keeper =
            BreakerPersistence::new(store.clone(), clock.clone(), drain.clone(), freed.clone());
        let keeper = Arc::new(keeper);
        outlets.iter().for_each(|outlet| keeper.watch(&outlet.gate));
        let passing = HeaderForwarding::new(&config.routes, &sources);
        let shared =
            SendContext { store, clock, drain, metrics, notices, inbox, passing, freed, keeper };
        Ok(Self { shared: Arc::new(shared), outlets, tasks })
    }

    /// What `inbox` destinations got.
    #[must_use]
    pub fn inbox(&self) -> Inbox {
        self.shared.inbox.clone()
    }

    /// Asks about destinations, from anywhere.
    #[must_use]
    pub fn handle(&self) -> EgressHandle {
        let clock = Arc::clone(&self.shared.clock);
        EgressHandle { outlets: self.outlets.as_slice().into(), clock }
    }

    /// Claims and sends until the drain stops claiming, then waits for what is being sent until it stops waiting.
    pub async fn run(self) {
        let claiming_stopped = self.shared.drain.clone();
        tokio::select! {
            () = self.work() => {}
            () = claiming_stopped.claiming_stopped() => {}
        }
        let drain = &self.shared.drain;
        while self.outlets.iter().any(|outlet| outlet.in_hand.count() > 0) {
            tokio::select! {
                () = self.shared.freed.notified() => {}
                () = drain.waiting_stopped() => return,
            }
        }
        self.shared.keeper.keep().await;
    }

    async fn work(&self) {
        let keeper = Arc::clone(&self.shared.keeper);
        keeper.restore().await;
        self.tasks.spawn("breakers", OnFailure::Stop, async move { keeper.run().await });
        self.claim_and_send().await;
    }

    async fn claim_and_send(&self) {
        let by_target: BTreeMap<&Target, &Arc<DestinationRuntime>> =
            self.outlets.iter().map(|outlet| (&outlet.target, outlet)).collect();
        let mut idle = Idle::default();
        loop {
            let now = self.shared.clock.now();
            let wanted: Vec<ClaimRequest> =
                self.outlets.iter().flat_map(|outlet| outlet.wanted(now)).flatten().collect();
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
            let mut by_outlet: BTreeMap<&Target, Vec<Claim>> = BTreeMap::new();
            for claim in claims {
                if let Some((target, _)) = by_target.get_key_value(&claim.target) {
                    by_outlet.entry(target).or_default().push(claim);
                }
            }
            for (target, claims) in by_outlet {
                self.start(by_target[target], claims);
            }
        }
    }

    /// Sends what the gate lets through; the rest is given back.
    fn start(&self, outlet: &Arc<DestinationRuntime>, claims: Vec<Claim>) {
        let ids: Vec<_> = claims.iter().map(|claim| claim.delivery).collect();
        let mut admitted = outlet.gate.admit(&ids);
        for (index, claim) in claims.into_iter().enumerate() {
            let Some(leave) = admitted.leave(index, &outlet.gate) else { continue };
            let held = outlet.in_hand.take(1, &self.shared.freed);
            // There may be one claim more than permits: it waits for the next.
            let permit = Arc::clone(&outlet.permits).try_acquire_owned().ok();
            let outlet = Arc::clone(outlet);
            let sending = SendJob { outlet, claim, leave, permit, held };
            let sending = Arc::clone(&self.shared).attend(sending);
            self.tasks.spawn("send", OnFailure::Log, sending);
        }
    }
}
