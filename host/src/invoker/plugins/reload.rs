//! Carries out actions of the tracker: loads a handler and puts it into service, or retires it.
//!
//! After any failure the last good version goes on serving (INV-7). Not here: looking
//! at the folder, and deciding when to act.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::sleep;
use weir_core::error::chain;
use weir_core::name::{DestinationName, HandlerName, Target};
use weir_engine::{AllowedDestinations, Engine, LoadError, Module, Version};
use weir_store::StoreError;

use super::archive;
use super::folder::FolderId;
use super::manifest::Manifest;
use super::prepare::{Preparer, content_id};
use super::refusal::{CodeLimitExceeded, LoadFailure, LoadRefusal};
use super::tracker::FolderAction;
use crate::config::ConfiguredSources;
use crate::config::{Config, unmatched};
use crate::context::HubContext;
use crate::invoker::handlers::runtime::ServingVersion;
use crate::invoker::handlers::status::HandlerStates;
use crate::invoker::handlers::table::LiveHandlers;
use crate::observe::health::PluginsFolder;
use crate::observe::metrics::ModuleLoad;
use crate::observe::notice::{self, Notice};
use crate::routing::Routes;
use crate::target_changes;

/// The pause before an action is tried again that failed for a transient reason.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The end of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ActionResult {
    /// Carried out, or refused for good.
    Done,
    /// To be tried again.
    Again,
    /// The files are wrong or incomplete: to be tried again when they have not changed for long.
    Unclear,
}

/// Loads and retires handlers.
#[derive(Debug)]
pub(crate) struct Reloader {
    pub(super) config: Arc<Config>,
    pub(super) ctx: HubContext,
    pub(super) live: Arc<LiveHandlers>,
    pub(super) states: Arc<HandlerStates>,
    /// Shows in the health whether the plugins folder exists.
    pub(super) folder: PluginsFolder,
    pub(super) guests: Handle,
    preparer: Preparer,
    /// The sources in force. Their providers know which event types there are.
    sources: ConfiguredSources,
    routes: Arc<Routes>,
    /// The folder that the handlers were read from.
    home: parking_lot::Mutex<Option<FolderId>>,
    /// Held while the registry and the handlers in service are made to agree.
    registry: Mutex<()>,
}

/// The dependencies of [`Reloader`] besides the [`HubContext`].
pub(crate) struct Deps {
    pub(crate) sources: ConfiguredSources,
    pub(crate) engine: Engine,
    pub(crate) routes: Arc<Routes>,
    pub(crate) folder: PluginsFolder,
    pub(crate) guests: Handle,
    pub(crate) live: Arc<LiveHandlers>,
    pub(crate) states: Arc<HandlerStates>,
}

impl Reloader {
    pub(crate) fn new(config: Arc<Config>, ctx: HubContext, deps: Deps) -> Self {
        let Deps { sources, engine, routes, folder, guests, live, states } = deps;
        let preparer = Preparer::new(config.clone(), engine, guests.clone(), ctx.clock.clone());
        Self {
            config,
            ctx,
            live,
            states,
            folder,
            guests,
            preparer,
            sources,
            routes,
            home: parking_lot::Mutex::default(),
            registry: Mutex::default(),
        }
    }

    /// Remembers the folder that the handlers are in, to be stored with them.
    pub(super) fn set_home(&self, folder: Option<FolderId>) {
        *self.home.lock() = folder;
    }

    /// The manifests of the handlers that served when the process ended.
    pub(super) async fn last_good(&self) -> Result<BTreeMap<HandlerName, Manifest>, StoreError> {
        let store = &*self.ctx.store;
        let mut serving = archive::all(store).await?;
        let now = self.ctx.clock.now();
        for (name, _) in serving.extract_if(.., |_, manifest| manifest.retired) {
            archive::hold_missing(store, &name).await?;
            self.live.remove(&name);
            self.states.retired(&name, now);
        }
        for name in serving.keys() {
            self.states.loading(name, now);
        }
        Ok(serving)
    }

    /// Puts the version into service that served when the process ended. Transient failures are
    /// retried.
    pub(super) async fn restore(&self, name: &HandlerName, manifest: &Manifest) {
        loop {
            let restored = self.preparer.restore(&*self.ctx.store, name, manifest).await;
            let (reason, again) = match restored {
                Ok(version) => {
                    let (hash, since) = (version.version(), version.since);
                    self.live.serve(name, version);
                    self.states.ready(name, self.ctx.clock.now());
                    tracing::info!(handler = %name, version = %hash, %since, "handler restored");
                    return;
                }
                Err(error) => (chain(&error), error.is_transient()),
            };
            tracing::error!(handler = %name, reason, "cannot restore the last good version");
            let content = manifest.version().unwrap_or_else(|_| Version::of(b""));
            self.notify_failed(name, &reason);
            self.states.refused(name, content, reason, self.ctx.clock.now());
            if !again {
                return;
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Carries out an action.
    pub(super) async fn carry_out(&self, action: &FolderAction) -> ActionResult {
        let name = action.handler();
        let result = match action {
            FolderAction::Load(_) | FolderAction::LoadFinal(_) => self.load(name).await,
            FolderAction::MarkMissing(_) => {
                self.mark_missing(name);
                Ok(())
            }
            FolderAction::Retire(_) => self.retire(name).await,
        };
        match result {
            Ok(()) => ActionResult::Done,
            Err(LoadFailure::Refused { refusal, .. })
                if matches!(action, FolderAction::Load(_)) && refusal.may_be_incomplete() =>
            {
                let reason = chain(&refusal);
                tracing::debug!(handler = %name, reason, "handler's files are wrong or incomplete");
                ActionResult::Unclear
            }
            Err(LoadFailure::Refused { content, refusal }) => {
                self.refuse(name, content, &refusal);
                ActionResult::Done
            }
            Err(LoadFailure::Changing) => ActionResult::Again,
            Err(failure) => {
                let reason = chain(&failure);
                tracing::warn!(handler = %name, reason, "cannot load now, trying again");
                if let LoadFailure::CompilerUnavailable(_) = failure {
                    // Nothing is wrong with the files, so no content of theirs is marked as
                    // refused.
                    self.states.refused(name, Version::of(b""), reason, self.ctx.clock.now());
                }
                sleep(RETRY_PAUSE).await;
                ActionResult::Again
            }
        }
    }

    async fn load(&self, name: &HandlerName) -> Result<(), LoadFailure> {
        let (content, files) = self.preparer.read(name).await?;
        if self.states.was_refused(name, content, self.ctx.clock.now()) {
            return Ok(());
        }
        let before = self.live.version(name);
        let same = before
            .as_ref()
            .filter(|before| content_id(before.version(), before.sidecar.as_deref()) == content);
        if let Some(same) = same {
            return self.confirm(name, same).await;
        }
        self.states.loading(name, self.ctx.clock.now());
        let bytes = files.module.clone();
        let version = self.preparer.prepare(name, files, before.as_deref()).await;
        let version = version.map_err(|refusal| match refusal {
            LoadRefusal::Load(LoadError::CompilerUnavailable(cause)) => {
                LoadFailure::CompilerUnavailable(cause)
            }
            refusal => LoadFailure::Refused { content, refusal },
        })?;
        self.put_into_service(name, content, before.as_deref(), version, &bytes).await
    }

    /// Stores a version as the current one, then puts it into service.
    async fn put_into_service(
        &self,
        name: &HandlerName,
        content: Version,
        before: Option<&ServingVersion>,
        version: ServingVersion,
        bytes: &[u8],
    ) -> Result<(), LoadFailure> {
        let store = &*self.ctx.store;
        let _registry = self.registry.lock().await;
        self.check_code_limit(name, &version.module)
            .map_err(|full| LoadFailure::Refused { content, refusal: full.into() })?;
        let hash = version.version();
        archive::keep_module(store, hash, bytes).await?;
        let known = archive::manifest(store, name).await?;
        let manifest = manifest_of(&version, known.as_ref(), *self.home.lock());
        let version = ServingVersion { since: manifest.since, ..version };
        archive::keep_manifest(store, name, &manifest).await?;
        self.warn_of_mistakes(name, &version);
        let subscriptions = version.settings.subscriptions.clone();
        self.live.serve(name, version);
        self.ctx.metrics.module_load(ModuleLoad::Loaded);
        match before.map(ServingVersion::version) {
            None => tracing::info!(handler = %name, version = %hash, "handler loaded"),
            Some(old) if old == hash => {
                tracing::info!(handler = %name, version = %hash, "handler settings changed");
            }
            Some(old) => tracing::info!(handler = %name, %old, new = %hash, "handler changed"),
        }
        self.routes.set_handler(name, Some(subscriptions)).await?;
        archive::release_missing(store, name).await?;
        self.states.ready(name, self.ctx.clock.now());
        archive::prune_modules(store).await?;
        // A new grant or a new module may be what failed runs wait for.
        target_changes::retry(store, &Target::Handler(name.clone())).await?;
        Ok(())
    }

    /// Makes registry, routes and holds agree with a version that serves already. An earlier action
    /// may have ended half way.
    async fn confirm(
        &self,
        name: &HandlerName,
        version: &ServingVersion,
    ) -> Result<(), LoadFailure> {
        let store = &*self.ctx.store;
        let _registry = self.registry.lock().await;
        let known = archive::manifest(store, name).await?;
        let home = *self.home.lock();
        if known.as_ref().is_none_or(|m| m.retired || m.folder != home) {
            let manifest = manifest_of(version, known.as_ref(), home);
            archive::keep_manifest(store, name, &manifest).await?;
        }
        let subscriptions = version.settings.subscriptions.clone();
        self.routes.set_handler(name, Some(subscriptions)).await?;
        archive::release_missing(store, name).await?;
        self.states.ready(name, self.ctx.clock.now());
        Ok(())
    }

    fn refuse(&self, name: &HandlerName, content: Version, refusal: &LoadRefusal) {
        let reason = chain(refusal);
        self.states.refused(name, content, reason.clone(), self.ctx.clock.now());
        self.ctx.metrics.module_load(ModuleLoad::Rejected);
        self.notify_failed(name, &reason);
        match self.live.version(name).map(|version| version.version()) {
            Some(version) => {
                tracing::warn!(
                    handler = %name, reason, still_serving = %version, "handler refused"
                );
            }
            None => tracing::warn!(handler = %name, reason, "handler refused"),
        }
    }

    fn notify_failed(&self, name: &HandlerName, reason: &str) {
        self.ctx.notices.post(Notice::LoadFailed {
            handler: name.clone(),
            reason: notice::cut(reason),
            serves_on: self.live.version(name).is_some(),
        });
    }

    fn mark_missing(&self, name: &HandlerName) {
        if self.live.version(name).is_some() {
            self.states.missing(name, self.ctx.clock.now());
            let grace: Duration = self.config.plugins.grace;
            tracing::warn!(
                handler = %name, ?grace,
                "handler's file is gone, retiring it unless it comes back"
            );
        }
    }

    async fn retire(&self, name: &HandlerName) -> Result<(), LoadFailure> {
        let store = &*self.ctx.store;
        let _registry = self.registry.lock().await;
        let Some(manifest) = archive::manifest(store, name).await? else {
            self.states.forget(name);
            return Ok(());
        };
        archive::keep_manifest(store, name, &Manifest { retired: true, ..manifest }).await?;
        self.routes.set_handler(name, None).await?;
        archive::hold_missing(store, name).await?;
        self.live.remove(name);
        self.states.retired(name, self.ctx.clock.now());
        self.ctx.metrics.module_load(ModuleLoad::Retired);
        tracing::warn!(
            handler = %name, "handler retired, its deliveries wait until its file comes back"
        );
        Ok(())
    }

    /// Refuses a module whose compiled code does not fit beside that of the handlers in service.
    fn check_code_limit(
        &self,
        name: &HandlerName,
        module: &Module,
    ) -> Result<(), CodeLimitExceeded> {
        let (needs, max) = (module.code_bytes(), self.config.plugins.code_max);
        let others = self.live.code_bytes_of_others(name);
        if needs.saturating_add(others) > max {
            return Err(CodeLimitExceeded { needs, others, max });
        }
        Ok(())
    }

    fn warn_of_mistakes(&self, name: &HandlerName, version: &ServingVersion) {
        if let Some(warning) = version.module.build_warning() {
            tracing::warn!(handler = %name, "{warning}");
        }
        let settings = &version.settings;
        if settings.subscriptions.is_empty() {
            tracing::warn!(
                handler = %name,
                "handler has no subscriptions; set on = [\"source:type\"] in its sidecar file"
            );
        }
        let sources = self.sources.current();
        for never in settings.subscriptions.iter().filter_map(|p| unmatched(p, &sources)) {
            tracing::warn!(handler = %name, "subscription matches no event: {never}");
        }
        let AllowedDestinations::These(granted) = &settings.grants.destinations else { return };
        let unknown = |to: &&DestinationName| !settings.grants.known.contains(*to);
        for destination in granted.iter().filter(unknown) {
            tracing::warn!(
                handler = %name, %destination, "grant names a destination that does not exist"
            );
        }
    }
}

fn manifest_of(
    version: &ServingVersion,
    known: Option<&Manifest>,
    folder: Option<FolderId>,
) -> Manifest {
    let hash = version.version().to_hex();
    let since = known.filter(|m| m.version == hash).map_or(version.since, |m| m.since);
    Manifest {
        kind: version.module.kind(),
        about: version.about.clone(),
        subscriptions: version.requested.iter().map(ToString::to_string).collect(),
        sidecar: version.sidecar.clone(),
        since,
        retired: false,
        kept: Manifest::kept_with(known, &hash),
        folder,
        version: hash,
    }
}
