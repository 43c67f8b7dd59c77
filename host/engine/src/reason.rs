//! The end of a run with its reason for people, from the error and from the guest's output. Pure.

use wasmtime::{Trap, WasmBacktrace};
use weir_core::bounds::REASON_BYTES_MAX;
use weir_core::delivery::Outcome;

use crate::crash_message;
use crate::crash_place;
use crate::frames::{self, readable, recursing};
use crate::guard::Guard;
use crate::log::{LogRecorder, cut};
use crate::refusal::Refusal;
use crate::run::RunEnd;
use crate::stop::Stop;

/// A failure that is retried.
pub(crate) fn retryable(outcome: Outcome, reason: &str) -> RunEnd {
    failed(outcome, true, reason)
}

/// A failure that is not retried.
pub(crate) fn permanent(outcome: Outcome, reason: &str) -> RunEnd {
    failed(outcome, false, reason)
}

/// The failure of a run that returned a refusal.
pub(crate) fn refused(refusal: &Refusal) -> RunEnd {
    failed(Outcome::Refused, refusal.code.is_retryable(), &refusal.message)
}

fn failed(outcome: Outcome, retryable: bool, reason: &str) -> RunEnd {
    RunEnd::Failed { outcome, retryable, reason: cut(reason, REASON_BYTES_MAX).to_owned() }
}

/// The end of a run that returned ok: a success, unless its language warned of work not done.
pub(crate) fn of_return(log: &LogRecorder) -> RunEnd {
    log.undone().map_or(RunEnd::Ok, |undone| retryable(Outcome::Crashed, undone))
}

/// The end of a run that was stopped or that crashed.
pub(crate) fn of_trap(error: &wasmtime::Error, guard: &Guard, log: &LogRecorder) -> RunEnd {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return of_stop(stop);
    }
    if guard.memory_refused() {
        return retryable(Outcome::OutOfMemory, "asked for more memory than it may have");
    }
    if transfer_limit_exceeded(error) {
        return retryable(
            Outcome::TooMuchData,
            "passed more data in one call than a run may send in total",
        );
    }
    let frames = error.downcast_ref::<WasmBacktrace>().map(names).unwrap_or_default();
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => retryable(Outcome::Timeout, "ran past its time limit"),
        Some(Trap::StackOverflow) => stack_overflow(&frames),
        Some(Trap::MemoryOutOfBounds) if recursing(&frames) => stack_overflow(&frames),
        Some(trap) => crashed(log, &format!("{trap}, at {}", frames::shown(&frames)), &frames),
        None => {
            let cause = format!("{}, at {}", error.root_cause(), frames::shown(&frames));
            crashed(log, &cause, &frames)
        }
    }
}

/// The end of a run that the engine stopped.
pub(crate) fn of_stop(stop: &Stop) -> RunEnd {
    let outcome = match stop {
        Stop::Deadline(_) => Outcome::Timeout,
        Stop::Memory { .. } => Outcome::OutOfMemory,
        Stop::TooMuch(_) => Outcome::TooMuchData,
        Stop::State(_) => Outcome::Internal,
    };
    retryable(outcome, &stop.to_string())
}

/// The guest's own message about a crash: from its language with the file and line, its last logged
/// error, or its last printed line.
pub(crate) fn guest_message(log: &LogRecorder) -> Option<String> {
    let stderr = log.stderr_of_crash();
    crash_message::of_crash(&stderr)
        .map(|message| with_place(message, crash_place::of_crash(&stderr)))
        .or_else(|| log.last_error().map(str::to_owned))
        .or_else(|| crash_message::last_line(&stderr))
}

/// A message with the place of the crash behind it, unless it names that already.
fn with_place(message: String, place: Option<String>) -> String {
    match place {
        Some(place) if !message.contains(&place) => format!("{message} ({place})"),
        _ => message,
    }
}

/// The last message of a guest that exited: its last logged error, or its last printed line.
pub(crate) fn last_message(log: &LogRecorder) -> Option<String> {
    let last_line = || {
        let tail = log.stderr_tail();
        tail.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
    };
    log.last_error().map(str::to_owned).or_else(last_line)
}

fn crashed(log: &LogRecorder, otherwise: &str, frames: &[String]) -> RunEnd {
    let reason = match (guest_message(log), frames::innermost(frames)) {
        (None, _) => format!("crashed: {otherwise}"),
        // Languages that print no place of a panic, such as Zig.
        (Some(said), Some(function)) if said.starts_with("panic: ") && !said.ends_with(')') => {
            format!("{said} (in {function})")
        }
        (Some(said), _) => said,
    };
    retryable(Outcome::Crashed, &reason)
}

fn stack_overflow(frames: &[String]) -> RunEnd {
    let reason =
        format!("ran out of stack, at {}; look for endless recursion", frames::shown(frames));
    retryable(Outcome::StackOverflow, &reason)
}

/// Wasmtime has no public type for this error, so that its text is compared. A test triggers it.
fn transfer_limit_exceeded(error: &wasmtime::Error) -> bool {
    error.chain().any(|e| e.to_string().starts_with("too much data is being copied"))
}

fn names(backtrace: &WasmBacktrace) -> Vec<String> {
    let name = |frame: &wasmtime::FrameInfo| match frame.func_name() {
        Some(name) => readable(name),
        None => format!("function {}", frame.func_index()),
    };
    backtrace.frames().iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logged_error_comes_before_printed_lines() {
        let mut log = LogRecorder::new(1000);
        log.printed(crate::log::LogLevel::Stderr, b"noise\n");
        assert_eq!(guest_message(&log).as_deref(), Some("noise"));
        log.line(crate::log::LogLevel::Error, "the ledger is gone");
        assert_eq!(guest_message(&log).as_deref(), Some("the ledger is gone"));
        log.printed(crate::log::LogLevel::Stderr, b"panic: no title\n\nnoise\n");
        assert_eq!(guest_message(&log).as_deref(), Some("panic: no title"), "the crash counts");
    }

    #[test]
    fn panic_is_found_above_a_long_stack_trace() {
        let mut log = LogRecorder::new(1000);
        let trace = "main.walk(...)\n\t/src/main.go:71 +0x19\n".repeat(1000);
        let stderr =
            format!("starting\npanic: no title\n\ngoroutine 1 [running]:\n{trace}exit status 2\n");
        for piece in stderr.as_bytes().chunks(7) {
            log.printed(crate::log::LogLevel::Stderr, piece);
        }
        assert_eq!(guest_message(&log).as_deref(), Some("panic: no title (/src/main.go:71)"));
    }

    #[test]
    fn panic_without_a_place_names_its_function() {
        let mut log = LogRecorder::new(1000);
        log.printed(crate::log::LogLevel::Stderr, b"thread 1 panic: index out of bounds\n");
        let frames = ["debug.defaultPanic", "rule.decide", "main.main"].map(str::to_owned);
        let RunEnd::Failed { reason, .. } = crashed(&log, "unreachable", &frames) else { panic!() };
        assert_eq!(reason, "panic: index out of bounds (in rule.decide)");
    }

    #[test]
    fn reason_is_cut() {
        let RunEnd::Failed { reason, .. } = retryable(Outcome::Retry, &"é".repeat(5000)) else {
            panic!()
        };
        assert_eq!(reason.len(), REASON_BYTES_MAX);
    }
}
