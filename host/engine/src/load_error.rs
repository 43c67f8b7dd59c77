//! The reasons that a file cannot be loaded as a handler.

use std::time::Duration;

use thiserror::Error;
use weir_core::bounds::{MIB, MODULE_BYTES_MAX};

use crate::contract::ContractMismatch;
use crate::version::ModuleKind;

/// The reason that a file cannot be loaded as a handler.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Perhaps still being written.
    #[error("the file is empty")]
    Empty,
    /// Not WebAssembly, or an unknown version of it.
    #[error("the file is not a WebAssembly component or module")]
    NotWasm,
    #[error("the file has {0} bytes, at most {MODULE_BYTES_MAX} are allowed")]
    TooLarge(usize),
    /// Damaged, or it needs features that are not enabled.
    #[error("the {kind} does not compile")]
    Compile {
        kind: ModuleKind,
        #[source]
        cause: wasmtime::Error,
    },
    #[error(transparent)]
    CompilerLimit(#[from] CompileLimit),
    /// A fault of the compiler, which some modules trigger.
    #[error("the compiler crashed: {0}")]
    CompilerCrashed(String),
    /// Not the module's fault. A later try may succeed.
    #[error("cannot start a process to compile the module")]
    CompilerUnavailable(#[source] std::io::Error),
    /// Built for a contract that this hub does not serve.
    #[error(transparent)]
    Contract(#[from] ContractMismatch),
    /// A component of another world.
    #[error(
        "the component does not export `{0}`: it is not a handler; build it for the world \
         `handler` of weir:handler"
    )]
    MissingExport(&'static str),
    /// A core module that is not a command.
    #[error(
        "the module has no {0}: it is neither a component nor a WASI command; build a component, \
         or a program with a main function for wasm32-wasip1"
    )]
    NotACommand(&'static str),
    /// A command that imports more than WASI.
    #[error("the command imports {0}, and may import only wasi_snapshot_preview1")]
    ForeignImport(String),
    /// Its imports or exports differ in type from the contract.
    #[error("the {kind} does not link")]
    Link {
        kind: ModuleKind,
        #[source]
        cause: wasmtime::Error,
    },
}

/// A limit that compiling a module exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CompileLimit {
    /// In bytes.
    #[error(
        "compiling needs more than {} of memory; build a smaller module, or raise \
         plugins.compile_memory",
        shown(*.0)
    )]
    Memory(usize),
    #[error(
        "compiling needs more than {0:?} of processor time; build a smaller module, or raise \
         plugins.compile_time"
    )]
    Time(Duration),
    /// Wall time, which is long: the compiler has a low priority.
    #[error("compiling did not end within {0:?}; is the machine overloaded?")]
    WallTime(Duration),
}

fn shown(bytes: usize) -> String {
    match bytes {
        n if n > 0 && n % (1024 * MIB) == 0 => format!("{} GiB", n / (1024 * MIB)),
        n if n > 0 && n % MIB == 0 => format!("{} MiB", n / MIB),
        n => format!("{n} bytes"),
    }
}
