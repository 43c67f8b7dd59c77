//! Compiling: from a module's bytes to machine code, in this process or in a child process.
//!
//! An untrusted module can make a compiler use gigabytes or minutes, or trigger a fault in it. In a
//! child of the same program, with limits, low priority and an empty environment, that only refuses
//! the module. `parent` starts the child and reads its answer; `child` runs in it. See `cache` for
//! storing code.

mod child;
mod parent;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use weir_core::bounds::MIB;

use crate::load_error::LoadError;
use crate::version::ModuleKind;

pub use child::compile_child;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// In this process, without limits: for trusted modules, as in tests.
    InProcess,
    ChildProcess(ChildCompiler),
}

/// The command of the child. It must call [`compile_child`] with the arguments that are added to
/// these: `--memory BYTES --seconds SECONDS KIND`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildCompiler {
    /// Must be this program: code of another build is refused.
    pub program: PathBuf,
    /// The arguments that select compiling.
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    pub limits: CompileLimits,
}

/// The limits of compiling one module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Memory of the process, in bytes.
    pub memory: usize,
    /// Processor time of all threads together. Rounded up to whole seconds, at least one.
    pub time: Duration,
}

impl Default for CompileLimits {
    /// 2 GiB and two minutes: ten times the need of the largest interpreters in handlers.
    fn default() -> Self {
        Self { memory: 2_048 * MIB, time: Duration::from_secs(120) }
    }
}

impl CompileLimits {
    /// The wall time of the child. It is long, because the child has a low priority; it ends a
    /// child that hangs.
    fn wall_time(self) -> Duration {
        self.time * 5 + Duration::from_secs(10)
    }

    fn seconds(self) -> u64 {
        let started = u64::from(self.time.subsec_nanos() > 0);
        (self.time.as_secs() + started).max(1)
    }
}

/// Compiles for engines with the same configuration as `engine`, in the same build of this program.
/// The code goes to `to`, and is complete if the result is `Ok`.
pub(crate) fn compile(
    compiler: &Compiler,
    engine: &wasmtime::Engine,
    (kind, bytes): (ModuleKind, &[u8]),
    to: &mut (dyn Write + Send),
) -> Result<(), LoadError> {
    match compiler {
        Compiler::InProcess => {
            let code = precompile(engine, kind, bytes)
                .map_err(|cause| LoadError::Compile { kind, cause })?;
            to.write_all(&code).map_err(LoadError::CompilerUnavailable)
        }
        Compiler::ChildProcess(apart) => parent::compile(apart, kind, bytes, to),
    }
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

/// The first byte of an answer of the child.
mod answer {
    /// Code follows.
    pub(super) const CODE: u8 = b'C';
    /// The module does not compile; the reason follows.
    pub(super) const REFUSED: u8 = b'R';
    /// The memory limit is too low.
    pub(super) const MEMORY: u8 = b'M';
}
