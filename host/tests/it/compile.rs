//! Compiling happens in a process of its own: what it may take is bounded, and nobody else notices what becomes of it.

use std::path::PathBuf;
use std::time::Duration;

use weir::cli::compile::apart;
use weir_engine::{Apart, CompileLimit, CompileLimits, Compiler, Engine, LoadError, Options};

use crate::hub::guest;
use crate::wat_guests::costly;

const MIB: usize = 1 << 20;

/// An engine that compiles in children of the real binary.
fn engine(memory: usize, time: Duration) -> Engine {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_weir"));
    let apart = Apart { program, ..apart(CompileLimits { memory, time }).unwrap() };
    Engine::new(Options { compiler: Compiler::Apart(apart), ..Options::default() }).unwrap()
}

#[test]
fn what_a_child_compiles_is_what_this_process_would() {
    let engine = engine(1024 * MIB, Duration::from_secs(60));
    for name in ["noop", "probe", "command"] {
        let bytes = std::fs::read(guest(name)).unwrap();
        let here = Engine::new(Options::default()).unwrap().load(&bytes).unwrap();
        let there = engine.load(&bytes).unwrap();
        assert_eq!((here.kind(), here.version()), (there.kind(), there.version()));
    }
}

#[test]
fn a_module_that_does_not_compile_is_told_in_the_compilers_words() {
    let mut bytes = std::fs::read(guest("noop")).unwrap();
    bytes.truncate(bytes.len() - 10);
    let error = engine(1024 * MIB, Duration::from_secs(60)).load(&bytes).unwrap_err();
    let LoadError::Compile { cause, .. } = error else { panic!("{error:?}") };
    assert!(cause.to_string().contains("unexpected end"), "{cause}");
}

#[test]
fn a_module_whose_compiling_takes_too_much_is_refused_by_what_it_took() {
    let module = costly(0);
    let error = engine(256 * MIB, Duration::from_secs(60)).load(&module).unwrap_err();
    assert!(
        error.to_string().starts_with("compiling needs more than 256 MiB of memory"),
        "{error}"
    );
    let error = engine(4096 * MIB, Duration::from_secs(1)).load(&module).unwrap_err();
    let LoadError::CompilerLimit(CompileLimit::Time(_)) = error else { panic!("{error:?}") };
}

#[test]
fn without_a_program_to_compile_with_the_fault_is_the_hosts() {
    let apart =
        Apart { program: "/nowhere/weir".into(), ..apart(CompileLimits::default()).unwrap() };
    let options = Options { compiler: Compiler::Apart(apart), ..Options::default() };
    let error =
        Engine::new(options).unwrap().load(&std::fs::read(guest("noop")).unwrap()).unwrap_err();
    assert!(matches!(error, LoadError::CompilerUnavailable(_)), "{error:?}");
}
