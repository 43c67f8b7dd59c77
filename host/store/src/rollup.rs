//! Roll-ups: what a source, a target or the hub counted in a minute and in an hour.
//!
//! The store adds and merges numbers by their place in a list. Their meaning is the caller's.

use std::time::Duration;

use weir_core::time::Timestamp;

/// A minute, the shortest time of a roll-up.
pub const MINUTE: Duration = Duration::from_secs(60);

/// An hour, the longest time of a stored roll-up.
pub const HOUR: Duration = Duration::from_secs(3_600);

/// Time for which minutes are kept.
pub const MINUTES_KEPT: Duration = Duration::from_secs(26 * 3_600);

/// Time for which hours are kept.
pub const HOURS_KEPT: Duration = Duration::from_secs(9 * 24 * 3_600);

/// Series of one call of `rollups_put`.
pub const ROLLUP_SERIES_MAX: usize = 512;

/// Numbers in one list of a roll-up.
pub const ROLLUP_NUMBERS_MAX: usize = 32;

/// Steps of one answer.
pub const ROLLUP_STEPS_MAX: u64 = 2_000;

/// The start of the step that a time is in. Steps begin at whole multiples of their length.
#[must_use]
pub fn step_start(at: Timestamp, step: Duration) -> Timestamp {
    let step = weir_core::time::millis(step).max(1);
    Timestamp::from_millis(at.as_millis() / step * step)
}

/// Numbers of one series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rollup {
    /// Counts. Merging adds them, each to the one at the same place.
    pub sums: Vec<u64>,
    /// Levels. Merging keeps the highest of each place.
    pub peaks: Vec<u64>,
    /// Durations by bucket. Merging adds them.
    pub latency: Vec<u64>,
}

impl Rollup {
    /// Adds another roll-up of the same series.
    pub fn merge(&mut self, other: &Self) {
        join(&mut self.sums, &other.sums, u64::saturating_add);
        join(&mut self.peaks, &other.peaks, u64::max);
        join(&mut self.latency, &other.latency, u64::saturating_add);
    }

    /// The lists, in the order in which they are stored.
    #[must_use]
    pub fn lists(&self) -> [&[u64]; 3] {
        [&self.sums, &self.peaks, &self.latency]
    }
}

fn join(into: &mut Vec<u64>, from: &[u64], by: impl Fn(u64, u64) -> u64) {
    if into.len() < from.len() {
        into.resize(from.len(), 0);
    }
    for (into, from) in into.iter_mut().zip(from) {
        *into = by(*into, *from);
    }
}

/// Roll-ups to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollupBatch {
    /// Number that the caller gives to this batch. A repeat of the batch that was stored last does
    /// nothing.
    pub id: u64,
    /// A time in the minute that it belongs to.
    pub at: Timestamp,
    /// By series: `hub`, `source:github`, `handler:orders`, `destination:ops`.
    pub rows: Vec<(Box<str>, Rollup)>,
}

/// Selection of roll-ups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollupQuery {
    pub from: Timestamp,
    pub to: Timestamp,
    /// Length of a step: whole minutes, or whole hours. It is raised to an hour if it asks for
    /// minutes that are not kept any more.
    pub step: Duration,
    /// One series; none for all of them.
    pub series: Option<Box<str>>,
}

/// Roll-ups by step. A step without numbers is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rollups {
    /// Length of a step, as it was used. Steps begin at whole multiples of it.
    pub step: Duration,
    /// By the start of the step, then by series.
    pub rows: Vec<(Timestamp, Box<str>, Rollup)>,
}
