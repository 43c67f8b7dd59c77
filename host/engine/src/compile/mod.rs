//! Compiling: a module's bytes to machine code, in this process or apart from it.
//!
//! A module from a stranger can make a compiler want gigabytes or minutes, or find a fault in it. Apart, in a child of
//! the same program with limits, low priority and no environment of ours, the worst that comes of it is a refusal. `parent`
//! starts the child and reads its answer, `child` is what runs there. Nothing here keeps code: see `cache`.

mod child;
mod parent;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use weir_core::bounds::MIB;

use crate::load_error::LoadError;
use crate::precompiled::TrustedCode;
use crate::version::ModuleKind;

pub use child::compile_child;

/// Where modules are compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// In this process, without limits: for modules of one's own, such as a test's.
    InProcess,
    /// In a child process.
    ChildProcess(ChildCompiler),
}

/// How the child is started. It must call [`compile_child`] with the arguments that are added to these:
/// `--memory BYTES --seconds SECONDS KIND`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildCompiler {
    /// This program: code of another build is refused.
    pub program: PathBuf,
    /// What makes it compile and do nothing else.
    pub arguments: Vec<OsString>,
    /// All that its environment holds.
    pub environment: Vec<(OsString, OsString)>,
    /// What the child may use.
    pub limits: CompileLimits,
}

/// What compiling one module may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Memory of the process, in bytes.
    pub memory: usize,
    /// Processor time, all threads together; counted in whole seconds, at least one.
    pub time: Duration,
}

impl Default for CompileLimits {
    /// 2 GiB and two minutes: the largest interpreters that handlers come with need a tenth of either.
    fn default() -> Self {
        Self { memory: 2_048 * MIB, time: Duration::from_secs(120) }
    }
}

impl CompileLimits {
    /// How long the child may exist. It runs when nobody else wants to, so this is long; it ends a child that waits
    /// for something that does not come.
    fn wall_time(self) -> Duration {
        self.time * 5 + Duration::from_secs(10)
    }

    fn seconds(self) -> u64 {
        let begun = u64::from(self.time.subsec_nanos() > 0);
        (self.time.as_secs() + begun).max(1)
    }
}

/// Compiles. The answer is good for an engine with the same configuration as `engine` in the same build of this
/// program.
pub(crate) fn compile(
    compiler: &Compiler,
    engine: &wasmtime::Engine,
    kind: ModuleKind,
    bytes: &[u8],
) -> Result<TrustedCode, LoadError> {
    let code = match compiler {
        Compiler::InProcess => {
            precompile(engine, kind, bytes).map_err(|cause| LoadError::Compile { kind, cause })?
        }
        Compiler::ChildProcess(apart) => parent::compile(apart, kind, bytes)?,
    };
    Ok(TrustedCode::compiled_here(code))
}

fn precompile(
    engine: &wasmtime::Engine,
    kind: ModuleKind,
    bytes: &[u8],
) -> wasmtime::Result<Vec<u8>> {
    match kind {
        ModuleKind::Component => engine.precompile_component(bytes),
        ModuleKind::Command => engine.precompile_module(bytes),
    }
}

/// The first byte of the child's answer.
mod answer {
    /// Code follows.
    pub(super) const CODE: u8 = b'C';
    /// The module does not compile; why follows.
    pub(super) const REFUSED: u8 = b'R';
    /// There was not enough memory.
    pub(super) const MEMORY: u8 = b'M';
}
