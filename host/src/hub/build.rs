//! Builds a hub: opens the store and wires every part. Nothing serves yet.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::runtime::Handle;
use weir_core::hops::HopKey;
use weir_core::time::Clock;
use weir_store::hold::{HoldScope, NewHold};
use weir_store::{Store, StoreError, StoreOptions};

use super::listen::Listeners;
use super::provider_files::ProviderFileReporter;
use super::reload::{self, ConfigReloader};
use crate::admin::token::Token;
use crate::admin::{self, Admin};
use crate::alerts::{self, Alerts};
use crate::config::{
    Config, ConfiguredAlerts, ConfiguredRetention, ConfiguredRoutes, ConfiguredSources,
    SettingsFile,
};
use crate::console;
use crate::context::HubContext;
use crate::egress::fetch::Fetcher;
use crate::egress::{self, DirectWebhook, Egress, EgressHandle, Inbox};
use crate::ingress::{self, Ingress};
use crate::invoker::{self, Invoker, InvokerHandle};
use crate::jobs::{self, JobWorker};
use crate::keys::{self, Seal};
use crate::observe::health::Health;
use crate::observe::otlp::Exporter;
use crate::pull::{self, PullWorker, Pulls};
use crate::routing::Routes;
use crate::runtime::clock::SystemClock;
use crate::runtime::log_export::ExportedRecords;
use crate::runtime::service;
use crate::runtime::tasks::OnFailure;
use crate::schedules::{ScheduleWorker, Schedules};
use crate::target_changes;
use crate::tls::{HTTP_1, HTTP_2_OR_1, Protocols, ServerTls, TlsFiles, TlsListener};
use crate::upkeep::missing_targets::{self, MissingTargets};
use crate::upkeep::rollups::{RollupWorker, Unsaved};
use crate::upkeep::{RetentionDeps, RetentionWorker};

/// The thread pools. Requests and guests have their own, so that a guest never delays an answer.
#[derive(Debug, Clone)]
pub struct Runtimes {
    /// Accepts, verifies, answers.
    pub ingress: Handle,
    /// Claims, sends, serves the API.
    pub work: Handle,
    /// Runs guests and compiles them.
    pub guests: Handle,
}

/// A hub that is built and serves nothing yet.
#[derive(Debug)]
pub struct Hub {
    pub(super) ctx: HubContext,
    pub(super) listeners: Listeners,
    pub(super) runtimes: Runtimes,
    pub(super) ingress: Arc<Ingress>,
    pub(super) invoker: Invoker,
    pub(super) egress: Egress,
    pub(super) admin: Admin,
    pub(super) retention: RetentionWorker,
    pub(super) rollups: RollupWorker,
    pub(super) missing: MissingTargets,
    pub(super) jobs: JobWorker,
    pub(super) alerts: Alerts,
    pub(super) fallback: Option<Arc<DirectWebhook>>,
    pub(super) reload: ConfigReloader,
    pub(super) schedules: ScheduleWorker,
    pub(super) pulls: PullWorker,
    pub(super) health: Arc<Health>,
    pub(super) is_first_start: bool,
    pub(super) handlers: InvokerHandle,
    pub(super) inbox: Inbox,
    pub(super) exporter: Option<Exporter>,
    pub(super) watch_shapes: bool,
}

impl Hub {
    /// Opens the store, restores the subscriptions of the last run, and wires every part.
    pub async fn build(
        config: Arc<Config>,
        listeners: Listeners,
        runtimes: Runtimes,
        log: Option<ExportedRecords>,
    ) -> anyhow::Result<Self> {
        let (mut parts, is_first_start) =
            Parts::load(config, &runtimes.ingress, listeners.inherited).await?;
        let exporter = parts.exporter(log)?;
        let (server_tls, admin_tls) = parts.load_certificates(&runtimes.work)?;
        let tls_listeners = tls_listeners([("server", &server_tls), ("admin", &admin_tls)]);
        parts.health.set_tls_listeners(tls_listeners.clone());

        let invoker = parts.invoker(runtimes.guests.clone())?;
        let ingress = Arc::new(parts.ingress(&invoker, server_tls.clone())?);
        let egress = parts.egress()?;
        let (handlers, inbox) = (invoker.handle(), egress.inbox());
        let fallback = parts.fallback_webhook()?;
        let rollups = RollupWorker::new(parts.ctx.clone());
        let webhooks_at = listeners.webhooks_at(server_tls.is_some())?;
        let unsaved = rollups.unsaved();
        let admin = parts.admin(&ingress, &handlers, &egress, (admin_tls, unsaved), webhooks_at)?;
        Ok(Self {
            admin,
            retention: parts.retention(),
            rollups,
            missing: parts.missing_targets(&handlers, egress.handle()),
            jobs: parts.jobs(),
            alerts: parts.alerts(tls_listeners, fallback.clone()),
            reload: parts.reload(&ingress, &handlers, &egress),
            schedules: parts.schedules(),
            pulls: parts.pulls(&ingress),
            exporter,
            watch_shapes: parts.config.alerts.shapes,
            health: parts.health,
            ctx: parts.ctx,
            listeners,
            runtimes,
            ingress,
            invoker,
            egress,
            fallback,
            is_first_start,
            handlers,
            inbox,
        })
    }
}

/// The values from which the parts of a hub are made.
struct Parts {
    config: Arc<Config>,
    ctx: HubContext,
    health: Arc<Health>,
    routes: Arc<Routes>,
    sources: ConfiguredSources,
    /// The configured routes.
    configured_routes: ConfiguredRoutes,
    schedules: Schedules,
    pulls: Pulls,
    alert_settings: ConfiguredAlerts,
    retention_settings: ConfiguredRetention,
    hops: Arc<HopKey>,
}

impl Parts {
    /// Opens the store and restores the routing table. Also returns true at the first start.
    async fn load(
        config: Arc<Config>,
        on: &Handle,
        inherited: bool,
    ) -> anyhow::Result<(Self, bool)> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        prepare_data_dir(&config.data_dir)?;
        let hops = HopKey::new(&keys::load_or_create(&config.data_dir.join("hops.key"))?);
        let patience = inherited.then_some(config.shutdown_grace + LAST_CLOSE);
        let store = open_store(&config, clock.clone(), on, patience).await?;
        if config.starts_paused {
            pause(&*store).await?;
        }
        let ctx = HubContext::new(store, clock);
        let health = Health::new(ctx.store.clone(), ctx.drain.clone());

        target_changes::retry_changed_targets(&*ctx.store, &config).await?;
        let last_good = invoker::stored_subscriptions(&*ctx.store, &config).await?;
        let is_first_start = last_good.is_empty();
        let routes = Arc::new(Routes::build(ctx.store.clone(), &config, last_good).await?);
        let sources = ConfiguredSources::new(config.sources.clone());
        let schedules = Schedules::new(config.schedules.clone());
        let hops = Arc::new(hops);
        let configured_routes = ConfiguredRoutes::new(config.routes.clone());
        let parts = Self {
            alert_settings: ConfiguredAlerts::new(config.alerts.clone()),
            retention_settings: ConfiguredRetention::new(config.retention.clone()),
            config,
            ctx,
            health,
            routes,
            sources,
            configured_routes,
            schedules,
            pulls: Pulls::default(),
            hops,
        };
        Ok((parts, is_first_start))
    }

    /// The export of telemetry, if any is configured. Sets the tracer of every part that is made
    /// afterwards.
    fn exporter(&mut self, log: Option<ExportedRecords>) -> anyhow::Result<Option<Exporter>> {
        let settings = &self.config.otlp;
        if settings.is_off() {
            return Ok(None);
        }
        let metrics = self.ctx.metrics.clone();
        let (exporter, tracer) = Exporter::new(settings.clone(), metrics, log, rand::random())
            .context("telemetry.otlp: cannot set up TLS")?;
        self.ctx.tracer = tracer;
        Ok(Some(exporter))
    }

    /// The certificates of the two listeners, which are watched from now on.
    #[expect(clippy::type_complexity, reason = "a pair of the same type")]
    fn load_certificates(
        &self,
        on: &Handle,
    ) -> anyhow::Result<(Option<Arc<ServerTls>>, Option<Arc<ServerTls>>)> {
        let load = |files: &Option<TlsFiles>, protocols: Protocols, setting: &'static str| {
            let Some(files) = files else { return Ok(None) };
            let tls = Arc::new(ServerTls::load(files, protocols).context(setting)?);
            let watching = tls.clone().watch(self.ctx.drain.clone());
            self.ctx.tasks.spawn_on("certificates", OnFailure::Log, on, watching);
            anyhow::Ok(Some(tls))
        };
        let server = load(&self.config.server.tls, HTTP_2_OR_1, "server.tls")?;
        let admin = load(&self.config.admin.tls, HTTP_1, "admin.tls")?;
        Ok((server, admin))
    }

    fn invoker(&self, guests: Handle) -> anyhow::Result<Invoker> {
        let deps = invoker::Deps {
            sources: self.sources.clone(),
            engine: invoker::engine_from_config(&self.config)?,
            routes: self.routes.clone(),
            folder: self.health.plugins_folder(),
            guests,
        };
        Ok(Invoker::new(self.config.clone(), self.ctx.clone(), deps))
    }

    fn ingress(&self, invoker: &Invoker, tls: Option<Arc<ServerTls>>) -> anyhow::Result<Ingress> {
        let config = &*self.config;
        let deps = ingress::Deps {
            tls,
            routes: self.routes.clone(),
            health: self.health.clone(),
            responders: Some(invoker.responders()),
            hops: self.hops.clone(),
            fetcher: Arc::new(Fetcher::new(&config.fetch).context("cannot set up TLS")?),
            seal: Arc::new(Seal::load_or_create(&config.data_dir)?),
            quarantine: ingress::quarantine_from_config(config, &self.ctx.clock)?,
        };
        Ok(Ingress::new(config, self.ctx.clone(), deps))
    }

    fn egress(&self) -> anyhow::Result<Egress> {
        let deps = egress::Deps {
            sources: self.sources.clone(),
            configured_routes: self.configured_routes.clone(),
            hops: self.hops.clone(),
            routes: self.routes.clone(),
        };
        Ok(Egress::new(&self.config, self.ctx.clone(), deps)?)
    }

    fn missing_targets(&self, handlers: &InvokerHandle, egress: EgressHandle) -> MissingTargets {
        let deps = missing_targets::Deps {
            handlers: handlers.clone(),
            egress,
            hold_life: self.config.hold_life,
        };
        MissingTargets::new(self.ctx.clone(), deps)
    }

    fn jobs(&self) -> JobWorker {
        JobWorker::new(self.ctx.clone(), jobs::Deps { routes: self.routes.clone() })
    }

    fn fallback_webhook(&self) -> anyhow::Result<Option<Arc<DirectWebhook>>> {
        let Some(webhook) = &self.config.alerts.fallback else { return Ok(None) };
        let (hops, clock) = (self.hops.clone(), self.ctx.clock.clone());
        let console = self.config.admin.public_url.as_deref();
        let webhook =
            DirectWebhook::new(webhook, hops, clock, console).context("alerts.alert_url")?;
        Ok(Some(Arc::new(webhook)))
    }

    fn alerts(&self, tls: Vec<TlsListener>, fallback: Option<Arc<DirectWebhook>>) -> Alerts {
        let deps = alerts::Deps {
            settings: self.alert_settings.clone(),
            sources: self.sources.clone(),
            tls_listeners: tls,
            routes: self.routes.clone(),
            fallback,
        };
        Alerts::new(self.ctx.clone(), deps)
    }

    fn admin(
        &self,
        ingress: &Arc<Ingress>,
        handlers: &InvokerHandle,
        egress: &Egress,
        (tls, unsaved): (Option<Arc<ServerTls>>, Unsaved),
        webhooks_at: String,
    ) -> anyhow::Result<Admin> {
        let deps = admin::Deps {
            allowed_hosts: self.config.admin.allowed_hosts.clone(),
            tls,
            token: Token::from_config(&self.config)?,
            open_reads: self.config.admin.open_reads,
            rate: self.config.admin.rate,
            health: self.health.clone(),
            handlers: handlers.clone(),
            egress: egress.handle(),
            inbox: egress.inbox(),
            routes: self.routes.clone(),
            ingress: ingress.clone(),
            schedules: self.schedules.clone(),
            pulls: self.pulls.clone(),
            webhooks_at,
            settings: SettingsFile::of(&self.config),
            console: Some(console::routes()),
            unsaved,
        };
        Ok(Admin::new(self.ctx.clone(), deps))
    }

    fn reload(
        &self,
        ingress: &Arc<Ingress>,
        handlers: &InvokerHandle,
        egress: &Egress,
    ) -> ConfigReloader {
        let provider_files = ProviderFileReporter::new(
            self.config.data_dir.clone(),
            self.health.clone(),
            self.ctx.notices.clone(),
        );
        let deps = reload::Deps {
            sources: self.sources.clone(),
            routes: self.routes.clone(),
            configured_routes: self.configured_routes.clone(),
            ingress: ingress.clone(),
            schedules: self.schedules.clone(),
            pulls: self.pulls.clone(),
            handlers: handlers.clone(),
            egress: egress.handle(),
            alerts: self.alert_settings.clone(),
            retention: self.retention_settings.clone(),
            provider_files,
        };
        ConfigReloader::new(self.config.clone(), self.ctx.clone(), deps)
    }

    fn schedules(&self) -> ScheduleWorker {
        ScheduleWorker::new(self.ctx.clone(), self.routes.clone(), self.schedules.clone())
    }

    fn pulls(&self, ingress: &Arc<Ingress>) -> PullWorker {
        let deps = pull::Deps {
            sources: self.sources.clone(),
            ingress: ingress.clone(),
            pulls: self.pulls.clone(),
        };
        PullWorker::new(self.ctx.clone(), deps)
    }

    fn retention(&self) -> RetentionWorker {
        let deps = RetentionDeps {
            retention: self.retention_settings.clone(),
            sources: self.sources.clone(),
            health: self.health.clone(),
        };
        RetentionWorker::new(self.ctx.clone(), deps)
    }
}

/// Places a hold on the whole hub, unless there is one.
async fn pause(store: &dyn Store) -> Result<(), StoreError> {
    let holds = store.holds().await?;
    if !holds.iter().any(|held| held.hold.scope == HoldScope::Hub) {
        store.hold(NewHold::paused_hub()).await?;
    }
    tracing::warn!(
        "the hub starts paused: webhooks are stored and nothing runs; `weir release hub` ends it"
    );
    Ok(())
}

/// The listeners that speak TLS.
fn tls_listeners<const N: usize>(
    listeners: [(&'static str, &Option<Arc<ServerTls>>); N],
) -> Vec<TlsListener> {
    let secured = |(listener, tls): (_, &Option<Arc<ServerTls>>)| {
        Some(TlsListener { listener, tls: tls.clone()? })
    };
    listeners.into_iter().filter_map(secured).collect()
}

/// Creates the data folder. It holds keys, tokens and payloads, so only its owner may read it.
fn prepare_data_dir(dir: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("store.url: cannot make the data folder {}", dir.display()))
}

/// Time that a process which drains has to close its store after its grace period.
const LAST_CLOSE: Duration = Duration::from_secs(15);

/// Opens the store, which first recovers from a crash. While another process uses it, it is tried
/// again within `patience`.
///
/// The store answers on the threads that opened it: those of requests, so that no answer waits for
/// a guest.
async fn open_store(
    config: &Config,
    clock: Arc<dyn Clock>,
    on: &Handle,
    patience: Option<Duration>,
) -> anyhow::Result<Arc<dyn Store>> {
    service::starting("opens the store");
    let options = StoreOptions { clock, run_slots: config.runs.places() };
    let (url, started) = (config.store_url.clone(), Instant::now());
    let mut waits = false;
    let opened = loop {
        let (url, options) = (url.clone(), options.clone());
        // A try waits for half a second itself.
        let opened = on.spawn_blocking(move || weir_store::open(&url, options)).await?;
        match opened {
            Err(StoreError::InUse { .. }) if patience.is_some_and(|p| started.elapsed() < p) => {}
            opened => break opened,
        }
        if !std::mem::replace(&mut waits, true) {
            tracing::info!("the store is in use: waiting until the process before has stopped");
            service::starting("waits until the process before has stopped");
        }
    };
    opened.with_context(|| format!("store.url: cannot open {url}"))
}
