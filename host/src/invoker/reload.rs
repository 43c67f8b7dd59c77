//! Carries out what the tracker asks for: load beside, check, store, then swap; or retire.
//!
//! Whatever fails leaves the last good version serving (INV-7). What may not live here: looking at the folder, and
//! deciding when to act.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::sleep;
use weir_core::error::chain;
use weir_core::name::{DestinationName, HandlerName, Target};
use weir_core::time::Clock;
use weir_engine::{
    self as engine, AllowedDestinations, DescribeError, Engine, LoadError, Module, Version,
};
use weir_store::{Store, StoreError};

use super::archive::{self, ArchiveError};
use super::folder::{self, FileProblem, FolderId, HandlerFiles, Read};
use super::manifest::{Manifest, ManifestError};
use super::settings::{self, EffectiveSettings, Requested};
use super::tracker::FolderAction;
use super::versions::{LiveHandlers, ServingVersion};
use crate::config::ConfiguredSources;
use crate::config::{Config, ConfigErrors, unmatched};
use crate::observe::health::PluginsFolder;
use crate::observe::metrics::Metrics;
use crate::observe::notice::{self, Notice, Notices};
use crate::routing::Routes;
use crate::target_changes;

/// Why a handler's files do not serve.
#[derive(Debug, Error)]
enum LoadRefusal {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Describe(#[from] DescribeError),
    #[error(transparent)]
    FileProblem(#[from] FileProblem),
    #[error("its sidecar file is not right")]
    Sidecar(#[from] ConfigErrors),
    #[error("its sidecar file is not UTF-8 text")]
    SidecarNotText,
    #[error("the compiler failed; this is a fault of the host")]
    Compiler,
    #[error(transparent)]
    CodeLimitExceeded(#[from] CodeLimitExceeded),
}

/// Compiled code that there is no room for.
#[derive(Debug, Error)]
#[error(
    "its compiled code has {needs} bytes and that of the other handlers {others}, together more than {max}; remove a \
     handler, build a smaller module, or raise plugins.code_max"
)]
struct CodeLimitExceeded {
    needs: usize,
    others: usize,
    max: usize,
}

impl LoadRefusal {
    /// Whether a file that is still being written looks like this.
    fn may_be_half_a_file(&self) -> bool {
        match self {
            Self::Load(error) => !matches!(
                error,
                LoadError::TooLarge(_)
                    | LoadError::CompilerLimit(_)
                    | LoadError::CompilerUnavailable(_)
                    | LoadError::Contract(_)
            ),
            Self::Sidecar(_) | Self::SidecarNotText => true,
            Self::Describe(_)
            | Self::FileProblem(_)
            | Self::Compiler
            | Self::CodeLimitExceeded(_) => false,
        }
    }
}

/// What came of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActionResult {
    /// It is carried out, or refused for good.
    Yes,
    /// It has to be asked for again.
    Again,
    /// The files are wrong, or not whole yet: to be looked at again when they have not changed for long.
    InDoubt,
}

/// Why an act was not carried out.
#[derive(Debug, Error)]
enum LoadFailure {
    /// The files are at fault. Nothing more happens until they change.
    #[error("refused")]
    Refused { content: Version, refusal: LoadRefusal },
    /// They are changing just now.
    #[error("files are changing")]
    Changing,
    /// They cannot be read. May pass.
    #[error("cannot read the files")]
    Unreadable(#[from] std::io::Error),
    /// The registry is not available. May pass.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There is no process to compile in. May pass.
    #[error("cannot start a process to compile in")]
    Compiler(#[source] std::io::Error),
}

impl From<StoreError> for LoadFailure {
    fn from(error: StoreError) -> Self {
        Self::Archive(error.into())
    }
}

/// Loads and retires handlers.
#[derive(Debug)]
pub(crate) struct Reloader {
    pub(crate) config: Arc<Config>,
    /// The sources in force, whose providers say which types there are.
    pub(crate) sources: ConfiguredSources,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) engine: Engine,
    pub(crate) routes: Arc<Routes>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) notices: Notices,
    pub(crate) versions: Arc<LiveHandlers>,
    /// Where it is said whether the plugins folder is there.
    pub(crate) folder: PluginsFolder,
    /// Where guests run, and compile.
    pub(crate) guests: Handle,
    /// Modules being compiled at once: more than one, so that a slow one holds nobody up.
    pub(crate) compilers: Semaphore,
    /// Held while the registry and what is in force are made to agree, and unused bytes are removed.
    pub(crate) registry: Mutex<()>,
}

/// See [`Reloader::compilers`].
pub(crate) const COMPILERS: usize = 2;

/// Before an act is tried again that failed for a reason that may pass.
const AGAIN: Duration = Duration::from_secs(1);

impl Reloader {
    /// The versions that served when the process ended, to be put into service again.
    pub(crate) async fn last_good(&self) -> Result<BTreeMap<HandlerName, Manifest>, StoreError> {
        let mut serving = archive::all(&*self.store).await?;
        let now = self.clock.now();
        for (name, _) in serving.extract_if(.., |_, manifest| manifest.retired) {
            archive::hold_missing(&*self.store, &name).await?;
            self.versions.retire(&name, now);
        }
        for name in serving.keys() {
            self.versions.loading(name, now);
        }
        Ok(serving)
    }

    /// Puts the version into service that served when the process ended.
    pub(crate) async fn restore(&self, name: &HandlerName, manifest: &Manifest) {
        loop {
            let (reason, passes) = match self.restored(name, manifest).await {
                Ok(serving) => {
                    let (version, since) = (serving.version(), serving.since);
                    self.versions.swap(name, serving);
                    self.versions.agree(name, self.clock.now());
                    tracing::info!(handler = %name, %version, %since, "handler restored");
                    return;
                }
                Err(error) => (chain(&error), error.passes()),
            };
            tracing::error!(handler = %name, reason, "last good version cannot be restored");
            let content = manifest.version().unwrap_or_else(|_| Version::of(b""));
            self.tell_failed(name, &reason);
            self.versions.refuse(name, content, reason, self.clock.now());
            if !passes {
                return;
            }
            sleep(AGAIN).await;
        }
    }

    async fn restored(
        &self,
        name: &HandlerName,
        manifest: &Manifest,
    ) -> Result<ServingVersion, RestoreError> {
        let bytes = archive::module(&*self.store, manifest.version()?).await?;
        let bytes = bytes.ok_or(RestoreError::Gone)?;
        let module = self.compile(bytes).await.map_err(RestoreError::Refused)?;
        let asks = manifest.patterns()?;
        let (settings, permits) = self
            .settings(name, &module, &asks, manifest.sidecar.as_deref())
            .map_err(RestoreError::Refused)?;
        let (about, sidecar) = (manifest.about.clone(), manifest.sidecar.clone());
        let since = manifest.since;
        Ok(ServingVersion { module, about, asks, sidecar, settings, permits, since })
    }

    /// Carries out an act.
    pub(crate) async fn carry_out(&self, act: &FolderAction) -> ActionResult {
        let (name, done) = match act {
            FolderAction::Load(name) | FolderAction::LoadFinal(name) => {
                (name, self.load(name).await)
            }
            FolderAction::MarkMissing(name) => (name, self.miss(name)),
            FolderAction::Retire(name) => (name, self.retire(name).await),
        };
        match done {
            Ok(()) => ActionResult::Yes,
            Err(LoadFailure::Refused { refusal, .. })
                if matches!(act, FolderAction::Load(_)) && refusal.may_be_half_a_file() =>
            {
                let reason = chain(&refusal);
                tracing::debug!(handler = %name, reason, "handler's files are not right, perhaps still being written");
                ActionResult::InDoubt
            }
            Err(LoadFailure::Refused { content, refusal }) => {
                self.refuse(name, content, &refusal);
                ActionResult::Yes
            }
            Err(LoadFailure::Changing) => ActionResult::Again,
            Err(trouble) => {
                let reason = chain(&trouble);
                tracing::warn!(handler = %name, reason, "cannot reload now, trying again");
                if let LoadFailure::Compiler(_) = trouble {
                    // Nothing in the folder is at fault, so the reason is told of no content in it.
                    self.versions.refuse(name, Version::of(b""), reason, self.clock.now());
                }
                sleep(AGAIN).await;
                ActionResult::Again
            }
        }
    }

    async fn load(&self, name: &HandlerName) -> Result<(), LoadFailure> {
        let (id, content) = self.read(name).await?;
        if self.versions.is_refused(name, id, self.clock.now()) {
            return Ok(());
        }
        let before = self.versions.serving(name);
        let same = before.as_ref().filter(|s| identity_of(s.version(), s.sidecar.as_deref()) == id);
        if let Some(same) = same {
            return self.confirm(name, same).await;
        }
        self.versions.loading(name, self.clock.now());
        let bytes = content.module.clone();
        let serving =
            self.checked(name, content, before.as_deref()).await.map_err(
                |refusal| match refusal {
                    LoadRefusal::Load(LoadError::CompilerUnavailable(cause)) => {
                        LoadFailure::Compiler(cause)
                    }
                    refusal => LoadFailure::Refused { content: id, refusal },
                },
            )?;
        self.take_over(name, id, before.as_deref(), serving, &bytes).await
    }

    /// Reads a handler's files, and what tells this content from others.
    async fn read(&self, name: &HandlerName) -> Result<(Version, HandlerFiles), LoadFailure> {
        let (dir, name): (PathBuf, _) = (self.config.plugins.dir.clone(), name.clone());
        // Hashing 64 MiB takes as long as reading them.
        let reading = self.guests.spawn_blocking(move || match folder::read(&dir, &name)? {
            Read::Whole(content) => Ok((identity(&content), content)),
            Read::Changed => Err(LoadFailure::Changing),
            Read::FileProblem(odd) => {
                let content = Version::of(odd.to_string().as_bytes());
                Err(LoadFailure::Refused { content, refusal: odd.into() })
            }
            Read::SidecarNotText => {
                let content = Version::of(b"a sidecar that is not text");
                Err(LoadFailure::Refused { content, refusal: LoadRefusal::SidecarNotText })
            }
        });
        reading.await.unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
    }

    /// Loads files into something that could serve. Touches nothing.
    async fn checked(
        &self,
        name: &HandlerName,
        content: HandlerFiles,
        before: Option<&ServingVersion>,
    ) -> Result<ServingVersion, LoadRefusal> {
        let HandlerFiles { module: bytes, sidecar } = content;
        // A mistake in the sidecar is found before a second of compiling.
        settings::said(name, sidecar.as_deref(), &self.config)?;
        let version = Version::of(&bytes);
        let (module, about, asks) = match before.filter(|s| s.version() == version) {
            Some(known) => (known.module.clone(), known.about.clone(), known.asks.clone()),
            None => {
                let module = self.compile(bytes).await?;
                let engine::Description { about, subscriptions } = self.describe(&module).await?;
                (module, about, subscriptions)
            }
        };
        let (settings, fresh) = self.settings(name, &module, &asks, sidecar.as_deref())?;
        // Runs of the version before count against the same permits, unless their number changed.
        let permits = match before.filter(|s| s.settings.concurrency == settings.concurrency) {
            Some(before) => Arc::clone(&before.permits),
            None => fresh,
        };
        Ok(ServingVersion {
            module,
            about,
            asks,
            sidecar,
            settings,
            permits,
            since: self.clock.now(),
        })
    }

    fn settings(
        &self,
        name: &HandlerName,
        module: &Module,
        subscriptions: &[weir_core::route::Pattern],
        sidecar: Option<&str>,
    ) -> Result<(EffectiveSettings, Arc<Semaphore>), LoadRefusal> {
        let asks = Requested { kind: module.kind(), subscriptions };
        let settings = settings::settle(name, asks, sidecar, &self.config)?;
        let permits = Arc::new(Semaphore::new(settings.concurrency));
        Ok((settings, permits))
    }

    async fn compile(&self, bytes: Vec<u8>) -> Result<Module, LoadRefusal> {
        // Never closed.
        let _turn = self.compilers.acquire().await.ok();
        let engine = self.engine.clone();
        let compiled = self.guests.spawn_blocking(move || engine.load(&bytes)).await;
        Ok(compiled.map_err(|_| LoadRefusal::Compiler)??)
    }

    async fn describe(&self, module: &Module) -> Result<engine::Description, LoadRefusal> {
        let (engine, module) = (self.engine.clone(), module.clone());
        let described = self.guests.spawn(async move { engine.describe(&module).await }).await;
        Ok(described.map_err(|_| LoadRefusal::Compiler)??)
    }

    /// Stores a version as the current one, then puts it into service.
    async fn take_over(
        &self,
        name: &HandlerName,
        id: Version,
        before: Option<&ServingVersion>,
        serving: ServingVersion,
        bytes: &[u8],
    ) -> Result<(), LoadFailure> {
        let store = &*self.store;
        let _registry = self.registry.lock().await;
        let version = serving.version();
        if let Err(full) = self.fits(name, &serving.module) {
            return Err(LoadFailure::Refused { content: id, refusal: full.into() });
        }
        archive::keep_module(store, version, bytes).await?;
        let known = archive::manifest(store, name).await?;
        let manifest = manifest_of(&serving, known.as_ref(), self.versions.folder());
        let serving = ServingVersion { since: manifest.since, ..serving };
        archive::keep_manifest(store, name, &manifest).await?;
        self.warn_of_oddities(name, &serving);
        let on = serving.settings.on.clone();
        self.versions.swap(name, serving);
        self.metrics.reload("loaded");
        match before.map(ServingVersion::version) {
            None => tracing::info!(handler = %name, %version, "handler loaded"),
            Some(old) if old == version => {
                tracing::info!(handler = %name, %version, "handler settings changed");
            }
            Some(old) => tracing::info!(handler = %name, %old, new = %version, "handler changed"),
        }
        self.routes.set_handler(name, Some(on)).await?;
        archive::release_missing(store, name).await?;
        self.versions.agree(name, self.clock.now());
        archive::prune_modules(store).await?;
        // A new grant or a new module may be what failed runs wait for.
        target_changes::retry(store, &Target::Handler(name.clone())).await?;
        Ok(())
    }

    /// What lies in the folder is what serves. Makes sure that everything else agrees, for an earlier act may have
    /// got only half way.
    async fn confirm(
        &self,
        name: &HandlerName,
        serving: &ServingVersion,
    ) -> Result<(), LoadFailure> {
        let store = &*self.store;
        let _registry = self.registry.lock().await;
        let known = archive::manifest(store, name).await?;
        let folder = self.versions.folder();
        if known.as_ref().is_none_or(|m| m.retired || m.folder != folder) {
            let manifest = manifest_of(serving, known.as_ref(), folder);
            archive::keep_manifest(store, name, &manifest).await?;
        }
        self.routes.set_handler(name, Some(serving.settings.on.clone())).await?;
        archive::release_missing(store, name).await?;
        self.versions.agree(name, self.clock.now());
        Ok(())
    }

    fn refuse(&self, name: &HandlerName, content: Version, refusal: &LoadRefusal) {
        let reason = chain(refusal);
        let serving = self.versions.serving(name).map(|s| s.version());
        self.versions.refuse(name, content, reason.clone(), self.clock.now());
        self.metrics.reload("rejected");
        self.tell_failed(name, &reason);
        match serving {
            Some(version) => {
                tracing::warn!(handler = %name, reason, still_serving = %version, "handler refused");
            }
            None => tracing::warn!(handler = %name, reason, "handler refused"),
        }
    }

    fn tell_failed(&self, name: &HandlerName, reason: &str) {
        self.notices.tell(Notice::LoadFailed {
            handler: name.clone(),
            reason: notice::cut(reason),
            serves_on: self.versions.serving(name).is_some(),
        });
    }

    fn miss(&self, name: &HandlerName) -> Result<(), LoadFailure> {
        if self.versions.serving(name).is_some() {
            self.versions.miss(name, self.clock.now());
            let grace: Duration = self.config.plugins.grace;
            tracing::warn!(handler = %name, ?grace, "handler's file is gone, retiring it unless it comes back");
        }
        Ok(())
    }

    async fn retire(&self, name: &HandlerName) -> Result<(), LoadFailure> {
        let store = &*self.store;
        let _registry = self.registry.lock().await;
        let Some(manifest) = archive::manifest(store, name).await? else {
            self.versions.forget(name);
            return Ok(());
        };
        archive::keep_manifest(store, name, &Manifest { retired: true, ..manifest }).await?;
        self.routes.set_handler(name, None).await?;
        archive::hold_missing(store, name).await?;
        self.versions.retire(name, self.clock.now());
        self.metrics.reload("retired");
        tracing::warn!(handler = %name, "handler retired, its deliveries wait until its file comes back");
        Ok(())
    }

    /// Whether the compiled code of all handlers stays within its limit. One that serves already is never stopped for it.
    fn fits(&self, name: &HandlerName, module: &Module) -> Result<(), CodeLimitExceeded> {
        let (needs, max) = (module.code_bytes(), self.config.plugins.code_max);
        let others = self.versions.code_bytes_beside(name);
        if needs.saturating_add(others) > max {
            return Err(CodeLimitExceeded { needs, others, max });
        }
        Ok(())
    }

    fn warn_of_oddities(&self, name: &HandlerName, serving: &ServingVersion) {
        if let Some(build_warning) = serving.module.build_warning() {
            tracing::warn!(handler = %name, "{build_warning}");
        }
        let settings = &serving.settings;
        if settings.on.is_empty() {
            tracing::warn!(handler = %name, "handler asks for no events; set on = [\"source:type\"] beside it");
        }
        let sources = self.sources.current();
        for never in settings.on.iter().filter_map(|pattern| unmatched(pattern, &sources)) {
            tracing::warn!(handler = %name, "handler asks for what never comes: {never}");
        }
        let AllowedDestinations::These(granted) = &settings.grants.destinations else { return };
        let unknown = |to: &&DestinationName| !settings.grants.known.contains(*to);
        for destination in granted.iter().filter(unknown) {
            tracing::warn!(handler = %name, %destination, "handler may send to a destination that does not exist");
        }
    }
}

/// Why a stored version does not serve.
#[derive(Debug, Error)]
enum RestoreError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Damaged(#[from] ManifestError),
    #[error("its bytes are not in the registry")]
    Gone,
    #[error(transparent)]
    Refused(LoadRefusal),
}

impl RestoreError {
    /// Whether it is the host's trouble, and not the version's.
    fn passes(&self) -> bool {
        match self {
            Self::Store(_)
            | Self::Refused(LoadRefusal::Load(LoadError::CompilerUnavailable(_))) => true,
            Self::Damaged(_) | Self::Gone | Self::Refused(_) => false,
        }
    }
}

fn manifest_of(
    serving: &ServingVersion,
    known: Option<&Manifest>,
    folder: Option<FolderId>,
) -> Manifest {
    let version = serving.version().to_hex();
    let since = known.filter(|m| m.version == version).map_or(serving.since, |m| m.since);
    Manifest {
        kind: serving.module.kind().as_str().into(),
        about: serving.about.clone(),
        subscriptions: serving.asks.iter().map(ToString::to_string).collect(),
        sidecar: serving.sidecar.clone(),
        since,
        retired: false,
        kept: Manifest::kept_with(known, &version),
        folder,
        version,
    }
}

/// Tells contents apart: the module's bytes with the sidecar's text.
fn identity(content: &HandlerFiles) -> Version {
    identity_of(Version::of(&content.module), content.sidecar.as_deref())
}

fn identity_of(module: Version, sidecar: Option<&str>) -> Version {
    let beside = sidecar.map_or_else(String::new, |text| format!("\n{text}"));
    Version::of(format!("{}{beside}", module.to_hex()).as_bytes())
}
