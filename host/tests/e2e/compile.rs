//! Modules are compiled in a child process with limits, so a bad module harms nothing else.

use std::path::PathBuf;
use std::time::Duration;

use weir::program::compile::child_compiler;
use weir_engine::{
    ChildCompiler, CompileLimit, CompileLimits, Compiler, Engine, LoadError, Options,
};

use weir_testing::guests::committed;
use weir_testing::guests::{costly, write};
use weir_testing::hub::TestHub;

const MIB: usize = 1 << 20;

/// An engine that compiles in child processes of the real binary.
fn engine(memory: usize, time: Duration) -> Engine {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_weir"));
    let apart =
        ChildCompiler { program, ..child_compiler(CompileLimits { memory, time }).unwrap() };
    Engine::new(Options { compiler: Compiler::ChildProcess(apart), ..Options::default() }).unwrap()
}

#[test]
fn a_child_process_compiles_the_same_code() {
    let engine = engine(1024 * MIB, Duration::from_secs(60));
    for name in ["noop", "probe", "command"] {
        let bytes = std::fs::read(committed(name)).unwrap();
        let here = Engine::new(Options::default()).unwrap().load(&bytes).unwrap();
        let there = engine.load(&bytes).unwrap();
        assert_eq!((here.kind(), here.version()), (there.kind(), there.version()));
    }
}

#[test]
fn a_compile_error_is_shown_as_the_compiler_wrote_it() {
    let mut bytes = std::fs::read(committed("noop")).unwrap();
    bytes.truncate(bytes.len() - 10);
    let error = engine(1024 * MIB, Duration::from_secs(60)).load(&bytes).unwrap_err();
    let LoadError::Compile { cause, .. } = error else { panic!("{error:?}") };
    assert!(cause.to_string().contains("unexpected end"), "{cause}");
}

#[test]
fn a_module_over_a_compile_limit_is_refused_with_the_limit() {
    let module = costly();
    let error = engine(256 * MIB, Duration::from_secs(60)).load(&module).unwrap_err();
    assert!(
        error.to_string().starts_with("compiling needs more than 256 MiB of memory"),
        "{error}"
    );
    let error = engine(4096 * MIB, Duration::from_secs(1)).load(&module).unwrap_err();
    let LoadError::CompilerLimit(CompileLimit::Time(_)) = error else { panic!("{error:?}") };
}

#[test]
fn a_missing_compiler_program_is_a_fault_of_the_hub() {
    let apart = ChildCompiler {
        program: "/nowhere/weir".into(),
        ..child_compiler(CompileLimits::default()).unwrap()
    };
    let options = Options { compiler: Compiler::ChildProcess(apart), ..Options::default() };
    let error =
        Engine::new(options).unwrap().load(&std::fs::read(committed("noop")).unwrap()).unwrap_err();
    assert!(matches!(error, LoadError::CompilerUnavailable(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_handlers_serve_on_while_a_costly_module_compiles() {
    let hub = TestHub::new()
        .config("compile_memory = \"1GiB\"\ncompile_time = \"3s\"")
        .github()
        .handler("keeper", "noop")
        .start()
        .await;
    hub.until_ready("keeper").await;
    let folder = tempfile::tempdir().unwrap();
    hub.put_handler("costly", write(folder.path(), "costly", &costly()));
    hub.until_handler("costly", |h| h["state"] == "loading").await;
    hub.put_handler("late", committed("probe"));
    let late = hub.until_ready("late").await;
    let costly = hub.until_handler("costly", |h| h["state"] != "loading").await;
    let since = |handler: &serde_json::Value| handler["since"].as_str().unwrap().to_owned();
    assert!(since(&late) < since(&costly), "{late} waited for {costly}");
    assert_eq!(costly["state"], "failed");
    let reason = costly["last_error"].as_str().unwrap();
    assert!(reason.starts_with("compiling needs more than 3s of processor time"), "{reason}");
    let event = hub.push("push", "after", b"{}").await.accepted();
    hub.until_status(&event, "processed").await;
}
