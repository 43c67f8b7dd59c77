//! Finds the message of a crash in what a language's runtime printed on stderr. Pure.
//!
//! Runtimes print more than the message: its place, settings, a stack trace. The forms of several
//! languages are tried in turn. If none fits, the last line outside of a stack trace is used.

use crate::crash_place::debug_text;

/// Lines of one message.
const MESSAGE_LINES_MAX: usize = 5;

/// Beginnings of lines that announce a crash.
const HEADS: [&str; 13] = [
    "Traceback (most recent call last)",
    "panic: ",
    "fatal error: ",
    "Exception { message: Some(",
    "Unhandled exception",
    "Unhandled Exception",
    "Uncaught ",
    "Exception in thread ",
    "terminate called ",
    "libc++abi: ",
    "PHP Fatal error: ",
    "Error: unhandled exception: ",
    "abort: ",
];

/// Parts of such lines, anywhere in them.
const PARTS: [&str; 6] = [
    "Fatal error: ",
    "Assertion failed",
    "Assertion `",
    "Exception Group Traceback",
    "(received `",
    "Precondition failed",
];

/// True if a line announces a crash. `so_far` are the lines since an earlier such line.
pub(crate) fn announces_crash(line: &str, so_far: Option<&str>) -> bool {
    if is_of_rust(line) {
        // A runtime written in Rust panics after the crash of its guest, and that panic tells less.
        return so_far.is_none_or(|so_far| !so_far.lines().next().is_some_and(begins_any));
    }
    begins_any(line)
}

fn begins_any(line: &str) -> bool {
    is_of_rust(line)
        || of_zig(line).is_some()
        || HEADS.iter().any(|head| line.starts_with(head))
        || PARTS.iter().any(|part| line.contains(part))
}

/// The warning of a line that a program did not do its work, although it ends without an error.
pub(crate) fn of_work_undone(line: &str) -> Option<String> {
    if let Some((_, coroutine)) = line.split_once("RuntimeWarning: coroutine ") {
        let name = coroutine.strip_suffix(" was never awaited")?;
        return Some(format!(
            "coroutine {name} was never awaited, so that nothing in it has run; make it a plain \
             `def`, or run it with \
             `run` of examples/python/weir.py"
        ));
    }
    line.starts_with("Task was destroyed but it is pending").then(|| {
        "a task of asyncio was left pending; await it before the handler returns".to_owned()
    })
}

/// The message of a crash, if a known form is found.
pub(crate) fn of_crash(stderr: &str) -> Option<String> {
    let forms: [fn(&str) -> Option<String>; 8] =
        [python, quickjs, spidermonkey, rust, zig, cpp, dotnet, marked];
    forms.iter().find_map(|form| form(stderr)).filter(|text| !text.is_empty())
}

/// The last line outside of a stack trace, or else the last line.
pub(crate) fn last_line(stderr: &str) -> Option<String> {
    let lines = || stderr.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()).rev();
    let says = lines().find(|line| !is_trace(line)).or_else(|| lines().next());
    says.map(|line| line.trim().to_owned())
}

/// The exception at the end of a traceback: the first line after its frames without indentation.
fn python(stderr: &str) -> Option<String> {
    if let Some((_, group)) = stderr.split_once("Exception Group Traceback") {
        let group = group.lines().skip(1).map(|line| line.trim_start_matches([' ', '|', '+', '-']));
        return group.clone().find(|line| is_exception(line)).map(str::to_owned);
    }
    let (_, after) = stderr.rsplit_once("Traceback (most recent call last)")?;
    let mut lines = after.lines().skip(1);
    let first = lines.find(|line| line.starts_with(|c: char| !c.is_whitespace()))?;
    (!is_of_rust(first)).then(|| first.trim_end().to_owned())
}

/// `Exception { message: Some("…"), stack: … }`, as jco's QuickJS prints it.
fn quickjs(stderr: &str) -> Option<String> {
    let (_, after) = stderr.split_once("message: Some(\"")?;
    Some(debug_text(after)?.0.replace('\n', " "))
}

/// ``(received `Error: …`)``, as jco's SpiderMonkey prints it.
fn spidermonkey(stderr: &str) -> Option<String> {
    let (_, after) = stderr.split_once("received `")?;
    Some(after.split_once('`')?.0.to_owned())
}

fn is_of_rust(line: &str) -> bool {
    line.starts_with("thread '") && line.contains("panicked at ")
}

/// `thread 'main' panicked at PLACE:`, and the message in the lines below it.
fn rust(stderr: &str) -> Option<String> {
    let (_, after) = stderr.split_once("panicked at ")?;
    let mut lines = after.lines();
    let place = lines.next()?.trim_end().trim_end_matches(':');
    let message = message(lines.take_while(|line| !line.starts_with("note: run with")));
    let place = format!("panicked at {place}");
    Some(if message.is_empty() { place } else { format!("{place}: {message}") })
}

/// `thread 1 panic: …`; the line after the thread's number.
fn of_zig(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("thread ")?;
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.strip_prefix(" ").filter(|rest| rest.starts_with("panic: "))
}

fn zig(stderr: &str) -> Option<String> {
    stderr.lines().find_map(of_zig).map(|line| line.trim_end().to_owned())
}

/// `terminate called after throwing an instance of 'X'`, and `what():  …` below it.
fn cpp(stderr: &str) -> Option<String> {
    let (_, after) = stderr.split_once("terminate called after throwing an instance of '")?;
    let (kind, after) = after.split_once('\'')?;
    let what = after.lines().find_map(|line| line.trim().strip_prefix("what():"));
    Some(match what {
        Some(what) => format!("{kind}: {}", what.trim()),
        None => format!("uncaught exception of type {kind}"),
    })
}

/// `Unhandled exception. X: …`, or the exception in the line below.
fn dotnet(stderr: &str) -> Option<String> {
    let mut lines = stderr.lines().skip_while(|line| {
        !line.starts_with("Unhandled exception") && !line.starts_with("Unhandled Exception")
    });
    let rest = lines.next()?["Unhandled exception".len()..].trim_start_matches(['.', ':']).trim();
    let said = if rest.is_empty() { lines.next()?.trim() } else { rest };
    Some(said.to_owned())
}

/// A line with one of the heads or parts; else the first exception with a trace below it.
fn marked(stderr: &str) -> Option<String> {
    let mut lines = stderr.lines().peekable();
    if let Some(line) = stderr.lines().find(|line| begins_any(line)) {
        return Some(line.trim().to_owned());
    }
    while let Some(line) = lines.next() {
        let traced = lines.peek().is_some_and(|next| is_trace(next));
        if traced && (is_exception(line) || line.starts_with("error: ")) {
            return Some(line.trim_end().to_owned());
        }
    }
    None
}

/// Joins lines, up to a blank one.
fn message<'t>(lines: impl Iterator<Item = &'t str>) -> String {
    let lines = lines.map(str::trim).take_while(|line| !line.is_empty());
    lines.take(MESSAGE_LINES_MAX).collect::<Vec<_>>().join(" ")
}

/// `TypeError: …`, `builtins.KeyError: …`, `Error`.
fn is_exception(line: &str) -> bool {
    let name = line.split(": ").next().unwrap_or(line).trim_end_matches(':');
    let is_name = !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$'));
    is_name && ["Error", "Exception", "ExceptionGroup"].iter().any(|end| name.ends_with(end))
}

/// True for a frame, and for the lines that runtimes print around frames.
fn is_trace(line: &str) -> bool {
    let text = line.trim();
    let numbered = text.split_once(": ").is_some_and(|(number, _)| {
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    });
    let heads = [
        "at ",
        "from ",
        "in ",
        "File \"",
        "#",
        "goroutine ",
        "stack backtrace:",
        "Stack trace:",
        "stack traceback:",
        "note: ",
        "exit status ",
        "created by ",
        "[signal ",
        "CallStack ",
        "wasm trace:",
        "[C]: ",
        "0x",
    ];
    let trailers =
        ["Cannot print stack trace", "Unable to dump stack trace", "(Build with", "core dumped"];
    let whole = ["Aborted", "abort", "aborted", "Abort", "^"];
    let indented = line.starts_with([' ', '\t']);
    numbered && indented
        || heads.iter().any(|head| text.starts_with(head)) && (indented || !text.starts_with("in "))
        || trailers.iter().any(|part| text.contains(part))
        || whole.contains(&text)
        // A frame of Go: `main.main()`, and below it the file, the line and an offset.
        || text.contains(" +0x")
        || text.ends_with(')') && !text.contains(' ') && text.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reason of a run: the message of a crash, else the last line.
    fn found(stderr: &str) -> Option<String> {
        of_crash(stderr).or_else(|| last_line(stderr))
    }

    fn assert_messages(cases: &[(&str, &str)]) {
        for (stderr, wanted) in cases {
            assert_eq!(found(stderr).as_deref(), Some(*wanted), "{stderr}");
        }
    }

    #[test]
    fn message_of_python_is_found() {
        assert_messages(&[
            // Alone, with its cause, in the runtime of componentize-py, and a group.
            (
                "Traceback (most recent call last):\n  File \"app.py\", line 3, in handle\n    \
                 raise RuntimeError(\"guest says boom\")\nRuntimeError: guest says boom\nthread \
                 '<unnamed>' (1) panicked at src/lib.rs:1:1:\npython died\n",
                "RuntimeError: guest says boom",
            ),
            (
                "Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: \
                 'a'\n\nDuring handling of the above exception, another exception \
                 occurred:\n\nTraceback (most recent call last):\n  File \"a.py\", line 3\n    \
                 f()\n    ^^^\nacme.LedgerError: gone\nsecond line\n",
                "acme.LedgerError: gone",
            ),
            (
                "  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", \
                 line 1\n  | ExceptionGroup: two (2 sub-exceptions)\n  +-+---------------- 1 \
                 ----------------\n",
                "ExceptionGroup: two (2 sub-exceptions)",
            ),
        ]);
    }

    #[test]
    fn message_of_javascript_is_found() {
        assert_messages(&[
            // QuickJS and SpiderMonkey in a component, then as a program.
            (
                "Exception { message: Some(\"no \\\"id\\\" in it\"), stack: Some(\"    at faults \
                 (/handler.js:29:29)\\n\") }\n",
                "no \"id\" in it",
            ),
            (
                "invalid variant tag value `undefined` (received `Error: guest says boom`) \
                 specified for `Failure`\n",
                "Error: guest says boom",
            ),
            (
                "TypeError: cannot read property 'title' of undefined\n    at handle \
                 (issues.js:23)\n    at <anonymous>\n",
                "TypeError: cannot read property 'title' of undefined",
            ),
            ("Uncaught RangeError: too deep\n    at f (a.js:1)\n", "Uncaught RangeError: too deep"),
        ]);
    }

    #[test]
    fn message_of_rust_is_found() {
        assert_messages(&[
            // Today's form with one line and several, and the form before 1.73.
            (
                "\nthread '<unnamed>' (1) panicked at src/lib.rs:30:20:\nguest says boom\nnote: \
                 run with `RUST_BACKTRACE=1`\n",
                "panicked at src/lib.rs:30:20: guest says boom",
            ),
            (
                "thread 'main' panicked at src/main.rs:5:5:\nassertion `left == right` failed\n  \
                 left: 1\n right: 2\nnote: run with `RUST_BACKTRACE=1`\n",
                "panicked at src/main.rs:5:5: assertion `left == right` failed left: 1 right: 2",
            ),
            (
                "thread 'main' panicked at 'boom', src/main.rs:2:5\nnote: run with \
                 `RUST_BACKTRACE=1`\n",
                "panicked at 'boom', src/main.rs:2:5",
            ),
            (
                "Error: ParseIntError { kind: InvalidDigit }\n",
                "Error: ParseIntError { kind: InvalidDigit }",
            ),
        ]);
    }

    #[test]
    fn message_of_go_is_found() {
        assert_messages(&[
            // Go, and TinyGo.
            (
                "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 \
                 [running]:\nmain.main()\n\texample.com/issues/main.go:71 +0x19\nexit status 2\n",
                "panic: runtime error: index out of range [5] with length 3",
            ),
            (
                "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [chan \
                 receive]:\nmain.main()\n\tmain.go:9 +0x2\n",
                "fatal error: all goroutines are asleep - deadlock!",
            ),
            (
                "panic: runtime error at 0x00012f: nil pointer dereference\n",
                "panic: runtime error at 0x00012f: nil pointer dereference",
            ),
            ("2026/11/28 10:00:00 the ledger is gone\n", "2026/11/28 10:00:00 the ledger is gone"),
        ]);
    }

    #[test]
    fn message_of_zig_is_found() {
        assert_messages(&[
            (
                "thread 1 panic: index out of bounds: index 5, len 3\nCannot print stack trace: \
                 debug info unavailable for target\n",
                "panic: index out of bounds: index 5, len 3",
            ),
            (
                "error: FileNotFound\nUnable to dump stack trace: debug info stripped\n",
                "error: FileNotFound",
            ),
        ]);
    }

    #[test]
    fn message_of_other_languages_is_found() {
        assert_messages(&[
            // C, C++, Swift, .NET, Java, OCaml, PHP, Lua, Nim, AssemblyScript.
            (
                "Assertion failed: n > 0 (tally.c: handle: 12)\n",
                "Assertion failed: n > 0 (tally.c: handle: 12)",
            ),
            (
                "tally: tally.c:12: handle: Assertion `n > 0' failed.\nAborted\n",
                "tally: tally.c:12: handle: Assertion `n > 0' failed.",
            ),
            (
                "terminate called after throwing an instance of 'std::runtime_error'\n  what():  \
                 ledger gone\nAborted\n",
                "std::runtime_error: ledger gone",
            ),
            (
                "libc++abi: terminating due to uncaught exception of type std::bad_alloc: \
                 std::bad_alloc\n",
                "libc++abi: terminating due to uncaught exception of type std::bad_alloc: \
                 std::bad_alloc",
            ),
            (
                "main/main.swift:5: Fatal error: Index out of range\n",
                "main/main.swift:5: Fatal error: Index out of range",
            ),
            (
                "Unhandled exception. System.InvalidOperationException: no title\n   at \
                 Program.Main() in Program.cs:line 4\n",
                "System.InvalidOperationException: no title",
            ),
            (
                "Unhandled Exception:\nSystem.Exception: no title\n  at A.B ()\n",
                "System.Exception: no title",
            ),
            (
                "Exception in thread \"main\" java.lang.IllegalStateException: no\n\tat \
                 A.main(A.java:3)\n",
                "Exception in thread \"main\" java.lang.IllegalStateException: no",
            ),
            ("Fatal error: exception Failure(\"no\")\n", "Fatal error: exception Failure(\"no\")"),
            (
                "PHP Fatal error:  Uncaught Exception: no in a.php:3\nStack trace:\n#0 {main}\n  \
                 thrown in a.php on line 3\n",
                "PHP Fatal error:  Uncaught Exception: no in a.php:3",
            ),
            (
                "lua: issues.lua:6: attempt to index a nil value (field 'repository')\nstack \
                 traceback:\n\t[C]: in ?\n",
                "lua: issues.lua:6: attempt to index a nil value (field 'repository')",
            ),
            (
                "fatal.nim(53) sysFatal\nError: unhandled exception: no [ValueError]\n",
                "Error: unhandled exception: no [ValueError]",
            ),
            (
                "abort: no title in assembly/index.ts(12:3)\n",
                "abort: no title in assembly/index.ts(12:3)",
            ),
            ("the pump is dry\nAborted\n", "the pump is dry"),
            ("abort\n", "abort"),
        ]);
        assert_eq!(found(" \n"), None);
    }

    #[test]
    fn ordinary_output_is_not_a_crash() {
        for line in ["starting", "error handling is on", "retry after panic", "Error: not now", ""]
        {
            assert!(!announces_crash(line, None), "{line}");
        }
    }

    #[test]
    fn coroutine_that_nothing_awaits_is_work_not_done() {
        let line = "<sys>:0: RuntimeWarning: coroutine 'WitWorld.handle' was never awaited";
        let said = of_work_undone(line).unwrap();
        assert!(said.starts_with("coroutine 'WitWorld.handle' was never awaited, so"), "{said}");
        assert!(of_work_undone("Task was destroyed but it is pending!").is_some());
        assert_eq!(of_work_undone("RuntimeWarning: divide by zero"), None);
    }

    #[test]
    fn panic_of_the_runtime_does_not_hide_the_guests_message() {
        let rust = "thread '<unnamed>' panicked at crates/runtime/src/lib.rs:9:1:";
        assert!(announces_crash(rust, None) && announces_crash(rust, Some("said in passing\n")));
        for first in
            ["Traceback (most recent call last):\n", "thread 'main' panicked at a.rs:1:1:\n"]
        {
            assert!(!announces_crash(rust, Some(first)), "{first}");
        }
        assert!(
            announces_crash("Traceback (most recent call last):", Some("panic: a\n")),
            "the last crash counts"
        );
    }
}
