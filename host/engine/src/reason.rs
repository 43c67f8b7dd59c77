//! Why a run failed, for people: from the error that ended it, and from what the language's runtime printed. Pure.

use wasmtime::{Trap, WasmBacktrace};
use weir_core::bounds::REASON_BYTES_MAX;
use weir_core::delivery::Outcome;

use crate::guard::Guard;
use crate::log::{Logbook, cut};
use crate::refusal::Refusal;
use crate::run::End;
use crate::stop::Stop;

/// How often one function must be among the top frames for a bad memory access to count as an exhausted stack:
/// languages that keep their own stack in linear memory run off its end there.
const FRAMES_OF_RECURSION: usize = 8;

/// Frames named in a reason.
const FRAMES_TOLD: usize = 5;

/// A failure that may pass.
pub(crate) fn again(outcome: Outcome, reason: &str) -> End {
    failed(outcome, true, reason)
}

/// A failure that stays.
pub(crate) fn for_good(outcome: Outcome, reason: &str) -> End {
    failed(outcome, false, reason)
}

/// A refusal that the handler passed on, or made no use of.
pub(crate) fn refused(refusal: &Refusal) -> End {
    failed(Outcome::Refused, refusal.code.may_pass(), &refusal.message)
}

fn failed(outcome: Outcome, again: bool, reason: &str) -> End {
    End::Failed { outcome, again, reason: cut(reason, REASON_BYTES_MAX).to_owned() }
}

/// The end of a run that was stopped or crashed.
pub(crate) fn of_trap(error: &wasmtime::Error, guard: &Guard, log: &Logbook) -> End {
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
pub(crate) fn of_stop(stop: &Stop) -> End {
    let outcome = match stop {
        Stop::Deadline(_) => Outcome::Timeout,
        Stop::Memory { .. } => Outcome::OutOfMemory,
        Stop::TooMuch(_) => Outcome::TooMuchData,
        Stop::State(_) => Outcome::Internal,
    };
    again(outcome, &stop.to_string())
}

/// What the guest itself said last: an error it logged, or what its language printed while it died.
pub(crate) fn last_words(log: &Logbook) -> Option<String> {
    log.last_error().map(str::to_owned).or_else(|| from_stderr(&log.stderr_tail()))
}

fn crashed(log: &Logbook, otherwise: &str) -> End {
    let reason = last_words(log).unwrap_or_else(|| format!("crashed: {otherwise}"));
    again(Outcome::Crashed, &reason)
}

fn stack_overflow(frames: &[String]) -> End {
    let reason = format!("ran out of stack, at {}; look for endless recursion", told(frames));
    again(Outcome::StackOverflow, &reason)
}

/// wasmtime has no public type for this error, so this is the one place that reads a text. A test drives it.
fn crossing_exhausted(error: &wasmtime::Error) -> bool {
    error.chain().any(|e| e.to_string().starts_with("too much data is being copied"))
}

fn names(backtrace: &WasmBacktrace) -> Vec<String> {
    let name = |frame: &wasmtime::FrameInfo| match frame.func_name() {
        Some(name) => name.to_owned(),
        None => format!("function {}", frame.func_index()),
    };
    backtrace.frames().iter().map(name).collect()
}

fn recursing(frames: &[String]) -> bool {
    frames.iter().any(|f| frames.iter().filter(|g| *g == f).count() >= FRAMES_OF_RECURSION)
}

fn told(frames: &[String]) -> String {
    if frames.is_empty() {
        return "an unknown place".to_owned();
    }
    frames.iter().take(FRAMES_TOLD).map(String::as_str).collect::<Vec<_>>().join(" < ")
}

/// The line that says what went wrong, out of what a language's runtime printed as it died.
fn from_stderr(stderr: &str) -> Option<String> {
    let before_panic = stderr.split("thread '").next().unwrap_or(stderr);
    let found = if stderr.contains("Traceback (most recent call last)") {
        last_unindented(before_panic)
    } else if let Some(message) = between(stderr, "message: Some(\"", "\")") {
        Some(message)
    } else if let Some(message) = between(stderr, "received `", "`") {
        Some(message)
    } else if let Some((_, after)) = stderr.split_once("panicked at ") {
        after.lines().nth(1).map(str::trim)
    } else {
        None
    };
    let last_line = || stderr.lines().map(str::trim).rfind(|line| !line.is_empty());
    found.filter(|text| !text.is_empty()).or_else(last_line).map(str::to_owned)
}

fn last_unindented(text: &str) -> Option<&str> {
    text.lines().rfind(|line| line.starts_with(|c: char| !c.is_whitespace()))
}

fn between<'t>(text: &'t str, from: &str, to: &str) -> Option<&'t str> {
    let (_, after) = text.split_once(from)?;
    Some(after.split_once(to)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_has_its_own_last_words() {
        let python = "Traceback (most recent call last):\n  File \"app.py\", line 3, in handle\n    raise RuntimeError(\"guest says boom\")\nRuntimeError: guest says boom\nthread '<unnamed>' (1) panicked at src/lib.rs:1:1:\npython died\n";
        let quickjs = "Exception { message: Some(\"guest says boom\"), stack: Some(\"    at faults (/handler.js:29:29)\\n\") }\n";
        let spidermonkey = "invalid variant tag value `undefined` (received `Error: guest says boom`) specified for `Failure`\n";
        let rust = "\nthread '<unnamed>' (1) panicked at src/lib.rs:30:20:\nguest says boom\nnote: run with RUST_BACKTRACE=1\n";
        for (stderr, wanted) in [
            (python, "RuntimeError: guest says boom"),
            (quickjs, "guest says boom"),
            (spidermonkey, "Error: guest says boom"),
            (rust, "guest says boom"),
            ("assert failed\nabort\n\n", "abort"),
        ] {
            assert_eq!(from_stderr(stderr).as_deref(), Some(wanted));
        }
        assert_eq!(from_stderr(" \n"), None);
    }

    #[test]
    fn what_was_logged_as_an_error_comes_before_what_was_printed() {
        let mut log = Logbook::new(1000);
        log.printed(crate::log::Level::Stderr, b"noise\n");
        assert_eq!(last_words(&log).as_deref(), Some("noise"));
        log.line(crate::log::Level::Error, "the ledger is gone");
        assert_eq!(last_words(&log).as_deref(), Some("the ledger is gone"));
    }

    #[test]
    fn a_reason_is_cut() {
        let End::Failed { reason, .. } = again(Outcome::Retry, &"é".repeat(5000)) else {
            panic!()
        };
        assert_eq!(reason.len(), REASON_BYTES_MAX);
    }

    #[test]
    fn the_same_function_over_and_over_is_recursion() {
        let frames: Vec<String> =
            (0..9).map(|n| if n == 4 { "other" } else { "walk" }.into()).collect();
        assert!(recursing(&frames) && !recursing(&frames[..7]));
    }
}
