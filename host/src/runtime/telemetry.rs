//! The log: one record per line on standard error, as text or as JSON.
//!
//! Messages are static text, facts are fields. Fields may hold bytes of a sender, so control
//! characters are escaped in every line before it is written.

use std::io::{self, Write};

use thiserror::Error;
use tracing_subscriber::filter::{FilterExt as _, ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Registry};

use super::log_export::{self, LogCopy};
use crate::program::printable;

/// The settings of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// A level or a filter of `tracing`.
    pub filter: String,
    /// JSON lines instead of text.
    pub json: bool,
}

/// The reason why the log cannot start.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter is invalid. The configuration checks it first.
    #[error("read the log filter")]
    Filter(#[from] ParseError),
    /// The process has a log already.
    #[error("start the log")]
    AlreadyStarted(#[from] TryInitError),
}

/// The target of the debug records about each event, run and send.
pub(crate) const FLOW: &str = "weir::flow";

/// A receiver of records and spans: the log, and its copy.
type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The log of the process while it is alive. Keep it until the process ends.
#[derive(Debug)]
#[must_use = "the log belongs to the process until this is dropped"]
pub struct Telemetry(());

/// Starts the log of the process, with a copy of it for an exporter. In development it also has a
/// line for each event, run and send.
pub fn start(
    settings: &LogSettings,
    log_each_event: bool,
    copy: Option<LogCopy>,
) -> Result<Telemetry, TelemetryError> {
    tracing_subscriber::registry().with(layers(settings, log_each_event, copy)?).try_init()?;
    Ok(Telemetry(()))
}

fn layers(
    settings: &LogSettings,
    log_each_event: bool,
    copy: Option<LogCopy>,
) -> Result<Vec<BoxedLayer>, TelemetryError> {
    let words = filter(settings, log_each_event);
    let filter = EnvFilter::try_new(&words)?;
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .with_writer(SanitizedLines(io::stderr));
    let log: BoxedLayer = if settings.json {
        let json = layer.json().flatten_event(true).with_current_span(true).with_span_list(false);
        json.with_filter(filter).boxed()
    } else {
        layer.with_filter(filter).boxed()
    };
    let Some(copy) = copy else { return Ok(vec![log]) };
    let copied = EnvFilter::try_new(&words)?.and(filter_fn(log_export::is_copied));
    Ok(vec![log, copy.with_filter(copied).boxed()])
}

/// The filter to use. A filter that already names a target of the hub is not changed.
fn filter(settings: &LogSettings, log_each_event: bool) -> String {
    match log_each_event && !settings.filter.contains("weir") {
        true => format!("{},{FLOW}=debug", settings.filter),
        false => settings.filter.clone(),
    }
}

/// Makes writers that escape control characters.
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

/// Writes each record as one line. The subscriber hands over a whole record in one call.
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
    fn development_logs_each_event_unless_the_filter_names_the_hub() {
        let shown = |text: &str, development| {
            filter(&LogSettings { filter: text.into(), json: false }, development)
        };
        assert_eq!(shown("info", true), "info,weir::flow=debug");
        assert_eq!(shown("info", false), "info");
        assert_eq!(shown("info,weir::flow=off", true), "info,weir::flow=off");
    }

    #[test]
    fn a_field_cannot_forge_a_line_or_control_the_terminal() {
        let text = logged(|| {
            let kind = "push\n2026-11-23T00:00:00Z ERROR forged\u{1b}[2J\u{9b}1m";
            tracing::info!(kind = %kind, "event stored");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("event stored") && text.contains("ERROR forged"), "{text}");
        assert!(!text.trim_end().contains(char::is_control), "{text:?}");
    }
    #[test]
    fn bytes_of_strangers_stay_in_their_line_of_text() {
        for (name, body) in weir_testing::strangers::bodies() {
            let words = String::from_utf8_lossy(&body).into_owned();
            let text = logged(|| tracing::info!(kind = %words, said = ?words, "{words}"));
            assert_eq!(text.lines().count(), 1, "{name}: {text}");
            assert_eq!(weir_testing::strangers::first_active(&text), None, "{name}: {text:?}");
        }
    }
}
