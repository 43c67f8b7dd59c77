//! What the store knows about itself without looking: totals, which deliveries are surely finished, and the
//! latest time it has seen. Written now and then, in a commit that happens anyway; rebuilt from there at open.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use rustc_hash::FxHashMap;
use weir_core::delivery::DeliveryState;
use weir_core::time::Timestamp;

use super::due::Place;
use super::group::{Counted, Learned, Next};
use super::names::NameId;
use super::time::Now;
use super::{num, schema};

/// Deliveries counted together.
const BLOCK: i64 = 4096;
/// A clock that is further away than this from what was seen last is not believed by upkeep.
const TIME_STEP_MAX: Duration = Duration::from_secs(86_400);

/// Totals that anybody may read.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Deliveries that wait or are dead, by where they wait and state.
    pub(super) states: FxHashMap<(Place, DeliveryState), i64>,
    /// Events since the store was made.
    pub(super) events: FxHashMap<(NameId, Counted), u64>,
    /// Events that are unrouted now.
    pub(super) unrouted: FxHashMap<NameId, i64>,
}

impl Totals {
    pub(super) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        let mut totals = Self::default();
        let mut statement = conn.prepare("SELECT source, what, count FROM total")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let what: String = row.get(1)?;
            if let Some(what) = Counted::ALL.into_iter().find(|c| c.as_str() == what) {
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
            for (what, column) in [(Counted::Stored, 1), (Counted::Unrouted, 2)] {
                *totals.events.entry((source, what)).or_insert(0) += num::count(row.get(column)?);
            }
        }
        let mut statement = conn.prepare(
            "SELECT target, source, count(*) FROM delivery WHERE state = 4 GROUP BY target, source",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let place = Place { target: row.get(0)?, source: row.get(1)? };
            totals.states.insert((place, DeliveryState::DeadLetter), row.get(2)?);
        }
        let mut statement = conn
            .prepare("SELECT source, count(*) FROM event WHERE deliveries = 0 GROUP BY source")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            totals.unrouted.insert(row.get(0)?, row.get(1)?);
        }
        Ok(totals)
    }

    /// Counts what a commit changed. Finished deliveries are not kept count of.
    pub(super) fn learn(&mut self, learned: &Learned) {
        for ((place, state), by) in &learned.states {
            if !matches!(state, DeliveryState::Processed | DeliveryState::Cancelled) {
                *self.states.entry((*place, *state)).or_insert(0) += by;
            }
        }
        for (source, by) in &learned.unrouted {
            *self.unrouted.entry(*source).or_insert(0) += by;
        }
        for (key, by) in &learned.events {
            *self.events.entry(*key).or_insert(0) += by;
        }
    }
}

/// The writer's marks.
pub(super) struct Marks {
    /// How many fresh deliveries wait in each block of numbers.
    fresh: BTreeMap<i64, i64>,
    written: Instant,
    written_every: Duration,
    stale: bool,
    /// The latest time seen, as far as it is believed, and what the steady clock said then. It is believed that time
    /// goes by while the process lives, whether anything is written meanwhile or not.
    latest: (Timestamp, Duration),
    /// How far the line of due times is ahead of the wall clock, as it is on disk, and as this group writes it.
    ahead: [Duration; 2],
}

impl Marks {
    pub(super) fn load(
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
    pub(super) fn first_fresh(conn: &Connection) -> rusqlite::Result<i64> {
        Ok(schema::meta(conn, "finished_below")?.unwrap_or(1))
    }

    /// Counts a fresh delivery in (1) or out (-1).
    pub(super) fn fresh(&mut self, n: i64, by: i64) {
        let count = self.fresh.entry(n / BLOCK).or_insert(0);
        *count += by;
        if *count == 0 {
            self.fresh.remove(&(n / BLOCK));
        }
        self.stale = true;
    }

    /// Notes that totals changed.
    pub(super) fn touch(&mut self) {
        self.stale = true;
    }

    /// Whether anything changed since they were written.
    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// Whether they should be written with this commit.
    pub(super) fn due(&self) -> bool {
        self.stale && self.written.elapsed() >= self.written_every
    }

    /// Writes them as they were `before` the group that writes them: behind, never ahead.
    pub(super) fn write(
        &mut self,
        conn: &Connection,
        totals: &Totals,
        before: &Next,
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

    /// Writes how far the line of due times is ahead, if it is not written: with the first of them that stands there.
    pub(super) fn keep_ahead(&mut self, conn: &Connection, now: Now) -> rusqlite::Result<()> {
        let [on_disk, written] = &mut self.ahead;
        *written = now.due.since(now.wall);
        if written == on_disk {
            return Ok(());
        }
        let ahead = i64::try_from(written.as_millis()).unwrap_or(i64::MAX);
        schema::set_meta(conn, "due_ahead", &ahead)
    }

    /// The commit held.
    pub(super) fn committed(&mut self) {
        self.ahead[0] = self.ahead[1];
    }

    /// The commit that wrote them held.
    pub(super) fn written(&mut self) {
        self.written = Instant::now();
        self.stale = false;
    }

    /// Whether `now` is near enough to the latest time seen for old things to be removed by it.
    pub(super) fn believes(&self, now: Now) -> bool {
        let expected = self.expected(now);
        now.wall.since(expected) <= TIME_STEP_MAX && expected.since(now.wall) <= TIME_STEP_MAX
    }

    /// What the wall clock should say, by what it said when it was last believed.
    pub(super) fn expected(&self, now: Now) -> Timestamp {
        let (latest, then) = self.latest;
        latest.after(now.monotonic.saturating_sub(then))
    }

    /// A person says that the clock is right.
    pub(super) fn confirm(&mut self, now: Now) {
        self.latest = (now.wall, now.monotonic);
        self.stale = true;
    }
}
