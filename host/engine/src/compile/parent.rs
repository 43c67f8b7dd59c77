//! The parent process: starts the child, sends the module, and reads code or a reason.

use std::io::{self, Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::process::Signal;
use weir_core::bounds::MIB;

use super::{ChildCompiler, CompileLimits, answer};
use crate::load_error::{CompileLimit, LoadError};
use crate::log::cut;
use crate::version::ModuleKind;

/// Limit of code from a child: several times the largest module.
const CODE_BYTES_MAX: usize = 512 * MIB;
/// Limit of the child's stderr.
const STDERR_BYTES_MAX: usize = 4 * 1024;
/// Limit of the reason that a module does not compile.
const REASON_BYTES_MAX: usize = 4 * 1024;

/// The standard library prints this when it aborts after a failed allocation.
const NO_MEMORY: &str = "memory allocation of";

/// Compiles in a child process.
pub(super) fn compile(
    apart: &ChildCompiler,
    kind: ModuleKind,
    module: &[u8],
) -> Result<Vec<u8>, LoadError> {
    let child = start(apart, kind).map_err(LoadError::CompilerUnavailable)?;
    let ended = attend(child, module, apart.limits).map_err(LoadError::CompilerUnavailable)?;
    judge(ended, kind, apart.limits)
}

/// The end of a child.
struct Ended {
    /// None if it was killed at its time limit.
    status: Option<ExitStatus>,
    answer: Vec<u8>,
    stderr: Vec<u8>,
}

fn start(apart: &ChildCompiler, kind: ModuleKind) -> io::Result<Child> {
    let CompileLimits { memory, .. } = apart.limits;
    Command::new(&apart.program)
        .args(&apart.arguments)
        .args(["--memory", &memory.to_string()])
        .args(["--seconds", &apart.limits.seconds().to_string()])
        .arg(kind.as_str())
        .env_clear()
        .envs(apart.environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

fn attend(mut child: Child, module: &[u8], limits: CompileLimits) -> io::Result<Ended> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|threads| {
        let (done, answered) = mpsc::channel();
        threads.spawn(move || {
            // It fails if the child ended early, which has its own reason.
            let _ = stdin.map(|mut to| to.write_all(module));
        });
        threads.spawn(move || {
            let answer = stdout.map_or_else(Vec::new, |from| read(from, CODE_BYTES_MAX + 1));
            // It fails after the time limit.
            let _ = done.send(answer);
        });
        let complaint = threads
            .spawn(move || stderr.map_or_else(Vec::new, |from| read(from, STDERR_BYTES_MAX)));
        let answer = answered.recv_timeout(limits.wall_time());
        if answer.is_err() {
            child.kill()?;
        }
        let status = child.wait()?;
        let stderr = complaint.join().unwrap_or_default();
        let status = answer.is_ok().then_some(status);
        Ok(Ended { status, answer: answer.unwrap_or_default(), stderr })
    })
}

/// Reads until the end or the limit.
fn read(from: impl Read, max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    // After an error the bytes before it are used.
    let _ = from.take(max as u64).read_to_end(&mut bytes);
    bytes
}

fn judge(ended: Ended, kind: ModuleKind, limits: CompileLimits) -> Result<Vec<u8>, LoadError> {
    let Ended { status, mut answer, stderr } = ended;
    let Some(status) = status else {
        return Err(LoadError::CompilerLimit(CompileLimit::WallTime(limits.wall_time())));
    };
    if status.success() && answer.len() <= CODE_BYTES_MAX {
        let text = |answer: &[u8]| {
            let text = String::from_utf8_lossy(answer.get(1..).unwrap_or_default());
            cut(&text, REASON_BYTES_MAX).to_owned()
        };
        match answer.first() {
            Some(&answer::CODE) => return Ok(answer.split_off(1)),
            Some(&answer::MEMORY) => return Err(out_of_memory(limits)),
            Some(&answer::REFUSED) => {
                let cause = wasmtime::Error::msg(text(&answer));
                return Err(LoadError::Compile { kind, cause });
            }
            _ => {}
        }
    }
    let said = String::from_utf8_lossy(&stderr);
    if status.signal() == Some(Signal::XCPU.as_raw()) {
        return Err(LoadError::CompilerLimit(CompileLimit::Time(limits.time)));
    }
    if said.contains(NO_MEMORY) {
        return Err(out_of_memory(limits));
    }
    let said = said.trim();
    Err(LoadError::CompilerCrashed(if said.is_empty() {
        status.to_string()
    } else {
        format!("{status}: {said}")
    }))
}

fn out_of_memory(limits: CompileLimits) -> LoadError {
    LoadError::CompilerLimit(CompileLimit::Memory(limits.memory))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: CompileLimits = CompileLimits { memory: 256 * MIB, time: Duration::from_secs(9) };

    fn judged(raw_status: i32, answer: &[u8], stderr: &str) -> String {
        let ended = Ended {
            status: Some(ExitStatus::from_raw(raw_status)),
            answer: answer.to_vec(),
            stderr: stderr.into(),
        };
        match judge(ended, ModuleKind::Component, LIMITS) {
            Ok(code) => String::from_utf8(code).unwrap(),
            Err(LoadError::Compile { cause, .. }) => cause.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn end_of_a_child_gives_code_or_a_reason() {
        let abort = Signal::ABORT.as_raw();
        for (status, answer, stderr, wanted) in [
            (0, &b"Ccode"[..], "", "code"),
            (0, b"Rfunction 7: bad", "", "function 7: bad"),
            (0, b"M", "", "compiling needs more than 256 MiB of memory;"),
            (abort, b"", "memory allocation of 88 bytes failed", "needs more than 256 MiB"),
            (Signal::XCPU.as_raw(), b"", "", "compiling needs more than 9s of processor time"),
            (abort, b"Ccode", "its stack is gone", "the compiler crashed: signal: 6 (SIGABRT)"),
            (101 << 8, b"", "panicked at x.rs", "exit status: 101: panicked at x.rs"),
            (0, b"", "", "the compiler crashed: exit status: 0"),
        ] {
            let said = judged(status, answer, stderr);
            assert!(said.contains(wanted), "{said} does not contain {wanted}");
        }
    }
}
