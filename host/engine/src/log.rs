//! The log of one run: lines within bounds, and what the reason of a crash is later read from.

use std::fmt;

use weir_core::bounds::{LOG_LINE_BYTES_MAX, REASON_BYTES_MAX};

use crate::last_words;

/// Charged for each line beside its text, so that a million empty lines are not free.
const LINE_OVERHEAD_BYTES: usize = 16;

/// Bytes of stderr kept apart from the lines, for the reason of a crash.
const STDERR_TAIL_BYTES: usize = 4 * 1024;

/// Who says it, and how loud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Details for whoever is looking for a fault.
    Debug,
    /// What happened.
    Info,
    /// Something is odd, and was dealt with.
    Warn,
    /// Something is wrong.
    Error,
    /// GuestOutput on stdout.
    Stdout,
    /// GuestOutput on stderr.
    Stderr,
}

impl LogLevel {
    /// The word.
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

/// One line. Its text is the handler's: whoever prints it escapes control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Who says it.
    pub level: LogLevel,
    /// What.
    pub message: Box<str>,
}

/// What a run wrote, in the order in which it did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Log {
    /// The lines kept.
    pub lines: Vec<LogLine>,
    /// Whether a line or more was cut or left out.
    pub truncated: bool,
}

/// Takes lines while a run lasts.
#[derive(Debug)]
pub(crate) struct LogRecorder {
    log: Log,
    room: usize,
    last_error: Option<Box<str>>,
    stdout: Partial,
    stderr: Partial,
    stderr_tail: Vec<u8>,
    /// What was printed on stderr from the line on that says that the program dies, up to as many bytes.
    death: Option<String>,
    /// What its language said on stderr of work that was left undone.
    undone: Option<String>,
}

/// The line being printed, whose end has not come.
#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    /// Some of it was dropped.
    cut: bool,
}

impl LogRecorder {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            log: Log::default(),
            room: bytes_max,
            last_error: None,
            stdout: Partial::default(),
            stderr: Partial::default(),
            stderr_tail: Vec::new(),
            death: None,
            undone: None,
        }
    }

    /// Takes one line.
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

    /// Takes bytes printed on a stream, line by line.
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

    fn partial(&mut self, level: LogLevel) -> &mut Partial {
        if level == LogLevel::Stderr { &mut self.stderr } else { &mut self.stdout }
    }

    fn end_line(&mut self, level: LogLevel) {
        let Partial { bytes, cut } = std::mem::take(self.partial(level));
        self.log.truncated |= cut;
        let text = String::from_utf8_lossy(&bytes);
        if level == LogLevel::Stderr {
            self.remember_death(&text);
            self.undone = self.undone.take().or_else(|| last_words::of_work_undone(&text));
        }
        self.keep(level, text.trim_end_matches('\r'));
    }

    /// A stack trace may be longer than what is kept of the end of stderr, and what it is of stands above it.
    fn remember_death(&mut self, line: &str) {
        if last_words::begins(line, self.death.as_deref()) {
            self.death = Some(String::new());
        }
        let Some(death) = &mut self.death else { return };
        if death.len() < STDERR_TAIL_BYTES {
            death.push_str(cut(line, STDERR_TAIL_BYTES));
            death.push('\n');
        }
    }

    fn remember_stderr(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(STDERR_TAIL_BYTES)..];
        let excess = (self.stderr_tail.len() + bytes.len()).saturating_sub(STDERR_TAIL_BYTES);
        self.stderr_tail.drain(..excess);
        self.stderr_tail.extend_from_slice(bytes);
    }

    /// The last line written as an error.
    pub(crate) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// The end of what was printed on stderr.
    pub(crate) fn stderr_tail(&self) -> String {
        String::from_utf8_lossy(&self.stderr_tail).into_owned()
    }

    /// What its language said of work that was left undone.
    pub(crate) fn undone(&self) -> Option<&str> {
        self.undone.as_deref()
    }

    /// What was printed on stderr as the program died, or else the end of what was printed there.
    pub(crate) fn stderr_of_a_death(&self) -> String {
        match &self.death {
            Some(death) => format!("{death}{}", String::from_utf8_lossy(&self.stderr.bytes)),
            None => self.stderr_tail(),
        }
    }

    /// The log, with lines that were never ended.
    pub(crate) fn finish(&mut self) -> Log {
        for level in [LogLevel::Stdout, LogLevel::Stderr] {
            if !self.partial(level).bytes.is_empty() {
                self.end_line(level);
            }
        }
        std::mem::take(&mut self.log)
    }
}

/// At most `max` bytes of `text`, ending between characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_empty_lines_is_cut_too() {
        let mut book = LogRecorder::new(1600);
        for _ in 0..1_000_000 {
            book.line(LogLevel::Info, "");
        }
        let log = book.finish();
        assert!(log.truncated && log.lines.len() < 101, "{}", log.lines.len());
    }

    #[test]
    fn the_last_error_is_known_even_when_the_log_is_full() {
        let mut book = LogRecorder::new(100);
        book.line(LogLevel::Info, &"x".repeat(500));
        book.line(LogLevel::Error, "the ledger is gone");
        assert_eq!(book.last_error(), Some("the ledger is gone"));
        assert!(book.finish().truncated);
    }

    #[test]
    fn printed_bytes_become_lines_whatever_the_pieces() {
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
    fn a_line_is_cut_between_characters() {
        assert_eq!(cut("aé", 2), "a");
        let mut book = LogRecorder::new(1 << 20);
        book.line(LogLevel::Info, &"é".repeat(LOG_LINE_BYTES_MAX));
        let log = book.finish();
        assert!(log.truncated && log.lines[0].message.len() <= LOG_LINE_BYTES_MAX);
    }

    #[test]
    fn only_the_end_of_stderr_is_kept_apart() {
        let mut book = LogRecorder::new(10);
        for n in 0..10_000 {
            book.printed(LogLevel::Stderr, format!("line {n}\n").as_bytes());
        }
        let tail = book.stderr_tail();
        assert!(tail.len() <= STDERR_TAIL_BYTES && tail.ends_with("line 9999\n"));
    }
}
