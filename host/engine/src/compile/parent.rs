//! The parent process: starts the child, sends the module, and reads code or a reason.

use std::io::{self, Read, Write};
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
const CODE_BYTES_MAX: u64 = 512 * MIB as u64;
/// Limit of the child's stderr.
const STDERR_BYTES_MAX: usize = 4 * 1024;
/// Limit of the reason that a module does not compile.
const REASON_BYTES_MAX: usize = 4 * 1024;

/// The standard library prints this when it aborts after a failed allocation.
const NO_MEMORY: &str = "memory allocation of";

/// Compiles in a child process. The code goes to `to` as it comes, so that it is never whole in the
/// memory of this process. It is complete only if the result is `Ok`.
pub(super) fn compile(
    apart: &ChildCompiler,
    kind: ModuleKind,
    module: &[u8],
    to: &mut (dyn Write + Send),
) -> Result<(), LoadError> {
    let child = start(apart, kind).map_err(LoadError::CompilerUnavailable)?;
    let ended = attend(child, module, apart.limits, to).map_err(LoadError::CompilerUnavailable)?;
    judge(ended, kind, apart.limits)
}

/// The end of a child.
struct Ended {
    /// None if it was killed at its time limit.
    status: Option<ExitStatus>,
    answer: Answer,
    stderr: Vec<u8>,
}

/// The child's stdout.
#[derive(Debug, Default)]
enum Answer {
    /// It ended early, or could not be read.
    #[default]
    Nothing,
    /// Code of this many bytes, which went to the reader's target.
    Code(u64),
    /// The memory limit is too low.
    Memory,
    /// The module does not compile.
    Refused(Vec<u8>),
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

fn attend(
    mut child: Child,
    module: &[u8],
    limits: CompileLimits,
    to: &mut (dyn Write + Send),
) -> io::Result<Ended> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|threads| {
        let (done, answered) = mpsc::channel();
        threads.spawn(move || {
            // It fails if the child ended early, which has its own reason.
            let _ = stdin.map(|mut to| to.write_all(module));
        });
        threads.spawn(move || {
            let answer = stdout.and_then(|from| receive(from, to).ok()).unwrap_or_default();
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

/// Reads the answer. Code goes to `to`.
fn receive(mut from: impl Read, to: &mut dyn Write) -> io::Result<Answer> {
    let mut tag = [0];
    from.read_exact(&mut tag)?;
    Ok(match tag[0] {
        answer::CODE => Answer::Code(io::copy(&mut from.take(CODE_BYTES_MAX + 1), to)?),
        answer::MEMORY => Answer::Memory,
        answer::REFUSED => Answer::Refused(read(from, REASON_BYTES_MAX)),
        _ => Answer::Nothing,
    })
}

/// Reads until the end or the limit.
fn read(from: impl Read, max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    // After an error the bytes before it are used.
    let _ = from.take(max as u64).read_to_end(&mut bytes);
    bytes
}

fn judge(ended: Ended, kind: ModuleKind, limits: CompileLimits) -> Result<(), LoadError> {
    let Ended { status, answer, stderr } = ended;
    let Some(status) = status else {
        return Err(LoadError::CompilerLimit(CompileLimit::WallTime(limits.wall_time())));
    };
    if status.success() {
        match answer {
            Answer::Code(bytes) if (1..=CODE_BYTES_MAX).contains(&bytes) => return Ok(()),
            Answer::Memory => return Err(out_of_memory(limits)),
            Answer::Refused(reason) => {
                let text = String::from_utf8_lossy(&reason);
                let cause = wasmtime::Error::msg(cut(&text, REASON_BYTES_MAX).to_owned());
                return Err(LoadError::Compile { kind, cause });
            }
            Answer::Code(_) | Answer::Nothing => {}
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
        let mut code = Vec::new();
        let answer = receive(answer, &mut code).unwrap_or_default();
        let status = Some(ExitStatus::from_raw(raw_status));
        match judge(Ended { status, answer, stderr: stderr.into() }, ModuleKind::Component, LIMITS)
        {
            Ok(()) => String::from_utf8(code).unwrap(),
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
