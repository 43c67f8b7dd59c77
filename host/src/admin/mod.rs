//! The admin listener: what operators, the CLI and scrapers ask and do, apart from where webhooks come in.
//!
//! `serve` takes connections, for which there are `seats`, `guard` stands before every request, `access` decides who may, `api` answers.
//! What may not live here: SQL, decisions about events, anything that a handler or a sender can reach.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};
use serde_json::Value;
use tokio::sync::Semaphore;
use weir_core::name::{DestinationName, SourceName, Target};
use weir_core::time::Clock;
use weir_store::Store;
use weir_store::query::CountsFilter;

use crate::context::HubContext;
use crate::ingress::Ingress;
use crate::observe::health::Health;
use crate::observe::metrics::Metrics;
use crate::routing::Routes;
use crate::tls::ServerTls;

mod access;
mod api;
mod guard;
mod json;
mod problem;
pub(crate) mod query;
pub(crate) mod scope;
mod seats;
mod serve;
mod standing;
pub mod token;
mod views;
mod waits;

#[cfg(test)]
mod tests;

use access::Access;
use guard::AdminGuard;
use token::Token;

/// Whole payloads in memory at once; each may be 25 MiB.
const WHOLE_PAYLOADS_MAX: usize = 4;

/// Tells the state of something that others keep.
pub type Tell = Arc<dyn Fn() -> Value + Send + Sync>;

/// The dependencies of [`Admin`] besides the [`HubContext`].
pub struct Deps {
    /// Host names that are accepted besides loopback and the address, in lower case and without a port.
    pub allowed_hosts: BTreeSet<String>,
    /// What to serve TLS with; without it, plain HTTP is spoken.
    pub tls: Option<Arc<ServerTls>>,
    /// What writes need.
    pub token: Token,
    /// Whether all is well.
    pub health: Arc<Health>,
    /// The handlers, an array.
    pub handlers: Tell,
    /// The destinations, an array.
    pub destinations: Tell,
    /// What was sent to inboxes, an array.
    pub inbox: Tell,
    /// Who gets what, for events that are routed again.
    pub routes: Arc<Routes>,
    /// The ways out that an operator may mean.
    pub ways_out: BTreeSet<DestinationName>,
    /// The ways in, which may change.
    pub ingress: Arc<Ingress>,
}

/// The names that an operator may mean. Handlers are asked for apart.
#[derive(Debug, Clone, Default)]
struct KnownNames {
    /// Ways in.
    sources: BTreeSet<SourceName>,
    /// Ways out.
    destinations: BTreeSet<DestinationName>,
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deps").field("allowed_hosts", &self.allowed_hosts).finish_non_exhaustive()
    }
}

/// The admin listener, not yet listening.
#[derive(Debug)]
pub struct Admin {
    ctx: HubContext,
    deps: Deps,
}

impl Admin {
    /// Takes its deps.
    #[must_use]
    pub fn new(ctx: HubContext, deps: Deps) -> Self {
        Self { ctx, deps }
    }

    /// Serves until claiming stops, then lets requests that are being answered finish.
    pub async fn run(self, listener: std::net::TcpListener) {
        let (tls, drain) = (self.deps.tls.clone(), self.ctx.drain.clone());
        match serve::BoundListener::on(listener) {
            Ok(listening) => {
                let router = self.router(listening.address());
                serve::serve(listening, tls, router, drain).await;
            }
            Err(error) => tracing::error!(%error, "admin listener cannot be used"),
        }
    }

    /// The routes, for a listener at this address.
    fn router(self, listen: SocketAddr) -> Router {
        let Self { ctx, deps } = self;
        let gate = AdminGuard::new(Access::new(listen, deps.allowed_hosts, deps.token));
        let shared = Arc::new(AdminService {
            store: ctx.store,
            metrics: ctx.metrics,
            health: deps.health,
            handlers: deps.handlers,
            destinations: deps.destinations,
            inbox: deps.inbox,
            routes: deps.routes,
            ways_out: deps.ways_out,
            ingress: deps.ingress,
            clock: ctx.clock,
            whole_payloads: Arc::new(Semaphore::new(WHOLE_PAYLOADS_MAX)),
        });
        Router::new()
            .route("/health", get(api::health::health))
            .route("/health/live", get(api::health::live))
            .route("/health/ready", get(api::health::ready))
            .route("/metrics", get(api::health::metrics))
            .route("/api/v1/events", get(api::events::list))
            .route("/api/v1/events/{id}", get(api::events::show))
            .route("/api/v1/events/{id}/body", get(api::events::body))
            .route("/api/v1/events/{id}/why", get(api::why::why))
            .route("/api/v1/dead-letters", get(api::dead_letters::list))
            .route("/api/v1/dead-letters/{id}", get(api::dead_letters::show))
            .route("/api/v1/dead-letters/{id}/requeue", post(api::dead_letters::requeue))
            .route("/api/v1/handlers", get(api::parts::handlers))
            .route("/api/v1/destinations", get(api::parts::destinations))
            .route("/api/v1/holds", get(api::holds::list).post(api::holds::place))
            .route("/api/v1/holds/{id}", delete(api::holds::release))
            .route("/api/v1/unreadable", get(api::parts::unreadable))
            .route("/api/v1/quarantine", get(api::quarantine::list))
            .route("/api/v1/quarantine/release", post(api::quarantine::release_all))
            .route("/api/v1/quarantine/{id}", get(api::quarantine::show))
            .route("/api/v1/quarantine/{id}/release", post(api::quarantine::release))
            .route("/api/v1/sources", get(api::sources::list))
            .route(
                "/api/v1/sources/{name}/secret-window",
                post(api::sources::open_window).delete(api::sources::close_window),
            )
            .route("/api/v1/sources/{name}/secret", delete(api::sources::forget_secret))
            .route("/api/v1/sources/{name}/secret/show", post(api::sources::show_secret))
            .route("/api/v1/inbox", get(api::parts::inbox))
            .route("/api/v1/replay", post(api::replay::replay))
            .route("/api/v1/retry", post(api::retry::retry))
            .route("/api/v1/time/confirm", post(api::parts::confirm_time))
            .method_not_allowed_fallback(guard::method_not_allowed)
            .fallback(guard::not_found)
            .layer(DefaultBodyLimit::max(guard::BODY_BYTES_MAX))
            .layer(from_fn_with_state(gate, guard::guard))
            .with_state(shared)
    }
}

/// What every answer is made of.
struct AdminService {
    store: Arc<dyn Store>,
    metrics: Metrics,
    health: Arc<Health>,
    handlers: Tell,
    destinations: Tell,
    inbox: Tell,
    routes: Arc<Routes>,
    ways_out: BTreeSet<DestinationName>,
    ingress: Arc<Ingress>,
    clock: Arc<dyn Clock>,
    whole_payloads: Arc<Semaphore>,
}

impl AdminService {
    /// The names that an operator may mean now.
    fn known(&self) -> KnownNames {
        KnownNames { sources: self.ingress.source_names(), destinations: self.ways_out.clone() }
    }

    /// Refuses names that nothing bears, where a question by them found nothing. What the store still has of names
    /// that were taken out of the configuration can still be asked for.
    async fn must_know(
        &self,
        source: Option<&SourceName>,
        target: Option<&Target>,
    ) -> Result<(), problem::ApiError> {
        let (known, handlers) = (self.known(), (self.handlers)());
        let has = async |filter, name: String| {
            let counts = self.store.counts(filter).await.unwrap_or_default();
            counts.iter().any(|row| row.of == name)
        };
        if let Some(source) = source
            && let Err(bad) = scope::source(source, &known, &handlers)
            && !has(CountsFilter::Events, source.to_string()).await
        {
            return Err(bad.into());
        }
        if let Some(target) = target
            && let Err(bad) = scope::target(target, &known, &handlers)
            && !has(CountsFilter::Deliveries, target.to_string()).await
        {
            return Err(bad.into());
        }
        Ok(())
    }
}
