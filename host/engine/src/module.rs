//! A module: one version of a handler, compiled, checked and linked, ready to run.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use thiserror::Error;
use wasmtime::component::types::ComponentItem;
use weir_core::bounds::{MIB, MODULE_BYTES_MAX};

use crate::bindings::HandlerPre;
use crate::command::{self, CommandState};
use crate::compile::compile;
use crate::contract::{self, ContractMismatch, ContractVersion};
use crate::engine::Engine;
use crate::instance::{self, RunState};
use crate::javascript;
use crate::precompiled::{self, TrustedCode};
use crate::run::{Run, RunReport};

/// The SHA-256 of a module's bytes. Its `Display` is the first twelve hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub [u8; 32]);

impl Version {
    /// The version of a file with these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// All 64 hex digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..6]))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The two kinds of module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModuleKind {
    /// A component for the world `handler`.
    Component,
    /// A WASI command: JSON on stdin, effects on stdout.
    Command,
}

impl ModuleKind {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Command => "command",
        }
    }

    /// By the first eight bytes: the magic number, then the layer.
    fn of(bytes: &[u8]) -> Result<Self, LoadError> {
        match bytes {
            [] => Err(LoadError::Empty),
            [b'\0', b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(Self::Component),
            [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Ok(Self::Command),
            _ => Err(LoadError::NotWasm),
        }
    }
}

impl fmt::Display for ModuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Bytes that cannot serve as a handler.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Nothing there, perhaps not yet.
    #[error("the file is empty")]
    Empty,
    /// Something else than WebAssembly, or a version of it that is not known.
    #[error("the file is not a WebAssembly component or module")]
    NotWasm,
    /// Over the limit.
    #[error("the file has {0} bytes, at most {MODULE_BYTES_MAX} are allowed")]
    TooLarge(usize),
    /// Damaged, or with features that are not enabled.
    #[error("the {kind} does not compile")]
    Compile {
        /// What it is.
        kind: ModuleKind,
        /// wasmtime's words.
        #[source]
        cause: wasmtime::Error,
    },
    /// Compiling it needs more than it may.
    #[error(transparent)]
    CompilerLimit(#[from] CompileLimit),
    /// Something in it makes the compiler fail, which the compiler should not.
    #[error("the compiler crashed: {0}")]
    CompilerCrashed(String),
    /// There is no compiler to be had. Not the module's fault, and may pass.
    #[error("cannot start a process to compile in")]
    CompilerUnavailable(#[source] std::io::Error),
    /// Built for something that this host does not serve.
    #[error(transparent)]
    Contract(#[from] ContractMismatch),
    /// A component for another world.
    #[error(
        "the component does not export `{0}`: it is not a handler; build it for the world `handler` of weir:handler"
    )]
    MissingExport(&'static str),
    /// A core module that is no command.
    #[error(
        "the module has no {0}: it is neither a component nor a WASI command; build a component, or a program with a main function for wasm32-wasip1"
    )]
    NotACommand(&'static str),
    /// A command that wants more than WASI.
    #[error("the command imports {0}, and may import only wasi_snapshot_preview1")]
    ForeignImport(String),
    /// Its imports or exports have other types than the contract's.
    #[error("the {kind} does not link")]
    Link {
        /// What it is.
        kind: ModuleKind,
        /// wasmtime's words.
        #[source]
        cause: wasmtime::Error,
    },
}

/// What compiling a module would have gone past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CompileLimit {
    /// So many bytes.
    #[error(
        "compiling needs more than {} of memory; build a smaller module, or raise plugins.compile_memory",
        in_words(*.0)
    )]
    Memory(usize),
    /// So much processor time.
    #[error(
        "compiling needs more than {0:?} of processor time; build a smaller module, or raise plugins.compile_time"
    )]
    Time(Duration),
    /// It came to no end.
    #[error("compiling did not end within {0:?}; is the machine busy?")]
    Patience(Duration),
}

fn in_words(bytes: usize) -> String {
    match bytes {
        n if n > 0 && n % (1024 * MIB) == 0 => format!("{} GiB", n / (1024 * MIB)),
        n if n > 0 && n % MIB == 0 => format!("{} MiB", n / MIB),
        n => format!("{n} bytes"),
    }
}

/// One version of a handler. Cheap to clone.
#[derive(Clone)]
pub struct Module {
    inner: Arc<Inner>,
}

struct Inner {
    version: Version,
    contract: Option<ContractVersion>,
    code: Code,
    /// Bytes of compiled code.
    code_bytes: usize,
    build_warning: Option<&'static str>,
    engine: Engine,
}

/// Linked code.
pub(crate) enum Code {
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

impl Module {
    pub(crate) fn load(engine: &Engine, bytes: &[u8]) -> Result<Self, LoadError> {
        if bytes.len() > MODULE_BYTES_MAX {
            return Err(LoadError::TooLarge(bytes.len()));
        }
        let kind = ModuleKind::of(bytes)?;
        let version = Version::of(bytes);
        let (code, code_bytes, contract) = match kind {
            ModuleKind::Component => {
                let (component, code_bytes, contract) = load_component(engine, version, bytes)?;
                (Code::Component(component), code_bytes, Some(contract))
            }
            ModuleKind::Command => {
                let (command, code_bytes) = load_command(engine, version, bytes)?;
                (Code::Command(command), code_bytes, None)
            }
        };
        let (build_warning, engine) = (javascript::build_warning(bytes), engine.clone());
        let inner = Inner { version, contract, code, code_bytes, build_warning, engine };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Which bytes it was made of.
    #[must_use]
    pub fn version(&self) -> Version {
        self.inner.version
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> ModuleKind {
        match &self.inner.code {
            Code::Component(_) => ModuleKind::Component,
            Code::Command(_) => ModuleKind::Command,
        }
    }

    /// The contract that it was built for; a command has none.
    #[must_use]
    pub fn contract(&self) -> Option<ContractVersion> {
        self.inner.contract
    }

    /// Bytes of compiled code that it holds in memory.
    #[must_use]
    pub fn code_bytes(&self) -> usize {
        self.inner.code_bytes
    }

    /// What its programmer should know about how it was built, if there is something.
    #[must_use]
    pub fn build_warning(&self) -> Option<&'static str> {
        self.inner.build_warning
    }

    pub(crate) fn code(&self) -> &Code {
        &self.inner.code
    }

    /// Handles one event in a fresh instance. Waits for a free slot first; its time limit counts from then on.
    ///
    /// Must be called on a tokio runtime with time enabled. Dropping the future ends the run and frees its slot.
    pub async fn run(&self, run: Run) -> RunReport {
        let engine = &self.inner.engine;
        let _slot = engine.run_slot().await;
        let max_memory = engine.inner.max_memory;
        match &self.inner.code {
            Code::Component(component) => {
                instance::run(&engine.inner.wasmtime, component, run, max_memory).await
            }
            Code::Command(command) => {
                command::run(&engine.inner.wasmtime, command, run, max_memory).await
            }
        }
    }
}

fn load_component(
    engine: &Engine,
    version: Version,
    bytes: &[u8],
) -> Result<(HandlerPre<RunState>, usize, ContractVersion), LoadError> {
    let kind = ModuleKind::Component;
    let wasmtime = &engine.inner.wasmtime;
    let (component, code_bytes) = compiled(engine, version, kind, bytes, precompiled::component)?;
    let ty = component.component_type();
    let contract = contract::check(&ty, wasmtime)?;
    for export in ["describe", "handle"] {
        let found = ty.get_export(wasmtime, export);
        if !found.is_some_and(|e| matches!(e.ty, ComponentItem::ComponentFunc(_))) {
            return Err(LoadError::MissingExport(export));
        }
    }
    let linked = engine.inner.components.instantiate_pre(&component).and_then(HandlerPre::new);
    Ok((linked.map_err(|cause| LoadError::Link { kind, cause })?, code_bytes, contract))
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

/// Takes code from the cache, or compiles and keeps it; with how many bytes it has.
fn compiled<C>(
    engine: &Engine,
    version: Version,
    kind: ModuleKind,
    bytes: &[u8],
    load: fn(&wasmtime::Engine, &TrustedCode) -> wasmtime::Result<C>,
) -> Result<(C, usize), LoadError> {
    let inner = &engine.inner;
    let kept = inner.cache.as_ref().and_then(|cache| cache.get(version, kind));
    let loaded = |code: TrustedCode| Some((load(&inner.wasmtime, &code).ok()?, code.bytes().len()));
    if let Some(loaded) = kept.and_then(loaded) {
        return Ok(loaded);
    }
    let code = compile(&inner.compiler, &inner.wasmtime, kind, bytes)?;
    let loaded =
        load(&inner.wasmtime, &code).map_err(|cause| LoadError::Compile { kind, cause })?;
    if let Some(cache) = &inner.cache {
        cache.put(version, kind, code.bytes());
    }
    Ok((loaded, code.bytes().len()))
}
