//! The log: one line a record on standard error, as text or as JSON. Texts are static, facts are fields.
//!
//! Fields may hold strangers' bytes, so every line is made harmless before it is written.

use std::io::{self, Write};

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::util::TryInitError;

use crate::config::Log;
use crate::program::printable;

/// A log that cannot be started.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The filter says nothing; the configuration checks it first.
    #[error("read the log filter")]
    Filter(#[from] ParseError),
    /// There is one already.
    #[error("start the log")]
    Taken(#[from] TryInitError),
}

/// The target of the records of each event, run and send, with ids, at the level debug.
pub(crate) const FLOW: &str = "weir::flow";

/// Starts the log for the whole process; once. In development there is a line for each event, run and send, too.
pub fn start(log: &Log, development: bool) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(filter(log, development))?;
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .with_writer(SanitizedLines(io::stderr));
    let subscriber = tracing_subscriber::registry().with(filter);
    if log.json {
        let layer = layer.json().flatten_event(true).with_current_span(true).with_span_list(false);
        subscriber.with(layer).try_init()?;
    } else {
        subscriber.with(layer).try_init()?;
    }
    Ok(())
}

/// The filter that is meant. One that names what becomes of events, by name or by module, stays as it is.
fn filter(log: &Log, development: bool) -> String {
    match development && !log.filter.contains("weir") {
        true => format!("{},{FLOW}=debug", log.filter),
        false => log.filter.clone(),
    }
}

/// Makes writers whose every line is harmless.
#[derive(Debug, Clone, Copy)]
struct SanitizedLines<M>(M);

impl<'a, M, W> MakeWriter<'a> for SanitizedLines<M>
where
    M: Fn() -> W + 'a,
    W: Write,
{
    type Writer = SanitizedLine<W>;

    fn make_writer(&'a self) -> SanitizedLine<W> {
        SanitizedLine { to: (self.0)() }
    }
}

/// Writes records, each in one call as the subscriber hands them over, each as one line.
#[derive(Debug)]
struct SanitizedLine<W> {
    to: W,
}

impl<W: Write> Write for SanitizedLine<W> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(record);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let mut line = printable::line(text).into_owned();
        line.push('\n');
        self.to.write_all(line.as_bytes())?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(act: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(SanitizedLines(move || writer.clone()));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, act);
        String::from_utf8(memory.0.lock().clone()).unwrap()
    }

    #[test]
    fn development_shows_what_becomes_of_events_unless_the_filter_says_otherwise() {
        let shown = |text: &str, development| {
            filter(&Log { filter: text.into(), json: false }, development)
        };
        assert_eq!(shown("info", true), "info,weir::flow=debug");
        assert_eq!(shown("info", false), "info");
        assert_eq!(shown("info,weir::flow=off", true), "info,weir::flow=off");
    }

    #[test]
    fn a_stranger_cannot_forge_a_line_or_steer_the_terminal() {
        let text = logged(|| {
            let kind = "push\n2026-11-23T00:00:00Z ERROR forged\u{1b}[2J\u{9b}1m";
            tracing::info!(kind = %kind, "event stored");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("event stored") && text.contains("ERROR forged"), "{text}");
        assert!(!text.trim_end().contains(char::is_control), "{text:?}");
    }
}
