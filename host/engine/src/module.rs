//! A module: one version of a handler, compiled, checked and linked, ready to run.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use wasmtime::component::types::ComponentItem;
use weir_core::bounds::MODULE_BYTES_MAX;

use crate::bindings::HandlerPre;
use crate::cache::Cache;
use crate::command::{self, CommandState};
use crate::compile::compile;
use crate::contract::{self, ContractVersion};
use crate::engine::Engine;
use crate::instance::{self, RunState};
use crate::javascript;
use crate::load_error::LoadError;
use crate::precompiled::{self, TrustedCode};
use crate::run::{Run, RunReport};
use crate::version::{ModuleKind, Version};

/// One version of a handler. Clones share it.
#[derive(Clone)]
pub struct Module {
    inner: Arc<Inner>,
}

struct Inner {
    version: Version,
    code: LinkedCode,
    code_bytes: usize,
    build_warning: Option<&'static str>,
    engine: Engine,
}

pub(crate) enum LinkedCode {
    Component(HandlerPre<RunState>),
    Command(wasmtime::InstancePre<CommandState>),
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("version", &self.inner.version)
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Loads a module from the bytes of a file: compiles it (or takes the code from the cache),
    /// checks the contract and links. Once for each version, off the hot path: it may take seconds.
    pub fn load(&self, bytes: &[u8]) -> Result<Module, LoadError> {
        Module::load(self, bytes)
    }
}

impl Module {
    fn load(engine: &Engine, bytes: &[u8]) -> Result<Self, LoadError> {
        if bytes.len() > MODULE_BYTES_MAX {
            return Err(LoadError::TooLarge(bytes.len()));
        }
        if bytes.is_empty() {
            return Err(LoadError::Empty);
        }
        let kind = ModuleKind::of(bytes).ok_or(LoadError::NotWasm)?;
        let version = Version::of(bytes);
        let (code, code_bytes) = match kind {
            ModuleKind::Component => {
                let (component, code_bytes) = load_component(engine, version, bytes)?;
                (LinkedCode::Component(component), code_bytes)
            }
            ModuleKind::Command => {
                let (command, code_bytes) = load_command(engine, version, bytes)?;
                (LinkedCode::Command(command), code_bytes)
            }
        };
        let (build_warning, engine) = (javascript::build_warning(bytes), engine.clone());
        let inner = Inner { version, code, code_bytes, build_warning, engine };
        Ok(Self { inner: Arc::new(inner) })
    }

    #[must_use]
    pub fn version(&self) -> Version {
        self.inner.version
    }

    #[must_use]
    pub fn kind(&self) -> ModuleKind {
        match &self.inner.code {
            LinkedCode::Component(_) => ModuleKind::Component,
            LinkedCode::Command(_) => ModuleKind::Command,
        }
    }

    /// Bytes of its compiled code.
    #[must_use]
    pub fn code_bytes(&self) -> usize {
        self.inner.code_bytes
    }

    /// The version of the contract that it was built with. None for a command, and for a component
    /// that imports nothing of the contract.
    #[must_use]
    pub fn contract(&self) -> Option<ContractVersion> {
        let LinkedCode::Component(linked) = self.code() else { return None };
        let component = linked.instance_pre().component().component_type();
        contract::built_with(&component, linked.engine())
    }

    /// A mistake in how it was built, for its programmer.
    #[must_use]
    pub fn build_warning(&self) -> Option<&'static str> {
        self.inner.build_warning
    }

    pub(crate) fn code(&self) -> &LinkedCode {
        &self.inner.code
    }

    /// Handles one event in a fresh instance. First waits for a free slot; the time limit counts
    /// from then on.
    ///
    /// Needs a tokio runtime with time enabled. Dropping the future ends the run and frees its
    /// slot.
    pub async fn run(&self, run: Run) -> RunReport {
        let engine = &self.inner.engine;
        let _slot = engine.run_slot().await;
        let max_memory = engine.inner.max_memory;
        let report = match &self.inner.code {
            LinkedCode::Component(component) => {
                instance::run(&engine.inner.wasmtime, component, run, max_memory).await
            }
            LinkedCode::Command(command) => {
                command::run(&engine.inner.wasmtime, command, run, max_memory).await
            }
        };
        let Inner { version, .. } = &*self.inner;
        tracing::debug!(%version, memory_peak = report.memory_peak, "the run ended");
        report
    }
}

fn load_component(
    engine: &Engine,
    version: Version,
    bytes: &[u8],
) -> Result<(HandlerPre<RunState>, usize), LoadError> {
    let kind = ModuleKind::Component;
    let wasmtime = &engine.inner.wasmtime;
    let (component, code_bytes) = compiled(engine, version, kind, bytes, precompiled::component)?;
    let ty = component.component_type();
    contract::check(&ty, wasmtime)?;
    for export in ["describe", "handle"] {
        let found = ty.get_export(wasmtime, export);
        if !found.is_some_and(|e| matches!(e.ty, ComponentItem::ComponentFunc(_))) {
            return Err(LoadError::MissingExport(export));
        }
    }
    let linked = engine.inner.components.instantiate_pre(&component).and_then(HandlerPre::new);
    Ok((linked.map_err(|cause| LoadError::Link { kind, cause })?, code_bytes))
}

fn load_command(
    engine: &Engine,
    version: Version,
    bytes: &[u8],
) -> Result<(wasmtime::InstancePre<CommandState>, usize), LoadError> {
    let kind = ModuleKind::Command;
    let (module, code_bytes) = compiled(engine, version, kind, bytes, precompiled::module)?;
    command::check(&module)?;
    let linked = engine.inner.commands.instantiate_pre(&module);
    Ok((linked.map_err(|cause| LoadError::Link { kind, cause })?, code_bytes))
}

/// The code from the cache, or else compiled and cached, with its size in bytes.
fn compiled<C>(
    engine: &Engine,
    version: Version,
    kind: ModuleKind,
    bytes: &[u8],
    load: fn(&wasmtime::Engine, &TrustedCode) -> wasmtime::Result<C>,
) -> Result<(C, usize), LoadError> {
    let inner = &engine.inner;
    let loaded = |code: &TrustedCode| load(&inner.wasmtime, code);
    let fresh =
        |to: &mut (dyn Write + Send)| compile(&inner.compiler, &inner.wasmtime, (kind, bytes), to);
    let Some(cache) = &inner.cache else {
        return in_memory(kind, fresh, loaded);
    };
    if let Some(cached) = cache.get(version, kind)
        && let Some(cached) = from_cache(cache, (version, kind), &cached, loaded)
    {
        return Ok(cached);
    }
    let Some(mut entry) = cache.entry(version, kind) else {
        return in_memory(kind, fresh, loaded);
    };
    fresh(&mut entry)?;
    let code = cache.put(entry);
    if let Some(code) = code
        && let Some(code) = from_cache(cache, (version, kind), &code, loaded)
    {
        return Ok(code);
    }
    in_memory(kind, fresh, loaded)
}

/// Loads an entry: mapped, or copied into memory where files with code may not be mapped. None if
/// it is of no use.
fn from_cache<C>(
    cache: &Cache,
    (version, kind): (Version, ModuleKind),
    mapped: &TrustedCode,
    load: impl Fn(&TrustedCode) -> wasmtime::Result<C>,
) -> Option<(C, usize)> {
    let length = mapped.length().ok()?;
    match load(mapped) {
        Ok(loaded) => Some((loaded, length)),
        Err(error) => {
            let loaded = load(&cache.read(version, kind)?).ok()?;
            let error = format!("{error:#}");
            tracing::warn!(
                %version, error,
                "compiled code is copied into memory: the file system of the data folder does not \
                 let programs map it (is it mounted noexec?)"
            );
            Some((loaded, length))
        }
    }
}

/// Compiles and keeps the code in memory of its own.
fn in_memory<C>(
    kind: ModuleKind,
    compile: impl Fn(&mut (dyn Write + Send)) -> Result<(), LoadError>,
    load: impl Fn(&TrustedCode) -> wasmtime::Result<C>,
) -> Result<(C, usize), LoadError> {
    let mut code = Vec::new();
    compile(&mut code)?;
    let length = code.len();
    let loaded = load(&TrustedCode::Memory(code));
    Ok((loaded.map_err(|cause| LoadError::Compile { kind, cause })?, length))
}
