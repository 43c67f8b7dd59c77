//! Egress: sends the due deliveries of every destination.
//!
//! The path of a message: [`crate::delivery::worker`] claims it, `send` sees it through, `outgoing`
//! and `forwarding` make the message of it, a `transport` sends it, and `decide` says what the end
//! of the send means. `answers` makes events of responses, and `styled` makes messages for chat
//! services of alerts. `webhook`, `inbox`, `stdout`, `file`, `redis`, `nats`, `rabbitmq`,
//! `postgres`, `mqtt`, `aws` (for `sqs` and `sns`), `pubsub` and `kafka` are the transports; they
//! share `server` (a kept connection), `endpoint` (an HTTP interface), `facts` (the message beside
//! its body) and `batches`. `live_destinations` has all that are in force, `runtime` is one of them
//! at work, and `check` connects without sending. `fetch` gets documents for the hub itself.
//!
//! Not here: retry delays (the retry policy has them) and SQL.

mod answers;
pub(crate) mod aws;
mod batches;
mod check;
mod decide;
mod endpoint;
mod facts;
pub mod fetch;
mod file;
mod forwarding;
mod inbox;
mod kafka;
mod live_destinations;
mod mqtt;
pub(crate) mod nats;
mod outgoing;
mod postgres;
mod pubsub;
pub(crate) mod rabbitmq;
pub(crate) mod redis;
mod runtime;
mod send;
pub(crate) mod server;
mod stdout;
mod styled;
pub(crate) mod transport;
pub(crate) mod webhook;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::DropGuard;
use weir_core::error::chain;
use weir_core::hops::HopKey;
use weir_core::name::{DestinationName, Target};
use weir_core::time::Timestamp;
use weir_store::{Claim, ClaimRequest, StoreError};

pub use check::{ConnectionCheck, check_destinations};
pub use inbox::{Inbox, InboxMessage};
pub use runtime::DestinationStatus;
pub use webhook::{DirectWebhook, WebhookError};

use self::redis::RedisTransport;
use crate::config::{Config, Destination, TransportSettings};
use crate::config::{ConfiguredRoutes, ConfiguredSources};
use crate::context::HubContext;
use crate::delivery::worker::{Consumer, Worker};
use crate::routing::Routes;
use crate::runtime::tasks::OnFailure;
use crate::target_changes;
use crate::tls::roots::RootsError;
use aws::{AwsPlace, AwsTransport};
use file::FileTransport;
use forwarding::HeaderForwarding;
use inbox::InboxTransport;
use kafka::KafkaTransport;
use live_destinations::{LiveDestinations, Replaced};
use mqtt::MqttTransport;
use nats::NatsTransport;
use postgres::PostgresTransport;
use pubsub::PubSubTransport;
use rabbitmq::RabbitTransport;
use send::{Dispatcher, SendJob};
use server::ConnectionTasks;
use stdout::StdoutTransport;
use transport::Transport;
use webhook::WebhookTransport;

/// A destination that cannot be set up as it is configured.
#[derive(Debug, Error)]
#[error("destination {destination} cannot be set up")]
pub struct EgressError {
    pub destination: DestinationName,
    #[source]
    pub cause: TransportError,
}

/// The reason why a destination cannot be set up.
#[derive(Debug, Error)]
pub enum TransportError {
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error("cannot set up tls")]
    Tls(#[from] RootsError),
}

/// The dependencies of [`Egress`] besides the [`HubContext`].
#[derive(Debug)]
pub struct Deps {
    /// The sources in force. Their providers say which headers are forwarded.
    pub sources: ConfiguredSources,
    /// The routes in force. They say what is made of forwarded events.
    pub configured_routes: ConfiguredRoutes,
    /// Signs the hop count of outgoing messages.
    pub hops: Arc<HopKey>,
    /// The routing table for answers that become events.
    pub routes: Arc<Routes>,
}

/// Sends due deliveries to destinations.
#[derive(Debug)]
pub struct Egress {
    dispatcher: Arc<Dispatcher>,
    destinations: Arc<LiveDestinations>,
    inbox: Inbox,
    /// Ends the tasks of connections.
    _connections: DropGuard,
}

/// Answers questions about destinations, and replaces them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EgressHandle {
    dispatcher: Arc<Dispatcher>,
    destinations: Arc<LiveDestinations>,
}

impl EgressHandle {
    /// The state of every destination, by name.
    #[must_use]
    pub fn destinations(&self) -> Vec<DestinationStatus> {
        let now = self.dispatcher.worker.ctx.clock.now();
        self.destinations.current().values().map(|runtime| runtime.status(now)).collect()
    }

    /// The names of the destinations in force.
    #[must_use]
    pub fn names(&self) -> BTreeSet<DestinationName> {
        self.destinations.current().values().map(|runtime| runtime.name().clone()).collect()
    }

    /// Puts the destinations of a configuration into force. What waits for one that changed is
    /// tried at once; one that cannot be set up stays as it was.
    ///
    /// # Errors
    /// The store's, if the waiting deliveries cannot be made due. The destinations are in force.
    pub async fn reconfigure(&self, config: &Config) -> Result<(), StoreError> {
        let worker = &self.dispatcher.worker;
        let Replaced { added, changed, removed, failed } =
            self.destinations.replace(config, worker);
        for error in failed {
            let (destination, cause) = (&error.destination, chain(&error.cause));
            tracing::error!(%destination, %cause, "the destination cannot be set up as it is \
                configured now; it stays as it was");
        }
        for target in &added {
            tracing::info!(%target, "destination added");
        }
        for target in &removed {
            tracing::warn!(%target, "destination removed; its deliveries wait on hold");
        }
        worker.breakers.notify_changed();
        worker.wake.notify_one();
        for target in &changed {
            tracing::info!(%target, "destination changed");
            target_changes::retry(&*worker.ctx.store, target).await?;
        }
        Ok(())
    }
}

impl Egress {
    /// Sets up every destination. Nothing is sent yet.
    pub fn new(config: &Config, ctx: HubContext, deps: Deps) -> Result<Self, EgressError> {
        let Deps { sources, configured_routes, hops, routes } = deps;
        let inbox = Inbox::default();
        let tasks = ConnectionTasks::new(ctx.tasks.clone());
        let connections = tasks.ender();
        let parts = TransportParts { hops, inbox: inbox.clone(), tasks };
        let worker = Worker::new(ctx);
        let destinations = Arc::new(LiveDestinations::new(config, &worker, parts)?);
        let forwarding = HeaderForwarding::new(configured_routes, sources);
        let claims = Arc::default();
        let dispatcher = Arc::new(Dispatcher { worker, forwarding, routes, claims });
        Ok(Self { dispatcher, destinations, inbox, _connections: connections })
    }

    /// The messages of `inbox` destinations.
    #[must_use]
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    #[must_use]
    pub fn handle(&self) -> EgressHandle {
        let (dispatcher, destinations) = (self.dispatcher.clone(), self.destinations.clone());
        EgressHandle { dispatcher, destinations }
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
        let destinations = self.destinations.current();
        destinations.values().filter_map(|runtime| runtime.wanted(now)).flatten().collect()
    }

    fn start(&self, target: &Target, claims: Vec<Claim>) {
        let destinations = self.destinations.current();
        let Some(runtime) = destinations.get(target) else { return };
        let worker = &self.dispatcher.worker;
        let ids: Vec<_> = claims.iter().map(|claim| claim.delivery).collect();
        let mut admission = runtime.flow.admit(&ids);
        for (index, claim) in claims.into_iter().enumerate() {
            let Some(attempt) = admission.permit(index, &runtime.flow) else { continue };
            if !runtime.flow.take_turn(worker.ctx.clock.now()) {
                continue;
            }
            let counted = runtime.claims.add(1, &worker.wake);
            let counted_in_all = self.dispatcher.claims.add(1, &worker.wake);
            // A claim may bring one delivery more than there are permits: it waits for the next.
            let permit = runtime.permits.clone().try_acquire_owned().ok();
            let runtime = runtime.clone();
            let counted = [counted, counted_in_all];
            let job = SendJob { runtime, claim, attempt, permit, counted };
            worker.ctx.tasks.spawn("send", OnFailure::Log, self.dispatcher.clone().run(job));
        }
    }

    fn room_in(&self, now: Timestamp) -> Option<Duration> {
        let destinations = self.destinations.current();
        destinations.values().filter_map(|runtime| runtime.flow.next_turn(now)).min()
    }

    fn is_busy(&self) -> bool {
        self.dispatcher.claims.count() > 0
    }
}

/// The things of egress that transports are made with.
#[derive(Debug)]
struct TransportParts {
    hops: Arc<HopKey>,
    inbox: Inbox,
    tasks: ConnectionTasks,
}

fn transport(
    destination: &Destination,
    parts: &TransportParts,
) -> Result<Box<dyn Transport>, TransportError> {
    let TransportParts { hops, inbox, tasks } = parts;
    Ok(match &destination.transport {
        TransportSettings::Webhook(webhook) => {
            Box::new(WebhookTransport::new(webhook, destination.concurrency, hops.clone())?)
        }
        TransportSettings::Inbox => {
            Box::new(InboxTransport { inbox: inbox.clone(), destination: destination.name.clone() })
        }
        TransportSettings::Stdout { timeout } => {
            Box::new(StdoutTransport::new(hops.clone(), *timeout))
        }
        TransportSettings::File(file) => Box::new(FileTransport::new(file, hops.clone())),
        TransportSettings::Redis(redis) => {
            Box::new(RedisTransport::new(redis, hops.clone(), tasks.clone())?)
        }
        TransportSettings::Nats(nats) => Box::new(NatsTransport::new(nats, hops.clone())?),
        TransportSettings::RabbitMq(rabbit) => {
            Box::new(RabbitTransport::new(rabbit, hops.clone())?)
        }
        TransportSettings::Postgres(postgres) => {
            Box::new(PostgresTransport::new(postgres, hops.clone(), tasks.clone())?)
        }
        TransportSettings::Mqtt(mqtt) => {
            Box::new(MqttTransport::new(mqtt, hops.clone(), tasks.clone())?)
        }
        TransportSettings::Sqs(sqs) => {
            aws_transport(AwsPlace::Queue((**sqs).clone()), destination, hops)?
        }
        TransportSettings::Sns(sns) => {
            aws_transport(AwsPlace::Topic((**sns).clone()), destination, hops)?
        }
        TransportSettings::PubSub(pubsub) => {
            Box::new(PubSubTransport::new(pubsub, destination.concurrency, hops.clone())?)
        }
        TransportSettings::Kafka(kafka) => Box::new(KafkaTransport::new(kafka, hops.clone())?),
    })
}

fn aws_transport(
    place: AwsPlace,
    to: &Destination,
    hops: &Arc<HopKey>,
) -> Result<Box<dyn Transport>, TransportError> {
    Ok(Box::new(AwsTransport::new(place, &to.name, to.concurrency, hops.clone())?))
}
