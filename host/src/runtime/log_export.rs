//! A copy of the log for an exporter: records in a bounded queue that never waits.
//!
//! It has the records of the hub only, not those of its libraries, and not those of the export
//! itself: a record about a failed export must not cause another export.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::clock;

/// The target of records about the export itself.
pub(crate) const EXPORT: &str = "weir::export";
/// The field with the id of a trace.
pub(crate) const TRACE_FIELD: &str = "trace";

/// Records that wait for their export; further ones are dropped and counted.
const WAITING_MAX: usize = 4_096;
/// Fields of a record, and bytes of each; the message has the limit too.
const FIELDS_MAX: usize = 32;
const FIELD_BYTES_MAX: usize = 4 * 1024;

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedRecord {
    pub at: SystemTime,
    pub level: Level,
    pub message: String,
    /// The module that wrote it.
    pub module: &'static str,
    pub fields: Vec<(&'static str, String)>,
}

/// The end of the queue at which records come out.
#[derive(Debug)]
pub struct ExportedRecords {
    pub records: mpsc::Receiver<ExportedRecord>,
    /// Records that were dropped since this was last set to zero.
    pub dropped: Arc<AtomicU64>,
}

/// Copies records of the log into the queue.
#[derive(Debug)]
pub struct LogCopy {
    records: mpsc::Sender<ExportedRecord>,
    dropped: Arc<AtomicU64>,
}

impl LogCopy {
    /// The copy of the log, and the queue that it fills.
    #[must_use]
    pub fn new() -> (Self, ExportedRecords) {
        let (sender, records) = mpsc::channel(WAITING_MAX);
        let dropped = Arc::<AtomicU64>::default();
        (Self { records: sender, dropped: dropped.clone() }, ExportedRecords { records, dropped })
    }
}

/// True for records of the hub that are not about the export.
pub(super) fn is_copied(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("weir") && metadata.target() != EXPORT
}

impl<S: Subscriber> Layer<S> for LogCopy {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut record = ExportedRecord {
            at: clock::precise(),
            level: *metadata.level(),
            message: String::new(),
            module: metadata.target(),
            fields: Vec::new(),
        };
        event.record(&mut record);
        if self.records.try_send(record).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

impl Visit for ExportedRecord {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

impl ExportedRecord {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let mut text = Bounded(String::new());
        // It ends at the limit with an error, and keeps the beginning.
        let _complete = text.write_fmt(value);
        if field.name() == "message" {
            self.message = text.0;
        } else if self.fields.len() < FIELDS_MAX {
            self.fields.push((field.name(), text.0));
        }
    }
}

/// A text that ends at the limit.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = FIELD_BYTES_MAX - self.0.len();
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::filter_fn;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn copied(act: impl FnOnce()) -> (Vec<ExportedRecord>, u64) {
        let (copy, mut queue) = LogCopy::new();
        let layer = copy.with_filter(filter_fn(is_copied));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), act);
        let records = std::iter::from_fn(|| queue.records.try_recv().ok()).collect();
        (records, queue.dropped.load(Relaxed))
    }

    #[test]
    fn a_record_is_copied_with_its_fields_up_to_the_limits() {
        let long = "é".repeat(FIELD_BYTES_MAX);
        let (records, dropped) = copied(|| {
            tracing::warn!(target: "weir::x", count = 3_u64, text = %long, "two\nlines");
        });
        let [record] = &records[..] else { panic!("one record") };
        assert_eq!((record.level, record.message.as_str()), (Level::WARN, "two\nlines"));
        assert_eq!(record.fields[0], ("count", "3".to_owned()));
        assert_eq!((record.fields[1].1.len(), dropped), (FIELD_BYTES_MAX, 0));
    }

    #[test]
    fn the_export_and_the_libraries_are_not_copied() {
        let (records, _) = copied(|| {
            tracing::warn!(target: EXPORT, "cannot export");
            tracing::debug!(target: "hyper::client", "connected");
        });
        assert_eq!(records, []);
    }

    #[test]
    fn records_above_the_limit_are_counted_and_dropped() {
        let (records, dropped) = copied(|| {
            for _ in 0..WAITING_MAX + 2 {
                tracing::info!(target: "weir", "again");
            }
        });
        assert_eq!((records.len(), dropped), (WAITING_MAX, 2));
    }
}
