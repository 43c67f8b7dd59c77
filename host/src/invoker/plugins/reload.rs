//! Carries out actions of the tracker: loads a handler and puts it into service, or retires it.
//!
//! After any failure the last good version goes on serving (INV-7). Not here: looking
//! at the folder, and deciding when to act.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify};
use tokio::time::sleep;
use weir_core::error::chain;
use weir_core::name::HandlerName;
use weir_engine::{Engine, LoadError, Version};
use weir_store::StoreError;

use super::archive;
use super::folder::FolderId;
use super::manifest::Manifest;
use super::prepare::Preparer;
use super::refusal::{LoadFailure, LoadRefusal, RestoreError};
use super::serving::{is_of, marks};
use super::tracker::FolderAction;
use crate::config::{Config, ConfiguredSources};
use crate::context::HubContext;
use crate::invoker::handlers::runtime::ServingVersion;
use crate::invoker::handlers::status::HandlerStates;
use crate::invoker::handlers::table::LiveHandlers;
use crate::invoker::handlers::trial::Trial;
use crate::observe::health::PluginsFolder;
use crate::observe::metrics::ModuleLoad;
use crate::observe::notice::{self, Notice};
use crate::routing::Routes;

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
    pub(super) preparer: Preparer,
    /// The sources in force. Their providers know which event types there are.
    pub(super) sources: ConfiguredSources,
    pub(super) routes: Arc<Routes>,
    /// Notified when a probation is to be saved or ended.
    pub(super) probation_changed: Arc<Notify>,
    /// The folder that the handlers were read from.
    pub(super) home: parking_lot::Mutex<Option<FolderId>>,
    /// Held while the registry and the handlers in service are made to agree.
    pub(super) registry: Mutex<()>,
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
            probation_changed: Arc::default(),
            home: parking_lot::Mutex::default(),
            registry: Mutex::default(),
        }
    }

    /// The runtime that acts on versions run on.
    pub(crate) fn guests(&self) -> Handle {
        self.guests.clone()
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

    /// Puts the version into service that served when the process ended, with its probation.
    /// Transient failures are retried.
    pub(super) async fn restore(&self, name: &HandlerName, manifest: &Manifest) {
        self.states.mark(name, marks(manifest));
        loop {
            let restored = self.try_restore(name, manifest).await;
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

    async fn try_restore(
        &self,
        name: &HandlerName,
        manifest: &Manifest,
    ) -> Result<ServingVersion, RestoreError> {
        let store = &*self.ctx.store;
        let current = manifest.current();
        let version = self.preparer.restore(store, name, &current, manifest.since).await?;
        let policy = version.settings.probation.policy().copied();
        let stored = manifest.probation.as_ref().zip(policy);
        let Some((stored, policy)) = stored else { return Ok(version) };
        let Some(old) = manifest.kept(&stored.old) else { return Ok(version) };
        let since = old.served_at.unwrap_or(old.loaded_at);
        match self.preparer.restore(store, name, old, since).await {
            Ok(old) => {
                let changed = self.probation_changed.clone();
                let trial = Trial::new(Arc::new(old), policy, stored.course.clone(), changed);
                Ok(ServingVersion { trial: Some(Arc::new(trial)), ..version })
            }
            Err(error) => {
                let reason = chain(&error);
                tracing::warn!(
                    handler = %name, reason, "the version before cannot be restored: the \
                    probation ends"
                );
                Ok(version)
            }
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

    /// Loads the files of a handler as they are now.
    pub(super) async fn load(&self, name: &HandlerName) -> Result<(), LoadFailure> {
        let (content, files) = self.preparer.read(name).await?;
        if self.states.was_refused(name, content, self.ctx.clock.now()) {
            return Ok(());
        }
        let known = archive::manifest(&*self.ctx.store, name).await?;
        if let Some(known) = &known
            && self.live.version(name).is_none()
            && (known.pin.is_some() || known.leaves(content))
        {
            self.restore(name, known).await;
        }
        let before = self.live.version(name);
        if known.as_ref().is_some_and(|known| known.leaves(content)) {
            // Another version serves in spite of these files.
            return match before {
                Some(version) => self.confirm(name, &version, None).await,
                None => Ok(()),
            };
        }
        if let Some(same) = before.as_ref().filter(|before| is_of(before, content)) {
            return self.confirm(name, same, Some(content)).await;
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
        self.put_into_service(name, content, version, &bytes).await
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
}
