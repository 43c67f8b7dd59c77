//! Totals and watermarks: counts, the number below which all deliveries are finished, and the
//! latest time that the store has seen. They are written now and then with another commit, and
//! loaded at open.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use rustc_hash::FxHashMap;
use weir_core::delivery::DeliveryState;
use weir_core::time::Timestamp;

use crate::sqlite::format::names::NameId;
use crate::sqlite::format::next_numbers::NextNumbers;
use crate::sqlite::format::{num, schema};
use crate::sqlite::memory::due::QueueKey;
use crate::sqlite::memory::listed::Listed;
use crate::sqlite::memory::time::Now;

/// A total of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum EventCounter {
    Stored,
    Duplicate,
    Unrouted,
}

impl EventCounter {
    pub(crate) const ALL: [Self; 3] = [Self::Stored, Self::Duplicate, Self::Unrouted];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Unrouted => "unrouted",
        }
    }
}

/// Deliveries counted together.
const BLOCK: i64 = 4096;

/// Largest step of the clock since the latest time that retention accepts.
const TIME_STEP_MAX: Duration = Duration::from_secs(86_400);

/// Totals, for readers.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Waiting and dead deliveries, by queue and state.
    pub(crate) states: FxHashMap<(QueueKey, DeliveryState), i64>,
    /// Events since the store was made.
    pub(crate) events: FxHashMap<(NameId, EventCounter), u64>,
    /// Events that are unrouted now.
    pub(crate) unrouted: FxHashMap<NameId, i64>,
    /// The rows in states that few rows are in.
    pub(crate) listed: Listed,
}

impl Totals {
    pub(crate) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        let mut totals = Self { listed: Listed::load(conn)?, ..Self::default() };
        let mut statement = conn.prepare("SELECT source, what, count FROM total")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let what: String = row.get(1)?;
            if let Some(what) = EventCounter::ALL.into_iter().find(|c| c.as_str() == what) {
                totals.events.insert((row.get(0)?, what), num::count(row.get(2)?));
            }
        }
        let below: i64 = schema::meta(conn, "counted_below")?.unwrap_or(1);
        let mut statement = conn.prepare(
            "SELECT source, count(*), sum(deliveries = 0) FROM event WHERE n >= ?1 GROUP BY source",
        )?;
        let mut rows = statement.query([below])?;
        while let Some(row) = rows.next()? {
            let source: NameId = row.get(0)?;
            for (what, column) in [(EventCounter::Stored, 1), (EventCounter::Unrouted, 2)] {
                *totals.events.entry((source, what)).or_insert(0) += num::count(row.get(column)?);
            }
        }
        let mut statement = conn.prepare(
            "SELECT target, source, count(*) FROM delivery WHERE state = 4 GROUP BY target, source",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let queue_key = QueueKey { target: row.get(0)?, source: row.get(1)? };
            totals.states.insert((queue_key, DeliveryState::DeadLetter), row.get(2)?);
        }
        let mut statement = conn
            .prepare("SELECT source, count(*) FROM event WHERE deliveries = 0 GROUP BY source")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            totals.unrouted.insert(row.get(0)?, row.get(1)?);
        }
        Ok(totals)
    }
}

/// The writer's watermarks.
pub(crate) struct Watermarks {
    /// Number of waiting fresh deliveries in each block of numbers.
    fresh: BTreeMap<i64, i64>,
    written: Instant,
    written_every: Duration,
    stale: bool,
    /// The latest trusted time, and the monotonic clock at that moment. Time that passes while the
    /// process lives is trusted, whether anything is written or not.
    latest: (Timestamp, Duration),
    /// Lead of due times over the wall clock: on disk, and as this group writes it.
    ahead: [Duration; 2],
}

impl Watermarks {
    pub(crate) fn load(
        conn: &Connection,
        now: Now,
        written_every: Duration,
    ) -> rusqlite::Result<Self> {
        let latest = schema::meta::<i64>(conn, "latest_at")?.map_or(now.wall, num::time);
        let kept = schema::meta::<i64>(conn, "due_ahead")?.map_or(0, num::count);
        Ok(Self {
            fresh: BTreeMap::new(),
            written: Instant::now(),
            written_every,
            stale: false,
            latest: (latest, now.monotonic),
            ahead: [Duration::from_millis(kept); 2],
        })
    }

    /// The number from which on fresh deliveries may wait, as it was written last.
    pub(crate) fn first_fresh(conn: &Connection) -> rusqlite::Result<i64> {
        Ok(schema::meta(conn, "finished_below")?.unwrap_or(1))
    }

    /// Counts a fresh delivery in (1) or out (-1).
    pub(crate) fn fresh(&mut self, n: i64, by: i64) {
        let count = self.fresh.entry(n / BLOCK).or_insert(0);
        *count += by;
        if *count == 0 {
            self.fresh.remove(&(n / BLOCK));
        }
        self.stale = true;
    }

    /// Notes that totals changed.
    pub(crate) fn touch(&mut self) {
        self.stale = true;
    }

    /// True if anything changed since they were written.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale
    }

    /// True if they should be written with this commit.
    pub(crate) fn due(&self) -> bool {
        self.stale && self.written.elapsed() >= self.written_every
    }

    /// Writes them as they were `before` the group that writes them: behind, never ahead.
    pub(crate) fn write(
        &mut self,
        conn: &Connection,
        totals: &Totals,
        before: &NextNumbers,
        now: Now,
    ) -> rusqlite::Result<()> {
        let finished = self.fresh.first_key_value().map(|(block, _)| block * BLOCK);
        schema::set_meta(conn, "finished_below", &finished.unwrap_or(before.delivery))?;
        for ((source, what), count) in &totals.events {
            conn.prepare_cached(
                "INSERT INTO total (source, what, count) VALUES (?1, ?2, ?3)
                 ON CONFLICT (source, what) DO UPDATE SET count = ?3",
            )?
            .execute(params![
                source,
                what.as_str(),
                i64::try_from(*count).unwrap_or(i64::MAX)
            ])?;
        }
        schema::set_meta(conn, "counted_below", &before.event)?;
        if self.believes(now) {
            self.latest = (self.expected(now).max(now.wall), now.monotonic);
        }
        schema::set_meta(conn, "latest_due", &num::stored_time(now.due))?;
        schema::set_meta(conn, "latest_at", &num::stored_time(self.latest.0))
    }

    /// Writes how far the line of due times is ahead, if it is not written: with the first of them
    /// that stands there.
    pub(crate) fn keep_ahead(&mut self, conn: &Connection, now: Now) -> rusqlite::Result<()> {
        let [on_disk, written] = &mut self.ahead;
        *written = now.due.since(now.wall);
        if written == on_disk {
            return Ok(());
        }
        let ahead = i64::try_from(written.as_millis()).unwrap_or(i64::MAX);
        schema::set_meta(conn, "due_ahead", &ahead)
    }

    /// The commit held.
    pub(crate) fn committed(&mut self) {
        self.ahead[0] = self.ahead[1];
    }

    /// The commit that wrote them held.
    pub(crate) fn written(&mut self) {
        self.written = Instant::now();
        self.stale = false;
    }

    /// True if `now` is near enough to the latest time for retention to use it.
    pub(crate) fn believes(&self, now: Now) -> bool {
        let expected = self.expected(now);
        now.wall.since(expected) <= TIME_STEP_MAX && expected.since(now.wall) <= TIME_STEP_MAX
    }

    /// The expected time of the wall clock, from the time when it was last trusted.
    pub(crate) fn expected(&self, now: Now) -> Timestamp {
        let (latest, then) = self.latest;
        latest.after(now.monotonic.saturating_sub(then))
    }

    /// A person says that the clock is right.
    pub(crate) fn confirm(&mut self, now: Now) {
        self.latest = (now.wall, now.monotonic);
        self.stale = true;
    }
}
