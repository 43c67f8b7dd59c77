//! Makes a version that can serve: reads, compiles and describes a module, and settles its
//! settings. Changes nothing.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use weir_core::name::HandlerName;
use weir_core::route::Pattern;
use weir_core::time::{Clock, Timestamp};
use weir_engine::{self as engine, Engine, Module, Version};
use weir_store::Store;

use super::archive;
use super::folder::{self, FileRead, HandlerFiles};
use super::manifest::Manifest;
use super::refusal::{LoadFailure, LoadRefusal, RestoreError};
use crate::config::Config;
use crate::invoker::handlers::runtime::ServingVersion;
use crate::invoker::handlers::settings::{self, EffectiveSettings, Requested};

/// Modules that are compiled at the same time: more than one, so that a slow one does not delay the
/// others.
const COMPILERS: usize = 2;

/// Makes versions of files and of what is stored.
#[derive(Debug)]
pub(super) struct Preparer {
    config: Arc<Config>,
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
        Self { config, engine, guests, clock, compilers: Semaphore::new(COMPILERS) }
    }

    /// Reads a handler's files, with the hash that identifies them.
    pub(super) async fn read(
        &self,
        name: &HandlerName,
    ) -> Result<(Version, HandlerFiles), LoadFailure> {
        let (dir, name): (PathBuf, _) = (self.config.plugins.dir.clone(), name.clone());
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
        let HandlerFiles { module: bytes, sidecar } = files;
        // Finds mistakes in the sidecar before a second of compiling.
        settings::configured(name, sidecar.as_deref(), &self.config)?;
        let version = Version::of(&bytes);
        let (module, about, requested) = match before.filter(|b| b.version() == version) {
            Some(same) => (same.module.clone(), same.about.clone(), same.requested.clone()),
            None => {
                let module = self.compile(bytes).await?;
                let engine::Description { about, subscriptions } = self.describe(&module).await?;
                (module, about, subscriptions)
            }
        };
        let settings = self.settings(name, &module, &requested, sidecar.as_deref())?;
        // Batches of the version before count against the same permits, unless the number of
        // permits has changed.
        let permits = match before.filter(|b| b.settings.concurrency == settings.concurrency) {
            Some(before) => before.permits.clone(),
            None => Arc::new(Semaphore::new(settings.concurrency)),
        };
        let since: Timestamp = self.clock.now();
        Ok(ServingVersion { module, about, requested, sidecar, settings, permits, since })
    }

    /// The version that a manifest describes, from the registry.
    pub(super) async fn restore(
        &self,
        store: &dyn Store,
        name: &HandlerName,
        manifest: &Manifest,
    ) -> Result<ServingVersion, RestoreError> {
        let bytes = archive::module(store, manifest.version()?).await?;
        let bytes = bytes.ok_or(RestoreError::Gone)?;
        let module = self.compile(bytes).await.map_err(RestoreError::Refused)?;
        let requested = manifest.patterns()?;
        let settings = self
            .settings(name, &module, &requested, manifest.sidecar.as_deref())
            .map_err(RestoreError::Refused)?;
        let permits = Arc::new(Semaphore::new(settings.concurrency));
        let (about, sidecar) = (manifest.about.clone(), manifest.sidecar.clone());
        let since = manifest.since;
        Ok(ServingVersion { module, about, requested, sidecar, settings, permits, since })
    }

    fn settings(
        &self,
        name: &HandlerName,
        module: &Module,
        requested: &[Pattern],
        sidecar: Option<&str>,
    ) -> Result<EffectiveSettings, LoadRefusal> {
        let requested = Requested { kind: module.kind(), subscriptions: requested };
        Ok(settings::effective(name, requested, sidecar, &self.config)?)
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
    content_id(Version::of(&files.module), files.sidecar.as_deref())
}

/// Identifies the content of a handler's files: the bytes of the module and the text of the
/// sidecar.
pub(super) fn content_id(module: Version, sidecar: Option<&str>) -> Version {
    let beside = sidecar.map_or_else(String::new, |text| format!("\n{text}"));
    Version::of(format!("{}{beside}", module.to_hex()).as_bytes())
}
