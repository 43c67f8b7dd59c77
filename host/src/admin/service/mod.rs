//! The service behind the admin API: the questions and acts of operators, apart from HTTP.
//!
//! One file a subject. Every act takes the principal who asks for it. What may not live here: SQL,
//! and the work of the other parts of the hub.

mod access;
mod attempt_reads;
mod audit;
mod cancel;
mod dead_letter_sets;
mod dead_letters;
mod erase;
mod events;
mod export;
mod follow;
mod health;
mod holds;
pub(super) mod jobs;
pub(crate) mod live;
mod lookup;
mod names;
pub(crate) mod needs;
mod quarantine;
mod reconcile;
mod replay;
mod rerun;
mod retry;
mod rules;
mod samples;
mod settings;
mod sources;
mod state;
mod stats;
mod targets;
pub(crate) mod versions;
pub(super) mod views;
mod waiting;
mod why;

use std::fmt;
use std::sync::Arc;

use tokio::sync::Semaphore;
use weir_core::name::{SourceName, Target};
use weir_core::time::Clock;
use weir_store::Store;
use weir_store::query::CountsFilter;

use super::Deps;
use super::error::ApiError;
use super::identity::Identity;
use super::principal::Principal;
use crate::api::{ConfirmTimeAnswer, ListPage, UnreadableView};
use crate::config::SettingsFile;
use crate::context::HubContext;
use crate::egress::{EgressHandle, Inbox};
use crate::ingress::Ingress;
use crate::invoker::InvokerHandle;
use crate::jobs::Jobs;
use crate::observe::health::Health;
use crate::observe::metrics::Metrics;
use crate::observe::shapes::Shapes;
use crate::pull::Pulls;
use crate::routing::Routes;
use crate::runtime::shutdown::Drain;
use crate::schedules::Schedules;
use crate::upkeep::rollups::Unsaved;
use names::KnownNames;

pub(super) use names::ScopeError;

/// Whole payloads in memory at once; each may be 25 MiB.
pub(super) const WHOLE_PAYLOADS_MAX: usize = 4;

/// Answers the questions and does the acts of operators.
pub(crate) struct AdminService {
    pub(super) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    shapes: Shapes,
    pub(super) health: Arc<Health>,
    handlers: InvokerHandle,
    egress: EgressHandle,
    inbox: Inbox,
    jobs: Jobs,
    routes: Arc<Routes>,
    ingress: Arc<Ingress>,
    schedules: Schedules,
    pulls: Pulls,
    /// The URL of the webhook listener, as seen from this machine.
    webhooks_at: String,
    pub(super) identity: Arc<Identity>,
    /// True if browsers reach the listener over TLS.
    pub(super) is_tls: bool,
    unsaved: Unsaved,
    settings: SettingsFile,
    whole_payloads: Arc<Semaphore>,
    /// Live lists.
    streams: Arc<Semaphore>,
    /// The phases of the shutdown, in which live lists end.
    pub(super) drain: Drain,
}

impl fmt::Debug for AdminService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminService").finish_non_exhaustive()
    }
}

impl AdminService {
    pub(super) fn new(ctx: HubContext, deps: Deps, identity: Arc<Identity>) -> Self {
        Self {
            jobs: Jobs::new(ctx.store.clone(), ctx.clock.clone()),
            store: ctx.store,
            clock: ctx.clock,
            metrics: ctx.metrics,
            shapes: ctx.shapes,
            health: deps.health,
            handlers: deps.handlers,
            egress: deps.egress,
            inbox: deps.inbox,
            routes: deps.routes,
            ingress: deps.ingress,
            schedules: deps.schedules,
            pulls: deps.pulls,
            webhooks_at: deps.webhooks_at,
            identity,
            is_tls: deps.tls.is_some(),
            unsaved: deps.unsaved,
            settings: deps.settings,
            whole_payloads: Arc::new(Semaphore::new(WHOLE_PAYLOADS_MAX)),
            streams: Arc::new(Semaphore::new(live::STREAMS_MAX)),
            drain: ctx.drain,
        }
    }

    /// The names that a request may mean now.
    fn known_names(&self) -> KnownNames {
        KnownNames {
            sources: self.ingress.source_names(),
            handlers: self.handlers.handlers().into_iter().map(|status| status.name).collect(),
            destinations: self
                .egress
                .destinations()
                .into_iter()
                .map(|status| status.name)
                .collect(),
        }
    }

    /// Refuses unknown names, for a filter that found nothing. A name that left the configuration
    /// is known as long as the store has something of it.
    async fn check_names(
        &self,
        source: Option<&SourceName>,
        target: Option<&Target>,
    ) -> Result<(), ApiError> {
        let known = self.known_names();
        let is_stored = async |filter, name: String| {
            let counts = self.store.counts(filter).await.unwrap_or_default();
            counts.iter().any(|row| row.of == name)
        };
        if let Some(source) = source
            && let Err(unknown) = known.check_source(source)
            && !is_stored(CountsFilter::Events, source.to_string()).await
        {
            return Err(unknown.into());
        }
        if let Some(target) = target
            && let Err(unknown) = known.check_target(target)
            && !is_stored(CountsFilter::Deliveries, target.to_string()).await
        {
            return Err(unknown.into());
        }
        Ok(())
    }

    /// The same for several sources.
    async fn check_sources(&self, sources: &[SourceName]) -> Result<(), ApiError> {
        for source in sources {
            self.check_names(Some(source), None).await?;
        }
        Ok(())
    }

    /// The same for several targets.
    async fn check_targets(&self, targets: &[Target]) -> Result<(), ApiError> {
        for target in targets {
            self.check_names(None, Some(target)).await?;
        }
        Ok(())
    }

    /// Rows of the store that could not be read and were set aside.
    pub(super) fn unreadable(&self) -> ListPage<UnreadableView> {
        ListPage::whole(self.store.unreadable().iter().map(views::unreadable))
    }

    /// Confirms that the system clock is right, after it jumped or the hub was off for days.
    pub(super) async fn confirm_time(&self, by: Principal) -> Result<ConfirmTimeAnswer, ApiError> {
        let time = self.clock.now();
        let confirmed = self.store.confirm_time().await.map_err(ApiError::from);
        self.recorded(&by, "confirm_time", "", confirmed).await?;
        tracing::info!(%time, %by, "system clock confirmed");
        Ok(ConfirmTimeAnswer { time })
    }
}
