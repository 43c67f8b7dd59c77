//! The configuration while the hub runs: read again when a file that it is made of has changed, and its sources put in
//! force. Mended secrets, new sources and changed provider files need no restart.
//!
//! A configuration that is wrong changes nothing, and says why; a provider file that is wrong concerns itself alone. What
//! else is configured than sources takes effect at the next start, and that is said too.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};
use weir_store::StoreError;

use crate::config::ConfiguredSources;
use crate::config::{self, Config, ConfigErrors, Loaded};
use crate::context::HubContext;
use crate::hub::provider_files::ProviderFileReporter;
use crate::ingress::Ingress;
use crate::routing::Routes;

/// How often files are looked at. What has changed is read once it has stayed the same for one more look.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a configuration that is wrong is tried again, though nothing that is known of has changed: what it lacks
/// may be a file that was not there.
const TRY_EVERY: Duration = Duration::from_secs(5);

/// The dependencies of [`ConfigReloader`] besides the [`HubContext`].
#[derive(Debug)]
pub(crate) struct Deps {
    pub(crate) sources: ConfiguredSources,
    pub(crate) routes: Arc<Routes>,
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) provider_files: ProviderFileReporter,
}

/// Keeps the sources as the files say.
#[derive(Debug)]
pub(crate) struct ConfigReloader {
    ctx: HubContext,
    config: Arc<Config>,
    deps: Deps,
    /// An operator asks for the configuration to be read again.
    requested: Arc<Notify>,
}

/// What tells a file from what it was: its place on the disk, its length, and when it was last changed.
type FileStamp = Option<(u64, u64, i64, i64, i64, i64)>;
type FileStamps = BTreeMap<PathBuf, FileStamp>;

impl ConfigReloader {
    pub(crate) fn new(config: Arc<Config>, ctx: HubContext, deps: Deps) -> Self {
        Self { ctx, config, deps, requested: Arc::default() }
    }

    /// Requests a reload even if no file has changed.
    pub(crate) fn trigger(&self) -> Arc<Notify> {
        self.requested.clone()
    }

    /// Looks until claiming stops.
    pub(crate) async fn run(mut self) {
        let config = Arc::clone(&self.config);
        self.deps.provider_files.adopt(config.providers.clone()).await;
        // Development mode with no file has nothing to read again.
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
                tracing::info!("asked by SIGHUP to read the configuration again");
                wrong = None;
            } else if !is_still || (found == read && !again) {
                continue;
            }
            let (file, development) = (origin.file.clone(), origin.development);
            let loading = move || config::load(Some(&file), development);
            let Ok(loaded) = tokio::task::spawn_blocking(loading).await else { return };
            read = found;
            match loaded {
                Ok(loaded) => {
                    let files = loaded.config.origin.as_ref().map(|origin| &origin.files);
                    // What was read may have changed since it was looked at; that is then found at the next look.
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
        }
    }

    async fn without_a_file(&self) {
        loop {
            tokio::select! {
                () = self.ctx.drain.claiming_stopped() => return,
                () = self.requested.notified() => {
                    tracing::info!("SIGHUP: there is no weir.toml to read again");
                }
            }
        }
    }

    /// Puts a configuration's sources in force, if the store takes note of who answers for them.
    async fn adopt(&mut self, Loaded { config, warnings, .. }: Loaded) -> Result<(), StoreError> {
        self.deps.routes.set_responders(&config.sources).await?;
        for warning in warnings {
            tracing::warn!(%warning, "configuration");
        }
        if let (Some(running), Some(read)) = (&self.config.origin, &config.origin) {
            let changed = running.restart.changed(&read.restart);
            if !changed.is_empty() {
                let (file, changed) = (read.file.display(), changed.join(", "));
                tracing::warn!(
                    "{file}: {changed} changed; restart to apply (sources are reloaded)"
                );
            }
        }
        let sources = config.sources.len();
        tracing::info!(sources, "configuration reloaded");
        self.ctx.metrics.config_reloaded("accepted");
        let gone = |name: &str| !config.sources.contains_key(name);
        self.deps.sources.replace(config.sources.clone());
        self.deps.ingress.replace_sources(config.sources.clone());
        self.ctx.metrics.forget_sources(gone);
        self.deps.provider_files.adopt(config.providers).await;
        Ok(())
    }

    fn keep(&self, errors: &ConfigErrors, before: Option<&RejectedConfig>) -> RejectedConfig {
        let said = errors.to_string();
        if before.is_none_or(|before| before.said != said) {
            self.ctx.metrics.config_reloaded("refused");
            for problem in &errors.problems {
                tracing::error!(%problem, "configuration is wrong; the sources are unchanged");
            }
        }
        RejectedConfig { said, at: Instant::now() }
    }

    fn not_yet(&self, error: &StoreError, before: Option<&RejectedConfig>) -> RejectedConfig {
        let said = error.to_string();
        if before.is_none_or(|before| before.said != said) {
            tracing::error!(%error, "the sources are unchanged until the store has recorded the change");
        }
        RejectedConfig { said, at: Instant::now() }
    }
}

/// A configuration that is not in force: what was said of it, and when it was last tried.
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
