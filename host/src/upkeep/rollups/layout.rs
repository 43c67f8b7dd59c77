//! The places of numbers in roll-ups, and the names of series. Places are only added: stored
//! roll-ups keep theirs.

use weir_core::time::Timestamp;
use weir_store::query::{CountRow, OldestWaiting};
use weir_store::rollup::Rollup;

use crate::observe::metrics::{SourceMetrics, TargetMetrics};
use crate::observe::series::OTHER;

/// The series of the hub.
pub const HUB: &str = "hub";

/// Kinds of series that may have many: sources, handlers, destinations, and the target `other`.
pub(super) const KINDS: usize = 4;

const SOURCE: &str = "source:";

/// Places in `sums` of a source.
pub mod source_sums {
    pub const ACCEPTED: usize = 0;
    pub const REFUSED: usize = 1;
    pub const STORED: usize = 2;
    pub const DUPLICATES: usize = 3;
    pub const UNROUTED: usize = 4;
}

/// Places in `sums` of a target.
pub mod target_sums {
    pub const SUCCEEDED: usize = 0;
    pub const FAILED: usize = 1;
    pub const DEAD_LETTERS: usize = 2;
}

/// Places in `peaks` of the hub.
pub mod hub_peaks {
    pub const WAITING: usize = 0;
    pub const DEAD_LETTERS: usize = 1;
    pub const OLDEST_WAITING_MS: usize = 2;
}

/// The series of a source.
pub(super) fn source(name: &str) -> Box<str> {
    format!("{SOURCE}{name}").into()
}

/// The source of a series; none if it is of something else.
#[must_use]
pub fn source_of(series: &str) -> Option<&str> {
    series.strip_prefix(SOURCE)
}

/// The series into which this one is merged when there are too many.
pub(super) fn others(series: &str) -> Box<str> {
    match series.split_once(':') {
        Some((kind, _)) => format!("{kind}:{OTHER}").into(),
        None => series.into(),
    }
}

pub(super) fn of_source(metrics: &SourceMetrics) -> Rollup {
    let (accepted, refused) = metrics.answers();
    let (stored, duplicates, unrouted) = metrics.event_counts();
    Rollup {
        sums: vec![accepted, refused, stored, duplicates, unrouted],
        peaks: Vec::new(),
        latency: metrics.ack_durations(),
    }
}

pub(super) fn of_target(metrics: &TargetMetrics) -> Rollup {
    let (succeeded, failed) = metrics.attempts();
    Rollup {
        sums: vec![succeeded, failed, metrics.given_up()],
        peaks: Vec::new(),
        latency: metrics.attempt_durations(),
    }
}

pub(super) fn of_hub(deliveries: &[CountRow], oldest: &[OldestWaiting], now: Timestamp) -> Rollup {
    let total = |dead: bool| {
        let rows = deliveries.iter().filter(|row| (row.what == "dead_letter") == dead);
        rows.map(|row| row.count).sum::<u64>()
    };
    let age = oldest.iter().map(|oldest| now.since(oldest.received_at)).max().unwrap_or_default();
    Rollup {
        peaks: vec![total(false), total(true), weir_core::time::millis(age)],
        ..Rollup::default()
    }
}
