//! The reload: reads the configuration again when one of its files changes, and puts its sources,
//! routes, schedules, destinations, alerts, retention and settings of handlers into force. They,
//! secrets and provider files need no restart.
//!
//! An invalid configuration changes nothing and is logged; an invalid provider file affects only
//! itself. Other changes are logged and take effect at the next start.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};
use weir_core::name::SCHEDULE_SOURCE;
use weir_store::StoreError;

use crate::config::{
    self, Config, ConfigErrors, ConfiguredAlerts, ConfiguredRetention, ConfiguredRoutes,
    ConfiguredSources, Loaded, Route,
};
use crate::context::HubContext;
use crate::egress::EgressHandle;
use crate::hub::provider_files::ProviderFileReporter;
use crate::ingress::Ingress;
use crate::invoker::InvokerHandle;
use crate::observe::metrics::ConfigReload;
use crate::pull::Pulls;
use crate::routing::Routes;
use crate::runtime::service;
use crate::schedules::Schedules;

/// Between two checks of the files. A changed file is loaded after one more check without a change.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two tries of an invalid configuration whose files have not changed: an absent file may
/// have appeared.
const TRY_EVERY: Duration = Duration::from_secs(5);

/// The dependencies of [`ConfigReloader`] besides the [`HubContext`].
#[derive(Debug)]
pub(crate) struct Deps {
    pub(crate) sources: ConfiguredSources,
    pub(crate) routes: Arc<Routes>,
    pub(crate) configured_routes: ConfiguredRoutes,
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) schedules: Schedules,
    pub(crate) pulls: Pulls,
    pub(crate) handlers: InvokerHandle,
    pub(crate) egress: EgressHandle,
    pub(crate) alerts: ConfiguredAlerts,
    pub(crate) retention: ConfiguredRetention,
    pub(crate) provider_files: ProviderFileReporter,
}

/// Keeps the sources up to date with the files.
#[derive(Debug)]
pub(crate) struct ConfigReloader {
    ctx: HubContext,
    config: Arc<Config>,
    deps: Deps,
    /// The operator requested a reload.
    requested: Arc<Notify>,
}

/// The inode, length and times of a file, which show that it has changed.
type FileStamp = Option<(u64, u64, i64, i64, i64, i64)>;
type FileStamps = BTreeMap<PathBuf, FileStamp>;

impl ConfigReloader {
    pub(crate) fn new(config: Arc<Config>, ctx: HubContext, deps: Deps) -> Self {
        Self { ctx, config, deps, requested: Arc::default() }
    }

    /// The handle to request a reload.
    pub(crate) fn trigger(&self) -> Arc<Notify> {
        self.requested.clone()
    }

    /// Checks the files until claiming stops.
    pub(crate) async fn run(mut self) {
        let config = self.config.clone();
        self.deps.provider_files.adopt(config.providers.clone()).await;
        // Development mode without a file has nothing to reload.
        let Some(origin) = &config.origin else { return self.without_a_file().await };
        let mut read = signs(&origin.files);
        let (mut last, mut wrong) = (read.clone(), None::<RejectedConfig>);
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_asked = tokio::select! {
                () = self.ctx.drain.claiming_stopped() => return,
                () = self.requested.notified() => true,
                _ = look.tick() => false,
            };
            let found: FileStamps = read.keys().map(|file| (file.clone(), sign(file))).collect();
            let is_still = found == last;
            last.clone_from(&found);
            let again = wrong.as_ref().is_some_and(|wrong| wrong.at.elapsed() >= TRY_EVERY);
            if is_asked {
                tracing::info!("SIGHUP: reloading the configuration");
                service::reloading();
                wrong = None;
            } else if !is_still || (found == read && !again) {
                continue;
            }
            let (file, mode) = (origin.file.clone(), origin.mode);
            let loading = move || config::load(Some(&file), mode);
            let Ok(loaded) = tokio::task::spawn_blocking(loading).await else { return };
            read = found;
            match loaded {
                Ok(loaded) => {
                    let files = loaded.config.origin.as_ref().map(|origin| &origin.files);
                    // A change between the check and the load is found at the next check.
                    let newer = signs(files.into_iter().flatten());
                    read = newer
                        .into_iter()
                        .map(|(f, s)| (f.clone(), *read.get(&f).unwrap_or(&s)))
                        .collect();
                    last.clone_from(&read);
                    let adopted = self.adopt(loaded).await;
                    wrong = adopted.err().map(|error| self.not_yet(&error, wrong.as_ref()));
                }
                Err(errors) => wrong = Some(self.keep(&errors, wrong.as_ref())),
            }
            if is_asked {
                service::reloaded();
            }
        }
    }

    async fn without_a_file(&self) {
        loop {
            tokio::select! {
                () = self.ctx.drain.claiming_stopped() => return,
                () = self.requested.notified() => {
                    tracing::info!("SIGHUP: there is no weir.toml to reload");
                    service::reloading();
                    service::reloaded();
                }
            }
        }
    }

    /// Puts the sources into force, if the store records the new routing table.
    async fn adopt(&mut self, Loaded { config, warnings, .. }: Loaded) -> Result<(), StoreError> {
        // Before the routes, so that what they bring is sent.
        self.deps.egress.reconfigure(&config).await?;
        let routes = self.routes_of(&config);
        self.deps.routes.set_configured(&routes, &config.sources).await?;
        self.deps.configured_routes.replace(routes.into_owned());
        for warning in warnings {
            tracing::warn!(%warning, "configuration");
        }
        if let (Some(running), Some(read)) = (&self.config.origin, &config.origin) {
            let changed = running.restart.changed(&read.restart);
            if !changed.is_empty() {
                let (file, changed) = (read.file.display(), changed.join(", "));
                tracing::warn!(
                    "{file}: {changed} changed; restart to apply (the rest is reloaded)"
                );
            }
        }
        let sources = config.sources.len();
        tracing::info!(sources, "configuration reloaded");
        self.ctx.metrics.config_reload(ConfigReload::Accepted);
        let gone = |name: &str| !config.sources.contains_key(name) && name != SCHEDULE_SOURCE;
        self.deps.schedules.replace(config.schedules.clone());
        self.deps.alerts.replace(config.alerts.clone());
        self.deps.retention.replace(config.retention.clone());
        self.deps.sources.replace(config.sources.clone());
        self.deps.ingress.replace_sources(config.sources.clone());
        self.ctx.metrics.forget_sources(gone);
        self.deps.pulls.sources_changed();
        self.deps.provider_files.adopt(config.providers.clone()).await;
        // What needs a restart stays as it is also for handlers.
        let Config { plugins, runs, .. } = &*self.config;
        let (plugins, runs) = (plugins.clone(), runs.clone());
        let config = Arc::new(Config { plugins, runs, ..config });
        self.deps.handlers.reconfigure(config).await;
        Ok(())
    }

    /// The routes to put into force. A route to a destination that cannot be set up would file
    /// deliveries that nothing sends: then all routes stay as they are.
    fn routes_of<'c>(&self, config: &'c Config) -> Cow<'c, [Route]> {
        let in_force = self.deps.egress.names();
        match config.routes.iter().find(|route| !in_force.contains(&route.to)) {
            None => Cow::Borrowed(&config.routes),
            Some(route) => {
                tracing::warn!(
                    "[[route]]: the routes are unchanged, because destination {} cannot be set up",
                    route.to
                );
                Cow::Owned(self.deps.configured_routes.current().to_vec())
            }
        }
    }

    fn keep(&self, errors: &ConfigErrors, before: Option<&RejectedConfig>) -> RejectedConfig {
        let said = errors.to_string();
        if before.is_none_or(|before| before.said != said) {
            self.ctx.metrics.config_reload(ConfigReload::Refused);
            for problem in &errors.problems {
                tracing::error!(%problem, "invalid configuration; the sources are unchanged");
            }
        }
        RejectedConfig { said, at: Instant::now() }
    }

    fn not_yet(&self, error: &StoreError, before: Option<&RejectedConfig>) -> RejectedConfig {
        let said = error.to_string();
        if before.is_none_or(|before| before.said != said) {
            tracing::error!(%error, "cannot store the new routing table; the sources are \
                unchanged until then");
        }
        RejectedConfig { said, at: Instant::now() }
    }
}

/// A rejected configuration: its problems, and the time of the last try.
struct RejectedConfig {
    said: String,
    at: Instant,
}

fn signs<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> FileStamps {
    files.into_iter().map(|file| (file.clone(), sign(file))).collect()
}

fn sign(file: &PathBuf) -> FileStamp {
    let data = std::fs::metadata(file).ok()?;
    let (changed, written) = ((data.ctime(), data.ctime_nsec()), (data.mtime(), data.mtime_nsec()));
    Some((data.ino(), data.len(), written.0, written.1, changed.0, changed.1))
}
