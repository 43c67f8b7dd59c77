//! Makes a version that can serve: reads, compiles and describes a module, and settles its
//! settings. Changes nothing.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use weir_core::module_signature::{self, NotSigned, Signed};
use weir_core::name::HandlerName;
use weir_core::time::{Clock, Timestamp};
use weir_engine::{self as engine, Engine, Module, Version};
use weir_store::Store;

use super::archive;
use super::folder::{self, FileRead, HandlerFiles};
use super::manifest::KeptVersion;
use super::refusal::{LoadFailure, LoadRefusal, RestoreError};
use crate::config::{Config, EffectiveSettings, Requested, effective_handler};
use crate::invoker::handlers::runtime::ServingVersion;
use crate::offline::{FixtureFile, OfflineHandler, check_fixture};

/// Modules that are compiled at the same time: more than one, so that a slow one does not delay the
/// others.
const COMPILERS: usize = 2;

/// The time for all fixtures of one version.
const FIXTURES_TIME_MAX: Duration = Duration::from_secs(60);

/// Makes versions of files and of what is stored.
#[derive(Debug)]
pub(super) struct Preparer {
    /// The configuration in force: the settings of handlers in it change while the hub runs.
    config: ArcSwap<Config>,
    engine: Engine,
    /// The runtime that guests run and compile on.
    guests: Handle,
    clock: Arc<dyn Clock>,
    compilers: Semaphore,
}

impl Preparer {
    pub(super) fn new(
        config: Arc<Config>,
        engine: Engine,
        guests: Handle,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (config, compilers) = (ArcSwap::new(config), Semaphore::new(COMPILERS));
        Self { config, engine, guests, clock, compilers }
    }

    /// The configuration in force.
    pub(super) fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Uses the handlers' settings of this configuration from now on.
    pub(super) fn set_config(&self, config: Arc<Config>) {
        self.config.store(config);
    }

    /// Reads a handler's files, with the hash that identifies them.
    pub(super) async fn read(
        &self,
        name: &HandlerName,
    ) -> Result<(Version, HandlerFiles), LoadFailure> {
        let (dir, name): (PathBuf, _) = (self.config.load().plugins.dir.clone(), name.clone());
        // Hashing 64 MiB takes as long as reading them.
        let reading = self.guests.spawn_blocking(move || match folder::read(&dir, &name)? {
            FileRead::Complete(files) => Ok((files_id(&files), files)),
            FileRead::Changed => Err(LoadFailure::Changing),
            FileRead::Problem(problem) => {
                let content = Version::of(problem.to_string().as_bytes());
                Err(LoadFailure::Refused { content, refusal: problem.into() })
            }
            FileRead::SidecarNotText => {
                let content = Version::of(b"a sidecar that is not text");
                Err(LoadFailure::Refused { content, refusal: LoadRefusal::SidecarNotText })
            }
        });
        reading.await.unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
    }

    /// The version that a handler's files make. `before` is the version that serves, whose module
    /// may be the same.
    pub(super) async fn prepare(
        &self,
        name: &HandlerName,
        files: HandlerFiles,
        before: Option<&ServingVersion>,
    ) -> Result<ServingVersion, LoadRefusal> {
        let fixtures = fixtures_id(&files.fixtures);
        let HandlerFiles { module: bytes, sidecar, fixtures: files, signature } = files;
        self.check_signature(name, (&bytes, sidecar.as_deref()), signature.as_deref())?;
        // Finds mistakes in the sidecar before a second of compiling.
        effective_handler::configured(name, sidecar.as_deref(), &self.config.load())?;
        let (version, size) = (Version::of(&bytes), bytes.len() as u64);
        let (module, description) = match before.filter(|b| b.version() == version) {
            Some(same) => (same.module.clone(), same.description.clone()),
            None => {
                let module = self.compile(bytes).await?;
                let description = self.describe(&module).await?;
                (module, description)
            }
        };
        let settings = self.settings(name, &module, &description, sidecar.as_deref())?;
        self.check_fixtures(name, &module, &description, &settings, files).await?;
        // Batches of the version before count against the same permits, unless the number of
        // permits has changed.
        let permits = match before.filter(|b| b.settings.concurrency == settings.concurrency) {
            Some(before) => before.permits.clone(),
            None => Arc::new(Semaphore::new(settings.concurrency)),
        };
        let since: Timestamp = self.clock.now();
        Ok(ServingVersion {
            module,
            description,
            sidecar,
            fixtures,
            signature,
            settings,
            permits,
            since,
            size,
            trial: None,
        })
    }

    /// Refuses files without a valid signature, if handlers need one.
    fn check_signature(
        &self,
        name: &HandlerName,
        (module, sidecar): (&[u8], Option<&str>),
        signature: Option<&str>,
    ) -> Result<(), NotSigned> {
        let config = self.config.load();
        let Some(keys) = &config.plugins.signers else { return Ok(()) };
        module_signature::verify(keys, Signed { name, module, sidecar }, signature)
    }

    /// A kept version, from the registry. `since` is the time from which it serves.
    pub(super) async fn restore(
        &self,
        store: &dyn Store,
        name: &HandlerName,
        kept: &KeptVersion,
        since: Timestamp,
    ) -> Result<ServingVersion, RestoreError> {
        let bytes = archive::module(store, kept.hash()?).await?;
        let bytes = bytes.ok_or(RestoreError::Gone)?;
        let size = bytes.len() as u64;
        let signature = kept.signature.clone();
        self.check_signature(name, (&bytes, kept.sidecar.as_deref()), signature.as_deref())
            .map_err(|unsigned| RestoreError::Refused(unsigned.into()))?;
        let module = self.compile(bytes).await.map_err(RestoreError::Refused)?;
        let description = kept.description()?;
        let settings = self
            .settings(name, &module, &description, kept.sidecar.as_deref())
            .map_err(RestoreError::Refused)?;
        let permits = Arc::new(Semaphore::new(settings.concurrency));
        let (sidecar, fixtures) = (kept.sidecar.clone(), None);
        Ok(ServingVersion {
            module,
            description,
            sidecar,
            fixtures,
            signature,
            settings,
            permits,
            since,
            size,
            trial: None,
        })
    }

    /// The settings in force for a kept version, without its module.
    pub(super) fn settings_of(
        &self,
        name: &HandlerName,
        kept: &KeptVersion,
    ) -> Result<EffectiveSettings, RestoreError> {
        let description = kept.description()?;
        let requested = Requested { kind: kept.kind, subscriptions: &description.subscriptions };
        effective_handler::effective(name, requested, kept.sidecar.as_deref(), &self.config.load())
            .map_err(|errors| RestoreError::Refused(errors.into()))
    }

    /// The settings in force for a module with this sidecar.
    pub(super) fn settings(
        &self,
        name: &HandlerName,
        module: &Module,
        description: &engine::Description,
        sidecar: Option<&str>,
    ) -> Result<EffectiveSettings, LoadRefusal> {
        let requested =
            Requested { kind: module.kind(), subscriptions: &description.subscriptions };
        Ok(effective_handler::effective(name, requested, sidecar, &self.config.load())?)
    }

    /// Runs the fixtures of a version before it serves. Each must do what it expects.
    async fn check_fixtures(
        &self,
        name: &HandlerName,
        module: &Module,
        description: &engine::Description,
        settings: &EffectiveSettings,
        files: Vec<FixtureFile>,
    ) -> Result<(), LoadRefusal> {
        if files.is_empty() {
            return Ok(());
        }
        let handler = OfflineHandler::new(
            name.clone(),
            module.clone(),
            description.clone(),
            settings.clone(),
        );
        let running = self.guests.spawn(async move {
            for file in &files {
                if let Some(reason) = check_fixture(&handler, file).await.reason() {
                    return Err(LoadRefusal::Fixture(reason));
                }
            }
            Ok(())
        });
        let abort = running.abort_handle();
        match timeout(FIXTURES_TIME_MAX, running).await {
            Ok(ended) => ended.map_err(|_| LoadRefusal::Compiler)?,
            Err(_) => {
                abort.abort();
                Err(LoadRefusal::FixturesTime(FIXTURES_TIME_MAX.as_secs()))
            }
        }
    }

    async fn compile(&self, bytes: Vec<u8>) -> Result<Module, LoadRefusal> {
        // The semaphore is never closed.
        let _permit = self.compilers.acquire().await.ok();
        let engine = self.engine.clone();
        let compiled = self.guests.spawn_blocking(move || engine.load(&bytes)).await;
        Ok(compiled.map_err(|_| LoadRefusal::Compiler)??)
    }

    async fn describe(&self, module: &Module) -> Result<engine::Description, LoadRefusal> {
        let (engine, module) = (self.engine.clone(), module.clone());
        let described = self.guests.spawn(async move { engine.describe(&module).await }).await;
        Ok(described.map_err(|_| LoadRefusal::Compiler)??)
    }
}

fn files_id(files: &HandlerFiles) -> Version {
    let fixtures = fixtures_id(&files.fixtures);
    let HandlerFiles { module, sidecar, signature, .. } = files;
    content_id(Version::of(module), sidecar.as_deref(), fixtures, signature.as_deref())
}

/// Identifies the content of a handler's files: the bytes of the module, the texts of the sidecar
/// and the signature, and the fixtures.
pub(super) fn content_id(
    module: Version,
    sidecar: Option<&str>,
    fixtures: Option<Version>,
    signature: Option<&str>,
) -> Version {
    let beside = sidecar.map_or_else(String::new, |text| format!("\n{text}"));
    let fixtures = fixtures.map_or_else(String::new, |id| format!("\0{}", id.to_hex()));
    let signed = signature.map_or_else(String::new, |text| format!("\0\0{text}"));
    Version::of(format!("{}{beside}{fixtures}{signed}", module.to_hex()).as_bytes())
}

/// Identifies fixtures. None if there are none.
fn fixtures_id(files: &[FixtureFile]) -> Option<Version> {
    if files.is_empty() {
        return None;
    }
    let mut all = String::new();
    for FixtureFile { name, text } in files {
        let (Ok(text) | Err(text)) = text.as_deref().map_err(|reason| *reason);
        let _ = write!(all, "{name}\0{}\0{text}", text.len());
    }
    Some(Version::of(all.as_bytes()))
}
