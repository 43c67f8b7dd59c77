//! `weir compile-module`: compiles one module in a child process of the hub. Help does not list it.

use std::process::ExitCode;

use weir_engine::{ModuleKind, compile_child};

/// Compile the module on standard input; the hub starts this for itself.
#[derive(Debug, Clone, clap::Args)]
#[command(hide = true)]
pub struct CompileArgs {
    /// Memory limit in bytes
    #[arg(long)]
    memory: u64,
    /// CPU time limit in seconds
    #[arg(long)]
    seconds: u64,
    /// component or command
    #[arg(value_parser = kind)]
    kind: ModuleKind,
}

fn kind(word: &str) -> Result<ModuleKind, String> {
    let known =
        [ModuleKind::Component, ModuleKind::Command].into_iter().find(|kind| kind.as_str() == word);
    known.ok_or_else(|| "write component or command".into())
}

pub(super) fn run(args: &CompileArgs) -> ExitCode {
    compile_child(args.kind, args.memory, args.seconds)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use weir_engine::CompileLimits;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::program::compile::child_compiler;

    #[test]
    fn the_command_line_accepts_the_arguments_of_the_engine() {
        let compiler = child_compiler(CompileLimits::default()).unwrap();
        let words =
            ["--memory", "5", "--seconds", "7", ModuleKind::Command.as_str()].map(Into::into);
        let all = std::iter::once("weir".into()).chain(compiler.arguments).chain(words);
        let Command::CompileModule(args) = Cli::parse_from(all).command else { panic!() };
        assert_eq!((args.memory, args.seconds, args.kind), (5, 7, ModuleKind::Command));
    }
}
