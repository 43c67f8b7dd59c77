//! The store's time: the wall clock, and the time of due times, which is ahead of it by the total
//! time that it was set back. That lead is stored, so that a restart changes nothing.

use std::time::Duration;
use weir_core::time::millis;

use rusqlite::Connection;
use weir_core::time::{Clock, DueClock, Timestamp};

use crate::sqlite::format::{num, schema};

/// A moment on each clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// Wall clock.
    pub(crate) wall: Timestamp,
    /// Time of due times.
    pub(crate) due: Timestamp,
    /// By the steady clock.
    pub(crate) monotonic: Duration,
}

/// The clock of due times as the process before left it. If the wall clock is earlier than it was
/// then, it was set back meanwhile, by at least the difference.
pub(crate) fn open(conn: &Connection, clock: &dyn Clock) -> rusqlite::Result<DueClock> {
    let kept = schema::meta::<i64>(conn, "due_ahead")?.map_or(0, num::count);
    let latest = schema::meta::<i64>(conn, "latest_due")?.map_or(Timestamp::default(), num::time);
    let (monotonic, wall) = (clock.monotonic(), clock.now());
    let ahead = kept.max(millis(latest.since(wall)));
    Ok(DueClock::new(wall, monotonic, Duration::from_millis(ahead)))
}
