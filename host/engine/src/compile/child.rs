//! The child process: reads a module on stdin, answers with code or a reason on stdout, and ends.
//!
//! It limits itself before it reads a byte. It opens no file; all its settings are arguments.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};
use weir_core::bounds::MODULE_BYTES_MAX;

use super::{CompileLimits, answer, precompile};

use crate::version::ModuleKind;
use crate::wasmtime_config;

/// The lowest priority: answers to senders are more urgent than compiling.
const NICENESS: i32 = 19;

/// Compiles the module on stdin, within limits of memory in bytes and of processor time in seconds,
/// and writes the answer to stdout. For a process that does nothing else, started by an engine with
/// [`crate::Compiler::ChildProcess`].
#[must_use]
pub fn compile_child(kind: ModuleKind, memory: u64, seconds: u64) -> ExitCode {
    let limits = CompileLimits {
        memory: usize::try_from(memory).unwrap_or(usize::MAX),
        time: Duration::from_secs(seconds),
    };
    let done = restrain(limits).and_then(|()| {
        let mut module = Vec::new();
        io::stdin().take(MODULE_BYTES_MAX as u64).read_to_end(&mut module)?;
        let mut out = io::stdout().lock();
        let (tag, rest) = answer(kind, &module);
        out.write_all(&[tag])?;
        out.write_all(&rest)?;
        out.flush()
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The parent is gone.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Sets the limits of this process.
fn restrain(limits: CompileLimits) -> io::Result<()> {
    // The parent thread waits for this process, so it ends only with the hub.
    #[cfg(target_os = "linux")]
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let both = |limit| Rlimit { current: Some(limit), maximum: Some(limit) };
    setrlimit(Resource::Data, both(limits.memory as u64))?;
    // The soft limit ends it with a signal that tells the parent the reason.
    let seconds = limits.seconds();
    setrlimit(Resource::Cpu, Rlimit { current: Some(seconds), maximum: Some(seconds + 5) })?;
    setrlimit(Resource::Fsize, both(0))?;
    setrlimit(Resource::Core, both(0))?;
    nice(NICENESS)?;
    Ok(())
}

fn answer(kind: ModuleKind, module: &[u8]) -> (u8, Vec<u8>) {
    let compiled = wasmtime::Engine::new(&wasmtime_config::config())
        .and_then(|engine| precompile(&engine, kind, module));
    match compiled {
        Ok(code) => (answer::CODE, code),
        Err(error) if out_of_memory(&error) => (answer::MEMORY, Vec::new()),
        Err(error) => {
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            (answer::REFUSED, causes.join(": ").into_bytes())
        }
    }
}

/// True if an allocation failed without ending the process.
fn out_of_memory(error: &wasmtime::Error) -> bool {
    error.is::<wasmtime::OutOfMemory>()
        || error.chain().any(|cause| {
            cause
                .downcast_ref::<io::Error>()
                .is_some_and(|e| e.kind() == io::ErrorKind::OutOfMemory)
        })
}
