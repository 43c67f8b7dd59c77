//! Why a run failed, for people: from the error that ended it, and from what the guest said. Pure.

use wasmtime::{Trap, WasmBacktrace};
use weir_core::bounds::REASON_BYTES_MAX;
use weir_core::delivery::Outcome;

use crate::frames::{readable, recursing, told};
use crate::guard::Guard;
use crate::last_words;
use crate::log::{LogRecorder, cut};
use crate::refusal::Refusal;
use crate::run::RunEnd;
use crate::stop::Stop;

/// A failure that may pass.
pub(crate) fn again(outcome: Outcome, reason: &str) -> RunEnd {
    failed(outcome, true, reason)
}

/// A failure that stays.
pub(crate) fn for_good(outcome: Outcome, reason: &str) -> RunEnd {
    failed(outcome, false, reason)
}

/// A refusal that the handler passed on, or made no use of.
pub(crate) fn refused(refusal: &Refusal) -> RunEnd {
    failed(Outcome::Refused, refusal.code.may_pass(), &refusal.message)
}

fn failed(outcome: Outcome, again: bool, reason: &str) -> RunEnd {
    RunEnd::Failed { outcome, again, reason: cut(reason, REASON_BYTES_MAX).to_owned() }
}

/// The end of a run that says that all went well: so it did, unless its language knows of work left undone.
pub(crate) fn of_return(log: &LogRecorder) -> RunEnd {
    log.undone().map_or(RunEnd::Ok, |undone| again(Outcome::Crashed, undone))
}

/// The end of a run that was stopped or crashed.
pub(crate) fn of_trap(error: &wasmtime::Error, guard: &Guard, log: &LogRecorder) -> RunEnd {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return of_stop(stop);
    }
    if guard.memory_refused() {
        return again(Outcome::OutOfMemory, "asked for more memory than it may have");
    }
    if crossing_exhausted(error) {
        return again(
            Outcome::TooMuchData,
            "handed the host more data in one call than a run may send in all",
        );
    }
    let frames = error.downcast_ref::<WasmBacktrace>().map(names).unwrap_or_default();
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => again(Outcome::Timeout, "ran past its time limit"),
        Some(Trap::StackOverflow) => stack_overflow(&frames),
        Some(Trap::MemoryOutOfBounds) if recursing(&frames) => stack_overflow(&frames),
        Some(trap) => crashed(log, &format!("{trap}, at {}", told(&frames))),
        None => crashed(log, &format!("{}, at {}", error.root_cause(), told(&frames))),
    }
}

/// The end of a run that the host stopped.
pub(crate) fn of_stop(stop: &Stop) -> RunEnd {
    let outcome = match stop {
        Stop::Deadline(_) => Outcome::Timeout,
        Stop::Memory { .. } => Outcome::OutOfMemory,
        Stop::TooMuch(_) => Outcome::TooMuchData,
        Stop::State(_) => Outcome::Internal,
    };
    again(outcome, &stop.to_string())
}

/// What the guest itself said of its end: what its language printed while it died, an error it logged, or else the last
/// that it printed.
pub(crate) fn last_words(log: &LogRecorder) -> Option<String> {
    let stderr = log.stderr_of_a_death();
    last_words::of_a_death(&stderr)
        .or_else(|| log.last_error().map(str::to_owned))
        .or_else(|| last_words::last_line(&stderr))
}

/// What a guest that ended on purpose said last: an error it logged, or the last line that it printed.
pub(crate) fn said_last(log: &LogRecorder) -> Option<String> {
    let last_line = || {
        let tail = log.stderr_tail();
        tail.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
    };
    log.last_error().map(str::to_owned).or_else(last_line)
}

fn crashed(log: &LogRecorder, otherwise: &str) -> RunEnd {
    let reason = last_words(log).unwrap_or_else(|| format!("crashed: {otherwise}"));
    again(Outcome::Crashed, &reason)
}

fn stack_overflow(frames: &[String]) -> RunEnd {
    let reason = format!("ran out of stack, at {}; look for endless recursion", told(frames));
    again(Outcome::StackOverflow, &reason)
}

/// wasmtime has no public type for this error, so this is the one place that reads a text. A test drives it.
fn crossing_exhausted(error: &wasmtime::Error) -> bool {
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
    fn what_was_logged_as_an_error_comes_before_what_was_printed() {
        let mut log = LogRecorder::new(1000);
        log.printed(crate::log::LogLevel::Stderr, b"noise\n");
        assert_eq!(last_words(&log).as_deref(), Some("noise"));
        log.line(crate::log::LogLevel::Error, "the ledger is gone");
        assert_eq!(last_words(&log).as_deref(), Some("the ledger is gone"));
        log.printed(crate::log::LogLevel::Stderr, b"panic: no title\n\nnoise\n");
        assert_eq!(last_words(&log).as_deref(), Some("panic: no title"), "it died of that");
    }

    #[test]
    fn a_panic_is_found_above_any_length_of_stack_trace() {
        let mut log = LogRecorder::new(1000);
        let trace = "main.walk(...)\n\t/src/main.go:71 +0x19\n".repeat(1000);
        let stderr =
            format!("starting\npanic: no title\n\ngoroutine 1 [running]:\n{trace}exit status 2\n");
        for piece in stderr.as_bytes().chunks(7) {
            log.printed(crate::log::LogLevel::Stderr, piece);
        }
        assert_eq!(last_words(&log).as_deref(), Some("panic: no title"));
    }

    #[test]
    fn a_reason_is_cut() {
        let RunEnd::Failed { reason, .. } = again(Outcome::Retry, &"é".repeat(5000)) else {
            panic!()
        };
        assert_eq!(reason.len(), REASON_BYTES_MAX);
    }
}
