//! Ingress: webhooks arrive here, and leave as stored events or as refusals. [`Ingress`] also gives
//! operators the sources in force, the refusals and the quarantine.
//!
//! The folders; each uses only those below it:
//!
//! - `listen`: the listener, TLS, and one task for each connection.
//! - `receive`: the path of one request, from its head to its answer.
//! - `sources`: the sources in force, and the secrets that senders handed over.
//! - `verify`: fetches the keys that senders publish, and the addresses that they want visited.
//!   The signature is checked in `receive`.
//! - `request`: reading a head and a body, and replacing the secrets in them.
//! - `answer`: answers, refusals and penalties.
//! - `connection`: the state of one connection and its client.
//!
//! Not here: running handlers, SQL, the name of a provider.

mod answer;
mod connection;
mod listen;
mod quarantine_file;
mod receive;
mod request;
mod sources;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request};
use weir_core::hops::HopKey;
use weir_core::id::QuarantineId;
use weir_core::name::SourceName;
use weir_core::rate::Rate;
use weir_core::time::Timestamp;
use weir_store::StoreError;
use weir_store::quarantine::{Quarantine, QuarantineFilter, QuarantinedRequest};

use crate::config::SourcesByName;
use crate::config::{Config, Source};
use crate::context::HubContext;
use crate::egress::fetch::Fetcher;
use crate::invoker::ResponderHandle;
use crate::keys::Seal;
use crate::observe::health::Health;
use crate::routing::Routes;
use crate::runtime::pulse::Pulse;
use crate::tls::ServerTls;

pub use answer::refusal_log::RefusalRecord;
pub use quarantine_file::quarantine_from_config;
pub use receive::{FromApi, FromApiRefused, QuarantinedView, ReleaseOutcome, SampleRefused};
pub(crate) use receive::{MessageId, NotTaken, PulledMessage};
pub use sources::hand_over::{HandOverStatus, OpenWindowError};
pub use sources::live_source::SourceStatus;

use answer::penalties::Penalties;
use answer::refusal_log::RefusalLog;
use connection::client::AddressPolicy;
use listen::ConnectionServer;
use receive::Pipeline;
use request::budget::BodyBudget;
use request::fingerprints::{Fingerprints, random};
use sources::hand_over::HandOver;
use sources::live_source::{LiveSource, SourceDeps};
use sources::live_sources::LiveSources;

/// The dependencies of [`Ingress`] besides the [`HubContext`].
#[derive(Debug)]
pub struct Deps {
    /// `None` for plain HTTP.
    pub tls: Option<Arc<ServerTls>>,
    pub routes: Arc<Routes>,
    pub health: Arc<Health>,
    /// Runs responders. Without it every source gives its usual answer.
    pub responders: Option<ResponderHandle>,
    /// Checks the signed count of the times that a request's chain of messages has left this hub.
    pub hops: Arc<HopKey>,
    /// Fetches the keys that senders publish.
    pub fetcher: Arc<Fetcher>,
    /// Seals quarantined requests and secrets that were handed over.
    pub seal: Arc<Seal>,
    /// `None` if refused requests are not kept.
    pub quarantine: Option<Quarantine>,
}

/// Accepts webhooks, and answers operators' questions about sources, refusals and the quarantine.
#[derive(Debug)]
pub struct Ingress {
    server: Arc<ConnectionServer>,
    pipeline: Arc<Pipeline>,
}

impl Ingress {
    /// Prepares every source. Accepts nothing yet.
    #[must_use]
    pub fn new(config: &Config, ctx: HubContext, deps: Deps) -> Self {
        let tls = deps.tls.clone();
        let pipeline = Arc::new(pipeline(config, ctx.clone(), deps));
        let server = ConnectionServer::new(&config.server, &ctx, pipeline.clone(), tls);
        Self { server: Arc::new(server), pipeline }
    }

    /// Accepts connections until draining begins. Returns when the last of them has ended, or when
    /// draining no longer waits.
    pub async fn run(self: Arc<Self>, listener: std::net::TcpListener) {
        match Fingerprints::load(&*self.pipeline.store).await {
            Ok(fingerprints) => drop(self.pipeline.fingerprints.set(fingerprints)),
            Err(error) => {
                tracing::warn!(%error, "fingerprints of secrets will differ after a restart");
            }
        }
        if let Err(error) = self.pipeline.hand_over.load_secrets().await {
            tracing::error!(
                %error,
                "cannot read the secrets that were handed over; their sources refuse every request"
            );
        }
        let follow = async {
            self.pipeline.hand_over.follow_secrets().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = listen::run(self.server.clone(), listener) => {}
            () = follow => {}
        }
    }

    /// The sign of life of the loop that accepts connections.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.server.pulse()
    }

    /// Replaces all sources. Requests under way finish with those that they began with.
    pub fn replace_sources(&self, sources: BTreeMap<SourceName, Arc<Source>>) {
        self.pipeline.sources.replace_sources(sources);
    }

    /// The names of the sources in force.
    #[must_use]
    pub fn source_names(&self) -> BTreeSet<SourceName> {
        self.pipeline.sources.all().iter().map(|source| source.config.name.clone()).collect()
    }

    /// The sources in force as operators see them, sorted by name.
    #[must_use]
    pub fn sources(&self) -> Vec<SourceStatus> {
        let Pipeline { sources, hand_over, .. } = &*self.pipeline;
        let status =
            |source: &Arc<LiveSource>| source.status(hand_over.window_until(source.name()));
        sources.all().iter().map(status).collect()
    }

    /// The configuration of the sources in force.
    #[must_use]
    pub fn in_force(&self) -> SourcesByName {
        let sources = self.pipeline.sources.all();
        sources.iter().map(|source| (source.config.name.clone(), source.config.clone())).collect()
    }

    /// Permits the next handshake of a source, until this time, to bring the source's secret. True
    /// if the secret must then be shown to the operator, see [`Self::show_secret`].
    ///
    /// # Errors
    /// If the source can have no such secret, or has one.
    pub async fn open_window(
        &self,
        source: &str,
        until: Timestamp,
    ) -> Result<bool, OpenWindowError> {
        self.pipeline.hand_over.open_window(source, until).await
    }

    /// Closes a source's window and forgets the secret that it would show. False if it was not
    /// open.
    pub fn close_window(&self, source: &str) -> bool {
        self.pipeline.hand_over.close_window(source)
    }

    /// Shows the secret that came through a source's window, once.
    #[must_use]
    pub fn show_secret(&self, source: &str) -> HandOverStatus {
        self.pipeline.hand_over.show_secret(source)
    }

    /// Forgets the secret that was handed over for a source. False if there is none.
    ///
    /// # Errors
    /// If the store fails. Then the secret is kept.
    pub async fn forget_secret(&self, source: &SourceName) -> Result<bool, StoreError> {
        self.pipeline.hand_over.forget_secret(source).await
    }

    /// The refusal whose answer had this id, while it is in memory.
    #[must_use]
    pub fn refusal(&self, id: &str) -> Option<RefusalRecord> {
        self.pipeline.refusals.find(id)
    }

    /// The refusals in memory, newest first, of one source or of all.
    #[must_use]
    pub fn refusals(&self, source: Option<&str>, limit: usize) -> Vec<RefusalRecord> {
        self.pipeline.refusals.latest(source, limit)
    }

    /// Accepts a sample as if it had been sent to the source. `make` signs it for a URL.
    ///
    /// # Errors
    /// If there is no such source, or the sample cannot be made or is refused.
    pub async fn accept_sample(
        &self,
        source: &str,
        make: impl FnOnce(&Source, &str) -> Result<Request<Bytes>, String> + Send,
    ) -> Result<Vec<Box<str>>, SampleRefused> {
        self.pipeline.accept_sample(source, make).await
    }

    /// Accepts a request that `by` brings from the provider's API. It is marked as such.
    ///
    /// # Errors
    /// If there is no such source, the request is not one of its provider, or the store fails.
    pub async fn accept_from_api(
        &self,
        source: &str,
        headers: HeaderMap,
        body: Bytes,
        by: &str,
    ) -> Result<FromApi, FromApiRefused> {
        self.pipeline.accept_from_api(source, headers, body, by).await
    }

    /// Stores messages that the hub took for a source, in their order. Those that are taken may be
    /// acknowledged.
    pub(crate) async fn accept_pulled(
        &self,
        source: &str,
        messages: &[PulledMessage],
    ) -> Vec<Result<(), NotTaken>> {
        self.pipeline.accept_pulled(source, messages).await
    }

    /// Verifies a quarantined request with the secrets of now, and changes nothing.
    ///
    /// # Errors
    /// If the quarantine's file cannot be read.
    pub async fn would_verify(&self, id: QuarantineId) -> Result<Option<bool>, StoreError> {
        self.pipeline.would_verify(id).await
    }

    /// Lists the quarantine.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub async fn quarantined(
        &self,
        filter: QuarantineFilter,
    ) -> Result<Vec<QuarantinedRequest>, StoreError> {
        self.pipeline.quarantined(filter).await
    }

    /// One quarantined request. `None` if there is none with that id.
    ///
    /// # Errors
    /// If the quarantine's file cannot be read.
    pub async fn show_quarantined(
        &self,
        id: QuarantineId,
    ) -> Result<Option<QuarantinedView>, StoreError> {
        self.pipeline.show_quarantined(id).await
    }

    /// Accepts a quarantined request if it verifies now. A second release does nothing.
    ///
    /// # Errors
    /// If the store or the quarantine fails. Then it can be tried again.
    pub async fn release(&self, id: QuarantineId) -> Result<ReleaseOutcome, StoreError> {
        self.pipeline.release(id).await
    }
}

fn pipeline(config: &Config, ctx: HubContext, deps: Deps) -> Pipeline {
    let server = &config.server;
    let context = SourceDeps {
        server: server.clone(),
        metrics: ctx.metrics.clone(),
        fetcher: deps.fetcher,
        tasks: ctx.tasks.clone(),
        drain: ctx.drain.clone(),
    };
    let sources = Arc::new(LiveSources::new(config.sources.clone(), context));
    let per_address = &server.per_address;
    Pipeline {
        hand_over: HandOver::new(sources.clone(), &ctx, deps.seal.clone()),
        sources,
        address_policy: AddressPolicy {
            proxies: server.trusted_proxies.clone(),
            penalize_loopback: per_address.loopback,
        },
        penalties: Penalties::new(Rate::new(
            per_address.refusals_per_second,
            Duration::from_secs(1),
            per_address.refusals,
        )),
        budget: BodyBudget::new(server.body_budget, ctx.metrics.body_bytes().clone()),
        refusals: RefusalLog::new(u64::from_le_bytes(random())),
        fingerprints: OnceLock::new(),
        quarantine: deps.quarantine,
        seal: deps.seal,
        public_url: server.public_url.clone(),
        is_tls: deps.tls.is_some(),
        max_headers: server.max_headers,
        started: Instant::now(),
        is_routing_ready: AtomicBool::new(false),
        routes: deps.routes,
        health: deps.health,
        responders: deps.responders,
        hops: deps.hops,
        store: ctx.store,
        clock: ctx.clock,
        metrics: ctx.metrics,
        tracer: ctx.tracer,
        shapes: ctx.shapes,
        notices: ctx.notices,
        tasks: ctx.tasks,
    }
}
