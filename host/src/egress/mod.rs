//! Egress: sends the due deliveries of every destination.
//!
//! The path of a message: [`crate::delivery::worker`] claims it, `send` sees it through, `outgoing`
//! and `forwarding` make the message of it, a `transport` sends it, and `decide` says what the end
//! of the send means. `webhook` and `inbox` are the kinds of transport, and `runtime` is one
//! destination at work. `fetch` gets documents for the hub itself.
//!
//! Not here: retry delays (the retry policy has them) and SQL.

mod decide;
pub mod fetch;
mod forwarding;
mod inbox;
mod outgoing;
mod runtime;
mod send;
mod transport;
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;
use weir_core::hops::HopKey;
use weir_core::name::{DestinationName, Target};
use weir_core::time::{Clock, Timestamp};
use weir_store::{Claim, ClaimRequest};

pub use inbox::{Inbox, InboxMessage};
pub use runtime::DestinationStatus;
pub use webhook::{DirectWebhook, WebhookError};

use crate::config::ConfiguredSources;
use crate::config::{Config, Destination, TransportSettings};
use crate::context::HubContext;
use crate::delivery::worker::{Consumer, Worker};
use crate::runtime::tasks::OnFailure;
use forwarding::HeaderForwarding;
use inbox::InboxTransport;
use runtime::DestinationRuntime;
use send::{Dispatcher, SendJob};
use transport::Transport;
use webhook::WebhookTransport;

/// A destination that cannot be set up as it is configured.
#[derive(Debug, Error)]
#[error("destination {destination} cannot be set up")]
pub struct EgressError {
    pub destination: DestinationName,
    #[source]
    pub cause: WebhookError,
}

/// The dependencies of [`Egress`] besides the [`HubContext`].
#[derive(Debug)]
pub struct Deps {
    /// The sources in force. Their providers say which headers are forwarded.
    pub sources: ConfiguredSources,
    /// Signs the hop count of outgoing messages.
    pub hops: Arc<HopKey>,
}

type DestinationsByTarget = BTreeMap<Target, Arc<DestinationRuntime>>;

/// Sends due deliveries to destinations.
#[derive(Debug)]
pub struct Egress {
    dispatcher: Arc<Dispatcher>,
    destinations: Arc<DestinationsByTarget>,
    inbox: Inbox,
}

/// Answers questions about destinations. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EgressHandle {
    destinations: Arc<DestinationsByTarget>,
    clock: Arc<dyn Clock>,
}

impl EgressHandle {
    /// The state of every destination, by name.
    #[must_use]
    pub fn destinations(&self) -> Vec<DestinationStatus> {
        let now = self.clock.now();
        self.destinations.values().map(|runtime| runtime.status(now)).collect()
    }
}

impl Egress {
    /// Sets up every destination. Nothing is sent yet.
    pub fn new(config: &Config, ctx: HubContext, deps: Deps) -> Result<Self, EgressError> {
        let Deps { sources, hops } = deps;
        let worker = Worker::new(ctx);
        let inbox = Inbox::default();
        let mut destinations = DestinationsByTarget::new();
        for destination in config.destinations.values() {
            let transport = transport(destination, &hops, &inbox)?;
            let runtime = DestinationRuntime::new(destination, transport, &worker);
            destinations.insert(runtime.flow.target.clone(), Arc::new(runtime));
        }
        let forwarding = HeaderForwarding::new(&config.routes, &sources);
        let dispatcher = Arc::new(Dispatcher { worker, forwarding });
        Ok(Self { dispatcher, destinations: Arc::new(destinations), inbox })
    }

    /// The messages of `inbox` destinations.
    #[must_use]
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    #[must_use]
    pub fn handle(&self) -> EgressHandle {
        let clock = self.dispatcher.worker.ctx.clock.clone();
        EgressHandle { destinations: self.destinations.clone(), clock }
    }

    /// Claims and sends until the drain stops claiming, then waits for sends until it stops
    /// waiting.
    pub async fn run(self) {
        self.dispatcher.worker.run(&self, std::future::ready(())).await;
    }
}

impl Consumer for Egress {
    const CLAIMS: &'static str = "messages to send";

    fn wanted(&self, now: Timestamp) -> Vec<ClaimRequest> {
        self.destinations.values().filter_map(|runtime| runtime.wanted(now)).flatten().collect()
    }

    fn start(&self, target: &Target, claims: Vec<Claim>) {
        let Some(runtime) = self.destinations.get(target) else { return };
        let worker = &self.dispatcher.worker;
        let ids: Vec<_> = claims.iter().map(|claim| claim.delivery).collect();
        let mut admission = runtime.flow.admit(&ids);
        for (index, claim) in claims.into_iter().enumerate() {
            let Some(attempt) = admission.permit(index, &runtime.flow) else { continue };
            let counted = runtime.claims.add(1, &worker.wake);
            // A claim may bring one delivery more than there are permits: it waits for the next.
            let permit = runtime.permits.clone().try_acquire_owned().ok();
            let runtime = runtime.clone();
            let job = SendJob { runtime, claim, attempt, permit, counted };
            worker.ctx.tasks.spawn("send", OnFailure::Log, self.dispatcher.clone().run(job));
        }
    }

    fn is_busy(&self) -> bool {
        self.destinations.values().any(|runtime| runtime.claims.count() > 0)
    }
}

fn transport(
    destination: &Destination,
    hops: &Arc<HopKey>,
    inbox: &Inbox,
) -> Result<Box<dyn Transport>, EgressError> {
    let name = destination.name.clone();
    Ok(match &destination.transport {
        TransportSettings::Webhook(webhook) => Box::new(
            WebhookTransport::new(webhook, destination.concurrency, hops.clone())
                .map_err(|cause| EgressError { destination: name, cause })?,
        ),
        TransportSettings::Inbox => {
            Box::new(InboxTransport { inbox: inbox.clone(), destination: name })
        }
    })
}
