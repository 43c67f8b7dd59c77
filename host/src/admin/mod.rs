//! The admin listener: the API for operators, the command line and scrapers, apart from where
//! webhooks come in.
//!
//! `serve` accepts connections. `guard` checks every request: from where it comes (`access`), who
//! makes it (`identity`) and whether that client may (`permissions`). `endpoints` speak HTTP, and
//! `service` does what is asked. What may not live here: SQL, decisions about events, anything that
//! a handler or a sender can reach.

mod access;
mod codes;
mod connection_slots;
mod endpoints;
pub(crate) mod error;
pub(crate) mod extract;
mod guard;
mod identity;
mod json;
mod permissions;
pub(crate) mod principal;
mod query;
mod rate_limit;
mod refused_writes;
mod serve;
pub(crate) mod service;
#[cfg(test)]
mod tests;
pub mod token;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use http::request::Parts;
use weir_core::rate::Rate;

use crate::config::SettingsFile;
use crate::context::HubContext;
use crate::egress::{EgressHandle, Inbox};
use crate::ingress::Ingress;
use crate::invoker::InvokerHandle;
use crate::observe::health::Health;
use crate::observe::otlp::Scrape;
use crate::pull::Pulls;
use crate::routing::Routes;
use crate::schedules::Schedules;
use crate::tls::ServerTls;
use crate::upkeep::rollups::Unsaved;
use access::Access;
use error::ApiError;
use guard::AdminGuard;
use identity::Identity;
use rate_limit::RequestRates;
use refused_writes::RefusedWrites;
use service::AdminService;
use token::Token;

/// The OpenAPI document of the API.
#[must_use]
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    endpoints::document()
}

/// The content type of pages.
pub(crate) const PAGE_TYPE: &str = "text/html; charset=utf-8";

/// The pages for people on this listener. They are written elsewhere: the API does not know them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConsoleRoutes {
    pub(crate) router: fn() -> Router<Arc<AdminService>>,
    /// Answers a browser's request that failed: its head, the error, and the id in the log.
    pub(crate) problem: fn(&Parts, ApiError, &str) -> Response,
}

/// The dependencies of [`Admin`] besides the [`HubContext`].
#[derive(Clone)]
pub struct Deps {
    /// Host names that are accepted besides loopback and the address, in lower case and without a
    /// port.
    pub allowed_hosts: BTreeSet<String>,
    /// The certificate; without one the listener speaks plain HTTP.
    pub tls: Option<Arc<ServerTls>>,
    /// The token of the configuration or of the data folder, which has the role admin.
    pub token: Token,
    /// True if clients on this machine may read without a token.
    pub open_reads: bool,
    /// The rate limit of the requests of each token.
    pub rate: Option<Rate>,
    pub health: Arc<Health>,
    pub handlers: InvokerHandle,
    pub egress: EgressHandle,
    pub inbox: Inbox,
    pub routes: Arc<Routes>,
    pub ingress: Arc<Ingress>,
    pub(crate) schedules: Schedules,
    pub(crate) pulls: Pulls,
    /// The URL of the webhook listener, as seen from this machine.
    pub webhooks_at: String,
    pub settings: SettingsFile,
    /// None in tests of the API.
    pub(crate) console: Option<ConsoleRoutes>,
    /// Counts that are not in the store yet.
    pub unsaved: Unsaved,
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
    #[must_use]
    pub fn new(ctx: HubContext, deps: Deps) -> Self {
        Self { ctx, deps }
    }

    /// Reads the values of a scrape, for an exporter.
    pub(crate) fn scrape(&self) -> Scrape {
        // Its own service, for which the port and the sessions do not matter.
        let identity = self.identity(0);
        let service = AdminService::new(self.ctx.clone(), self.deps.clone(), identity);
        let service = Arc::new(service);
        Arc::new(move || {
            let service = service.clone();
            Box::pin(async move { service.scrape().await })
        })
    }

    /// Serves until the drain stops claims, then finishes the answers in progress.
    pub async fn run(self, listener: std::net::TcpListener) {
        let (tls, drain) = (self.deps.tls.clone(), self.ctx.drain.clone());
        match serve::BoundListener::on(listener) {
            Ok(listener) => {
                let router = self.router(listener.address());
                serve::serve(listener, tls, router, drain).await;
            }
            Err(error) => tracing::error!(%error, "admin listener cannot be used"),
        }
    }

    fn identity(&self, port: u16) -> Arc<Identity> {
        let Deps { token, open_reads, .. } = &self.deps;
        Arc::new(Identity::new(&self.ctx, token.clone(), *open_reads, port))
    }

    /// The routes behind the guard, for a listener at this address.
    fn router(mut self, listen: SocketAddr) -> Router {
        let allowed_hosts = std::mem::take(&mut self.deps.allowed_hosts);
        let access = Access::new(listen, allowed_hosts);
        let identity = self.identity(listen.port());
        let rates = RequestRates::new(self.deps.rate);
        let refused_writes = RefusedWrites::new(self.ctx.store.clone());
        let console = self.deps.console;
        endpoints::router()
            .merge(console.map(|console| (console.router)()).unwrap_or_default())
            .method_not_allowed_fallback(guard::method_not_allowed)
            .fallback(guard::not_found)
            .layer(DefaultBodyLimit::max(guard::BODY_BYTES_MAX))
            .layer(from_fn_with_state(
                AdminGuard::new(access, identity.clone(), rates, refused_writes, console),
                guard::guard,
            ))
            .with_state(Arc::new(AdminService::new(self.ctx, self.deps, identity)))
    }
}
