//! Stage 1, accept: webhooks come in here, and leave again as stored events or as refusals.
//!
//! [`receive`] reads from top to bottom as the path of a request. What is decided about a request is decided by pure
//! functions (here `head`, `content`, `facts`, `redact`, `answer`, `problem`; in the core verify, identify and route); what
//! keeps a stranger's appetite in bounds stands around them (`listener`, `connection_table`, `connection`, `secure`, `timed_io`, `body`,
//! `body_wait`, `budget`, `client`, `penalties`).
//!
//! `live_sources` holds the sources in force, `published` the keys that their senders publish (`fetch_limiter` says who may have one
//! fetched), `quarantine` what was not believed, and `hand_over` takes the secrets that some hand over. `respond` waits,
//! within a deadline, for a source whose answer is a handler's reply.
//!
//! What may not live here: running handlers, SQL, the name of a provider.

mod access;
mod answer;
mod body;
mod body_wait;
mod budget;
mod client;
mod connection;
mod connection_table;
mod content;
mod event_log;
mod facts;
mod fetch_limiter;
mod hand_over;
mod head;
mod limits;
mod listener;
mod live_sources;
mod penalties;
mod problem;
mod published;
mod quarantine;
mod quarantine_file;
mod receive;
mod redact;
mod refusal_log;
mod refused;
mod respond;
mod run_to_completion;
mod secure;
mod timed_io;
mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use rand::TryRng;
use rand::rngs::SysRng;
use weir_core::hops::HopKey;
use weir_core::name::SourceName;
use weir_core::rate::Rate;
use weir_core::time::Clock;
use weir_store::quarantine::Quarantine;
use weir_store::registry::{CasOutcome, EntryKind};
use weir_store::{Store, StoreError};

use crate::config::SourcesByName;
use crate::config::{Config, Source};
use crate::context::HubContext;
use crate::egress::fetch::Fetcher;
use crate::invoker::ResponderHandle;
use crate::keys::Seal;
use crate::observe::health::{Health, ROUTING_MISSING};
use crate::observe::metrics::Metrics;
use crate::routing::Routes;
use crate::runtime::shutdown::Drain;
use crate::tls::ServerTls;

pub use hand_over::{HandOverStatus, OpenWindowError};
pub use quarantine::{QuarantinedView, ReleaseOutcome};
pub use quarantine_file::quarantine_from_config;
pub use refusal_log::RefusalRecord;
pub use way::SourceStatus;

use budget::BodyBudget;
use client::AddressPolicy;
use connection_table::ConnectionTable;
use hand_over::HandOverWindows;
use live_sources::LiveSources;
use penalties::RefusalLimiter;
use redact::Fingerprints;
use refusal_log::RefusalLog;
use timed_io::Timeouts;
use way::LiveSource;

/// The registry's key for what fingerprints are made with.
const FINGERPRINT_KEY: &str = "fingerprint";

/// The dependencies of [`Ingress`] besides the [`HubContext`].
#[derive(Debug)]
pub struct Deps {
    /// What to serve TLS with; without it, plain HTTP is spoken.
    pub tls: Option<Arc<ServerTls>>,
    /// Who gets events.
    pub routes: Arc<Routes>,
    /// Whether webhooks are taken.
    pub health: Arc<Health>,
    /// Runs the handlers that answer for a source; without it every source gives its usual answer.
    pub responders: Option<ResponderHandle>,
    /// What tells how often a message has left this hub and come back.
    pub hops: Arc<HopKey>,
    /// Gets the keys that senders publish.
    pub fetcher: Arc<Fetcher>,
    /// Seals what must be kept and not be read.
    pub seal: Arc<Seal>,
    /// Where requests are kept that were not believed; without it they are not.
    pub quarantine: Option<Quarantine>,
}

/// The way in for webhooks.
#[derive(Debug)]
pub struct Ingress {
    live_sources: Arc<LiveSources>,
    windows: Arc<HandOverWindows>,
    seal: Arc<Seal>,
    quarantine: Option<Quarantine>,
    public_url: Option<String>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    tls: Option<Arc<ServerTls>>,
    max_connections: usize,
    max_headers: usize,
    timeouts: Timeouts,
    address_policy: AddressPolicy,
    connection_table: Arc<ConnectionTable>,
    penalties: Mutex<RefusalLimiter>,
    started: Instant,
    budget: BodyBudget,
    refusals: RefusalLog,
    fingerprints: OnceLock<Fingerprints>,
    open: AtomicBool,
    store: Arc<dyn Store>,
    routes: Arc<Routes>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    health: Arc<Health>,
    drain: Drain,
    responders: Option<ResponderHandle>,
    hops: Arc<HopKey>,
}

impl Ingress {
    /// Prepares every source; nothing is accepted yet.
    #[must_use]
    pub fn new(config: &Config, ctx: HubContext, deps: Deps) -> Self {
        let HubContext { store, clock, metrics, drain, .. } = ctx;
        let Deps { tls, routes, health, responders, hops, fetcher, seal, quarantine } = deps;
        let server = &config.server;
        let live_sources = Arc::new(LiveSources::new(
            config.sources.clone(),
            server.clone(),
            metrics.clone(),
            fetcher,
        ));
        let timeouts = Timeouts { head: server.header_timeout, idle: server.idle_timeout };
        Self {
            live_sources,
            windows: Arc::default(),
            seal,
            quarantine,
            public_url: server.public_url.clone(),
            http1: connection::http1(server),
            http2: secure::http2(server),
            tls,
            max_connections: server.max_connections,
            max_headers: server.max_headers,
            timeouts,
            address_policy: AddressPolicy {
                proxies: server.trusted_proxies.clone(),
                penalize_loopback: server.per_address.loopback,
            },
            connection_table: ConnectionTable::new(server.per_address.connections),
            penalties: Mutex::new(RefusalLimiter::new(Rate::new(
                server.per_address.refusals_per_second,
                Duration::from_secs(1),
                server.per_address.refusals,
            ))),
            started: Instant::now(),
            budget: BodyBudget::new(server.body_budget, metrics.body_bytes().clone()),
            refusals: RefusalLog::new(u64::from_le_bytes(random())),
            fingerprints: OnceLock::new(),
            open: AtomicBool::new(false),
            store,
            routes,
            clock,
            metrics,
            health,
            drain,
            responders,
            hops,
        }
    }

    /// Accepts connections until draining begins, and returns when the last of them has ended or draining no longer
    /// waits. Runs on the current runtime.
    pub async fn run(self: Arc<Self>, listener: std::net::TcpListener) {
        match fingerprint_key(&*self.store).await {
            Ok(key) => {
                let _ = self.fingerprints.set(Fingerprints::new(key));
            }
            Err(error) => {
                tracing::warn!(%error, "fingerprints of secrets will not be the same after a restart");
            }
        }
        if let Err(error) = self.load_handed_over().await {
            tracing::error!(%error, "secrets that were handed over cannot be read; their sources refuse everything");
        }
        listener::run(self, listener).await;
    }

    /// Puts other sources in force. Requests under way finish by those that they began with.
    pub fn replace_sources(&self, sources: BTreeMap<SourceName, Arc<Source>>) {
        self.live_sources.replace_sources(sources);
    }

    /// The names of the sources in force.
    #[must_use]
    pub fn source_names(&self) -> BTreeSet<SourceName> {
        self.live_sources.all().iter().map(|way| way.source.name.clone()).collect()
    }

    /// The sources in force, by name.
    #[must_use]
    pub fn sources(&self) -> Vec<SourceStatus> {
        let status = |way: &Arc<LiveSource>| way.status(self.window(way.source.name.as_str()));
        self.live_sources.all().iter().map(status).collect()
    }

    /// The sources in force.
    #[must_use]
    pub fn in_force(&self) -> SourcesByName {
        let live_sources = self.live_sources.all();
        live_sources.iter().map(|way| (way.source.name.clone(), Arc::clone(&way.source))).collect()
    }

    /// Whether it is known who gets events. Once it is, it stays so.
    fn is_open(&self) -> bool {
        if !self.open.load(Ordering::Relaxed) && self.health.ready() != Err(ROUTING_MISSING) {
            self.open.store(true, Ordering::Relaxed);
        }
        self.open.load(Ordering::Relaxed)
    }

    fn fingerprints(&self) -> &Fingerprints {
        self.fingerprints.get_or_init(|| Fingerprints::new(random()))
    }
}

/// The key of this installation's fingerprints, made at its first start.
async fn fingerprint_key(store: &dyn Store) -> Result<[u8; 32], StoreError> {
    let made: [u8; 32] = random();
    let written = store.cas(EntryKind::Secret, FINGERPRINT_KEY, None, Some(made.to_vec())).await?;
    if let CasOutcome::Written { .. } = written {
        return Ok(made);
    }
    let entry = store.get(EntryKind::Secret, FINGERPRINT_KEY).await?;
    let key = entry.and_then(|entry| entry.value).and_then(|value| value.try_into().ok());
    key.ok_or_else(|| StoreError::Damaged("the key of fingerprints is not 32 bytes long".into()))
}

#[expect(
    clippy::expect_used,
    reason = "a system without randomness cannot run this program safely"
)]
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).expect("the system gives no random bytes");
    bytes
}
