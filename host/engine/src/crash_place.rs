//! Finds the file and line of a crash in the stack trace that a language printed, and tells the
//! lines of a guest apart from those that the runtime of its language adds. Pure.

/// The place of a crash in the guest's own code, such as `app.py:12`.
pub(crate) fn of_crash(stderr: &str) -> Option<String> {
    python(stderr).or_else(|| quickjs(stderr)).or_else(|| go(stderr))
}

/// The innermost frame of the last traceback that is in a file of the handler. The runtime of
/// componentize-py has those in folders with a number.
fn python(stderr: &str) -> Option<String> {
    let (_, trace) = stderr.rsplit_once("Traceback (most recent call last)")?;
    let frames = trace.lines().filter_map(|line| {
        let rest = line.trim_start_matches([' ', '|']).strip_prefix("File \"")?;
        let (file, rest) = rest.split_once("\", line ")?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        Some((file, &rest[..digits]))
    });
    let frames: Vec<_> = frames.collect();
    let own = |(file, line): &(&str, &str)| {
        let below = file.strip_prefix('/')?.trim_start_matches(|c: char| c.is_ascii_digit());
        let below = below.strip_prefix('/').filter(|_| !file.starts_with("//"))?;
        file[1..].starts_with(|c: char| c.is_ascii_digit()).then(|| format!("{below}:{line}"))
    };
    let innermost = || frames.last().map(|(file, line)| format!("{file}:{line}"));
    frames.iter().rev().find_map(own).or_else(innermost)
}

/// The first frame of `stack: Some("    at handle (handler.js:23:7)…")`.
fn quickjs(stderr: &str) -> Option<String> {
    let (_, after) = stderr.split_once("stack: Some(\"")?;
    let (stack, _) = debug_text(after)?;
    let place = |line: &str| {
        let place = line.trim().strip_prefix("at ")?.rsplit_once('(')?.1.strip_suffix(')')?;
        let place = place.trim_start_matches('/');
        place.contains(':').then(|| place.to_owned())
    };
    stack.lines().find_map(place)
}

/// The first frame below `goroutine` that is not of the runtime: a function, and in the line below
/// it the file with a tab and an offset.
fn go(stderr: &str) -> Option<String> {
    let (_, trace) = stderr.split_once("\ngoroutine ")?;
    let mut lines = trace.lines().skip(1).peekable();
    while let Some(function) = lines.next() {
        let Some(place) = lines.peek().and_then(|line| line.strip_prefix('\t')) else { continue };
        let is_runtime = ["panic(", "runtime.", "runtime/", "internal/"];
        if !is_runtime.iter().any(|head| function.starts_with(head)) {
            return Some(place.split(" +0x").next().unwrap_or(place).to_owned());
        }
    }
    None
}

/// The text of a Rust string in its debug form, without its first quote, and what follows it.
pub(crate) fn debug_text(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((text, &quoted[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                escaped => text.push(escaped),
            },
            c => text.push(c),
        }
    }
    None
}

/// A line on stderr, as the log shows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StderrLine {
    /// Of the guest, unchanged.
    Own,
    /// Of the runtime of its language, about its own end after a crash of the guest.
    Noise,
    /// An exception that the runtime printed on one line.
    Exception(Vec<String>),
}

/// Beginnings of the line in which a runtime written in Rust panics after a crash of its guest.
const RUNTIME_PANICS: [&str; 2] =
    ["panicked at crates/runtime/src/interpreter.rs:", "panicked at runtime/src/lib.rs:"];

/// Lines, or their beginnings, that follow such a panic.
const AFTER_PANIC: [&str; 6] = [
    "Failed to call '",
    "Python function threw an unexpected exception",
    "stack backtrace:",
    "note: Some details are omitted, run with `RUST_BACKTRACE",
    "note: run with `RUST_BACKTRACE",
    "note: run with the environment variable `RUST_BACKTRACE",
];

/// True if a runtime begins its panic with this line.
pub(crate) fn begins_runtime_panic(line: &str) -> bool {
    line.starts_with("thread '") && RUNTIME_PANICS.iter().any(|place| line.contains(place))
}

/// The kind of a line. `in_panic` is true after the beginning of a runtime's panic.
pub(crate) fn classified(line: &str, in_panic: bool) -> StderrLine {
    if begins_runtime_panic(line) {
        return StderrLine::Noise;
    }
    if !in_panic {
        return StderrLine::Own;
    }
    if let Some(exception) = line.strip_prefix("Exception { message: Some(\"") {
        return exception_lines(exception).map_or(StderrLine::Own, StderrLine::Exception);
    }
    let is_noise = line.trim().is_empty()
        || line.trim() == ")"
        || AFTER_PANIC.iter().any(|head| line.starts_with(head));
    if is_noise { StderrLine::Noise } else { StderrLine::Own }
}

fn exception_lines(exception: &str) -> Option<Vec<String>> {
    let (message, rest) = debug_text(exception)?;
    let mut lines: Vec<String> = message.lines().map(str::to_owned).collect();
    if let Some((_, stack)) = rest.split_once("stack: Some(\"") {
        lines.extend(debug_text(stack)?.0.lines().map(str::to_owned));
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_in_python_is_the_innermost_of_the_handler() {
        let own = "Traceback (most recent call last):\n  File \"/0/app.py\", line 20, in handle\n\
                   \x20 File \"/0/lib/rule.py\", line 3, in decide\nKeyError: 'titel'\n";
        assert_eq!(of_crash(own).as_deref(), Some("lib/rule.py:3"));
        let below = "Traceback (most recent call last):\n  File \"/0/app.py\", line 20, in handle\n\
                     \x20 File \"/python/json/decoder.py\", line 355, in decode\nValueError: x\n";
        assert_eq!(of_crash(below).as_deref(), Some("app.py:20"));
        let program =
            "Traceback (most recent call last):\n  File \"main.py\", line 2\nValueError\n";
        assert_eq!(of_crash(program).as_deref(), Some("main.py:2"));
    }

    const QUICKJS: &str = "Exception { message: Some(\"TypeError: no \\\"id\\\"\"), stack: Some(\"    \
        at next (native)\\n    at decide (rule.js:4:10)\\n    at handle (handler.js:9:3)\\n\") })";

    #[test]
    fn place_in_javascript_is_the_first_frame_in_a_file() {
        assert_eq!(of_crash(QUICKJS).as_deref(), Some("rule.js:4:10"));
        let none = "Exception { message: Some(\"x\"), stack: Some(\"\") })";
        assert_eq!(of_crash(none), None);
    }

    #[test]
    fn place_in_go_is_the_first_frame_outside_of_the_runtime() {
        let go = "panic: no title\n\ngoroutine 1 [running]:\npanic({0x1, 0x2})\n\t\
                  runtime/panic.go:860 +0x23\nhandler/rule.Decide({0x1})\n\thandler/rule/rule.go:30 \
                  +0x19\nmain.handle()\n\thandler/main.go:71 +0x19\n";
        assert_eq!(of_crash(go).as_deref(), Some("handler/rule/rule.go:30"));
        assert_eq!(of_crash("panic: no title\n"), None);
    }

    #[test]
    fn lines_of_a_runtime_are_told_apart() {
        let head = "thread '<unnamed>' (1) panicked at crates/runtime/src/interpreter.rs:51:31:";
        assert!(begins_runtime_panic(head));
        assert!(!begins_runtime_panic("thread '<unnamed>' panicked at src/lib.rs:30:20:"));
        for noise in
            [head, "Failed to call 'handle': Value(Exception(", ")", "stack backtrace:", ""]
        {
            assert_eq!(classified(noise, true), StderrLine::Noise, "{noise}");
        }
        for own in ["the ledger is gone", ")", "", "stack backtrace:"] {
            assert_eq!(classified(own, false), StderrLine::Own, "{own}");
        }
        let lines = [
            "TypeError: no \"id\"",
            "    at next (native)",
            "    at decide (rule.js:4:10)",
            "    at handle (handler.js:9:3)",
        ];
        let lines = lines.map(str::to_owned).to_vec();
        assert_eq!(classified(QUICKJS, true), StderrLine::Exception(lines));
        assert_eq!(classified(QUICKJS, false), StderrLine::Own);
    }
}
