//! The log of one run: its lines, within limits, and the parts of stderr that explain a crash.

use std::fmt;

use weir_core::bounds::{LOG_LINE_BYTES_MAX, REASON_BYTES_MAX};

use crate::crash_message;
use crate::crash_place::{self, StderrLine};

/// Added to the size of each line, so that empty lines count too.
const LINE_OVERHEAD_BYTES: usize = 16;

/// Bytes of stderr kept besides the lines, for the reason of a crash.
const STDERR_TAIL_BYTES: usize = 4 * 1024;

/// The level of a line, or the stream it was printed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
    /// Printed on stdout.
    Stdout,
    /// Printed on stderr.
    Stderr,
}

impl LogLevel {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A line of the handler's text. It may have control characters, which its readers must escape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub level: LogLevel,
    pub message: Box<str>,
}

/// The log of a run, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunLog {
    pub lines: Vec<LogLine>,
    /// True if a line was cut or left out.
    pub truncated: bool,
}

/// Collects the log during a run.
#[derive(Debug)]
pub(crate) struct LogRecorder {
    log: RunLog,
    room: usize,
    last_error: Option<Box<str>>,
    stdout: PartialLine,
    stderr: PartialLine,
    stderr_tail: Vec<u8>,
    /// The lines on stderr since the one that announces a crash, cut to [`STDERR_TAIL_BYTES`].
    crash: Option<String>,
    /// The warning on stderr about work that was not done.
    undone: Option<String>,
    /// True once the runtime of the guest's language began its own panic on stderr.
    in_runtime_panic: bool,
}

/// A line that is printed in pieces and has no end yet.
#[derive(Debug, Default)]
struct PartialLine {
    bytes: Vec<u8>,
    /// True if a part was dropped.
    cut: bool,
}

impl LogRecorder {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            log: RunLog::default(),
            room: bytes_max,
            last_error: None,
            stdout: PartialLine::default(),
            stderr: PartialLine::default(),
            stderr_tail: Vec::new(),
            crash: None,
            undone: None,
            in_runtime_panic: false,
        }
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, level: LogLevel, message: &str) {
        if level == LogLevel::Error {
            self.last_error = Some(cut(message, REASON_BYTES_MAX).into());
        }
        self.keep(level, message);
    }

    fn keep(&mut self, level: LogLevel, message: &str) {
        if self.room <= LINE_OVERHEAD_BYTES {
            self.room = 0;
            self.log.truncated = true;
            return;
        }
        let kept = cut(message, LOG_LINE_BYTES_MAX.min(self.room - LINE_OVERHEAD_BYTES));
        self.log.truncated |= kept.len() < message.len();
        self.room -= kept.len() + LINE_OVERHEAD_BYTES;
        self.log.lines.push(LogLine { level, message: kept.into() });
    }

    /// Adds printed bytes, line by line.
    pub(crate) fn printed(&mut self, level: LogLevel, bytes: &[u8]) {
        if level == LogLevel::Stderr {
            self.remember_stderr(bytes);
        }
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let partial = self.partial(level);
            let take = text.len().min(LOG_LINE_BYTES_MAX - partial.bytes.len());
            partial.bytes.extend_from_slice(&text[..take]);
            partial.cut |= take < text.len();
            if ends {
                self.end_line(level);
            }
        }
    }

    fn partial(&mut self, level: LogLevel) -> &mut PartialLine {
        if level == LogLevel::Stderr { &mut self.stderr } else { &mut self.stdout }
    }

    fn end_line(&mut self, level: LogLevel) {
        let PartialLine { bytes, cut } = std::mem::take(self.partial(level));
        self.log.truncated |= cut;
        let text = String::from_utf8_lossy(&bytes);
        if level == LogLevel::Stderr {
            self.remember_crash(&text);
            self.undone = self.undone.take().or_else(|| crash_message::of_work_undone(&text));
            self.keep_stderr(text.trim_end_matches('\r'));
        } else {
            self.keep(level, text.trim_end_matches('\r'));
        }
    }

    /// Keeps a line on stderr, unless the runtime of the guest's language says in it how it ends
    /// after the guest's crash.
    fn keep_stderr(&mut self, line: &str) {
        match crash_place::classified(line, self.in_runtime_panic) {
            StderrLine::Own => self.keep(LogLevel::Stderr, line),
            StderrLine::Noise => self.in_runtime_panic = true,
            StderrLine::Exception(lines) => {
                lines.iter().for_each(|line| self.keep(LogLevel::Stderr, line));
            }
        }
    }

    /// A stack trace may be longer than the kept end of stderr, and its message comes before it.
    fn remember_crash(&mut self, line: &str) {
        if crash_message::announces_crash(line, self.crash.as_deref()) {
            self.crash = Some(String::new());
        }
        let Some(crash) = &mut self.crash else { return };
        if crash.len() < STDERR_TAIL_BYTES {
            crash.push_str(cut(line, STDERR_TAIL_BYTES));
            crash.push('\n');
        }
    }

    fn remember_stderr(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(STDERR_TAIL_BYTES)..];
        let excess = (self.stderr_tail.len() + bytes.len()).saturating_sub(STDERR_TAIL_BYTES);
        self.stderr_tail.drain(..excess);
        self.stderr_tail.extend_from_slice(bytes);
    }

    /// The last line with level error.
    pub(crate) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// The end of stderr.
    pub(crate) fn stderr_tail(&self) -> String {
        String::from_utf8_lossy(&self.stderr_tail).into_owned()
    }

    /// The warning about work that was not done.
    pub(crate) fn undone(&self) -> Option<&str> {
        self.undone.as_deref()
    }

    /// The lines on stderr about the crash, or else the end of stderr.
    pub(crate) fn stderr_of_crash(&self) -> String {
        match &self.crash {
            Some(crash) => format!("{crash}{}", String::from_utf8_lossy(&self.stderr.bytes)),
            None => self.stderr_tail(),
        }
    }

    /// The log, with lines that have no end.
    pub(crate) fn finish(&mut self) -> RunLog {
        for level in [LogLevel::Stdout, LogLevel::Stderr] {
            if !self.partial(level).bytes.is_empty() {
                self.end_line(level);
            }
        }
        std::mem::take(&mut self.log)
    }
}

/// At most `max` bytes of `text`, cut between characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lines_count_for_the_limit() {
        let mut book = LogRecorder::new(1600);
        for _ in 0..1_000_000 {
            book.line(LogLevel::Info, "");
        }
        let log = book.finish();
        assert!(log.truncated && log.lines.len() < 101, "{}", log.lines.len());
    }

    #[test]
    fn last_error_is_known_when_the_log_is_full() {
        let mut book = LogRecorder::new(100);
        book.line(LogLevel::Info, &"x".repeat(500));
        book.line(LogLevel::Error, "the ledger is gone");
        assert_eq!(book.last_error(), Some("the ledger is gone"));
        assert!(book.finish().truncated);
    }

    #[test]
    fn printed_bytes_become_lines_in_any_pieces() {
        let mut book = LogRecorder::new(1000);
        for piece in ["on", "e\r\ntwo\n\nth", "ree"] {
            book.printed(LogLevel::Stdout, piece.as_bytes());
        }
        book.printed(LogLevel::Stderr, b"\xffoops\n");
        let log = book.finish();
        let lines: Vec<_> = log.lines.iter().map(|l| (l.level, &*l.message)).collect();
        let out = LogLevel::Stdout;
        assert_eq!(
            lines,
            [
                (out, "one"),
                (out, "two"),
                (out, ""),
                (LogLevel::Stderr, "\u{fffd}oops"),
                (out, "three")
            ]
        );
    }

    #[test]
    fn line_is_cut_between_characters() {
        assert_eq!(cut("aé", 2), "a");
        let mut book = LogRecorder::new(1 << 20);
        book.line(LogLevel::Info, &"é".repeat(LOG_LINE_BYTES_MAX));
        let log = book.finish();
        assert!(log.truncated && log.lines[0].message.len() <= LOG_LINE_BYTES_MAX);
    }

    #[test]
    fn panic_of_a_runtime_is_not_in_the_log() {
        let mut book = LogRecorder::new(1000);
        let printed = "begun\n\nthread '<unnamed>' (1) panicked at \
                       crates/runtime/src/interpreter.rs:51:31:\nFailed to call 'handle': \
                       Value(Exception(\nException { message: Some(\"boom\"), stack: Some(\"    at handle \
                       (handler.js:3:1)\\n\") })\n)\nnote: run with `RUST_BACKTRACE=1`\n";
        book.printed(LogLevel::Stderr, printed.as_bytes());
        let log = book.finish();
        let lines: Vec<_> = log.lines.iter().map(|line| &*line.message).collect();
        assert_eq!(lines, ["begun", "", "boom", "    at handle (handler.js:3:1)"]);
    }

    #[test]
    fn only_the_end_of_stderr_is_kept() {
        let mut book = LogRecorder::new(10);
        for n in 0..10_000 {
            book.printed(LogLevel::Stderr, format!("line {n}\n").as_bytes());
        }
        let tail = book.stderr_tail();
        assert!(tail.len() <= STDERR_TAIL_BYTES && tail.ends_with("line 9999\n"));
    }
}
