//! Starts the hub's own program as a child process that compiles a handler.

use std::path::PathBuf;

use weir_engine::{ChildCompiler, CompileLimits};

/// The name of the command that compiles.
pub const COMMAND: &str = "compile-module";

/// The program to start, with its arguments and environment.
pub fn child_compiler(limits: CompileLimits) -> std::io::Result<ChildCompiler> {
    // The program that runs, also after an update has put another one in its place.
    let itself = PathBuf::from("/proc/self/exe");
    let program = if itself.exists() { itself } else { std::env::current_exe()? };
    // The allocator usually reserves a gibibyte at once and uses it bit by bit, and the limit
    // counts what is reserved.
    let environment = vec![("MIMALLOC_ARENA_EAGER_COMMIT".into(), "0".into())];
    Ok(ChildCompiler { program, arguments: vec![COMMAND.into()], environment, limits })
}
