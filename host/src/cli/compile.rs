//! `weir compile-module`: what a hub starts to compile a handler in. Not for people, so help does not list it.

use std::path::PathBuf;
use std::process::ExitCode;

use weir_engine::{ChildCompiler, CompileLimits, ModuleKind, compile_child};

/// The command's name, which the hub and the command line must agree on.
const NAME: &str = "compile-module";

/// Compile the module on standard input; started by the hub for itself.
#[derive(Debug, Clone, clap::Args)]
#[command(name = NAME, hide = true)]
pub struct CompileArgs {
    /// Bytes of memory that it may take
    #[arg(long)]
    memory: u64,
    /// Seconds of processor time that it may take
    #[arg(long)]
    seconds: u64,
    /// component or command
    #[arg(value_parser = kind)]
    kind: ModuleKind,
}

fn kind(word: &str) -> Result<ModuleKind, String> {
    let known =
        [ModuleKind::Component, ModuleKind::Command].into_iter().find(|kind| kind.as_str() == word);
    known.ok_or_else(|| "there are component and command".into())
}

pub(super) fn run(args: &CompileArgs) -> ExitCode {
    compile_child(args.kind, args.memory, args.seconds)
}

/// How a hub starts it.
pub fn apart(limits: CompileLimits) -> std::io::Result<ChildCompiler> {
    // The program that runs, also after an update has put another one in its place.
    let itself = PathBuf::from("/proc/self/exe");
    let program = if itself.exists() { itself } else { std::env::current_exe()? };
    // The allocator usually takes a gibibyte at once and uses it by and by, and the limit counts what is taken.
    let environment = vec![("MIMALLOC_ARENA_EAGER_COMMIT".into(), "0".into())];
    Ok(ChildCompiler { program, arguments: vec![NAME.into()], environment, limits })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn the_command_line_takes_what_the_engine_says() {
        let apart = apart(CompileLimits::default()).unwrap();
        let words =
            ["--memory", "5", "--seconds", "7", ModuleKind::Command.as_str()].map(Into::into);
        let all = std::iter::once("weir".into()).chain(apart.arguments).chain(words);
        let Command::CompileModule(args) = Cli::parse_from(all).command else { panic!() };
        assert_eq!((args.memory, args.seconds, args.kind), (5, 7, ModuleKind::Command));
    }
}
