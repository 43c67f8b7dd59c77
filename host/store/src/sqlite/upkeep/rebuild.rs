//! Loading the due queues and totals from the table at open.

use rusqlite::Connection;
use weir_core::delivery::DeliveryState;

use crate::sqlite::format::damage::{UnreadableRange, read_around_damage};
use crate::sqlite::memory::due::{Due, DueEntry, QueueKey};
use crate::sqlite::memory::watermarks::{Totals, Watermarks};
use crate::sqlite::rows::order::{ROWS_AT_ONCE, enqueue, entry};

/// Loads queues and totals from the table.
pub(crate) fn rebuild(
    conn: &Connection,
    due: &mut Due,
    totals: &mut Totals,
    watermarks: &mut Watermarks,
) -> rusqlite::Result<()> {
    let first_fresh = Watermarks::first_fresh(conn)?;
    for (sql, fresh) in [
        ("WHERE n >= ?1 AND state = 0 AND due_at IS NULL ORDER BY n", true),
        ("WHERE due_at IS NOT NULL AND ?1 IS NOT NULL", false),
    ] {
        let mut statement = conn.prepare(&format!("{WAITING} {sql}"))?;
        let mut rows = statement.query([first_fresh])?;
        while let Some(row) = rows.next()? {
            let waiting = WaitingRow::of(row)?;
            waiting.count(totals, fresh.then_some(&mut *watermarks));
            enqueue(conn, due, waiting.queue_key, waiting.entry);
        }
    }
    Ok(())
}

/// The same for a damaged table. Returns the rows that cannot be read.
pub(crate) fn rebuild_around(
    conn: &Connection,
    due: &mut Due,
    totals: &mut Totals,
    watermarks: &mut Watermarks,
) -> rusqlite::Result<Vec<UnreadableRange>> {
    let last: i64 =
        conn.query_row("SELECT coalesce(max(n), 0) FROM delivery", [], |row| row.get(0))?;
    let sql =
        format!("{WAITING} NOT INDEXED WHERE n >= ?1 AND n <= ?2 AND state IN (0, 2) ORDER BY n");
    let mut holes = Vec::new();
    let mut from = 1;
    while from <= last {
        let to = from.saturating_add(ROWS_AT_ONCE - 1).min(last);
        let mut read = |first: i64, last: i64| {
            let mut statement = conn.prepare_cached(&sql)?;
            statement.query_map([first, last], WaitingRow::of)?.collect()
        };
        for waiting in read_around_damage((from, to), &mut read, &mut holes)? {
            let fresh = waiting.entry.due_at.is_none();
            waiting.count(totals, fresh.then_some(&mut *watermarks));
            enqueue(conn, due, waiting.queue_key, waiting.entry);
        }
        from = to + 1;
    }
    Ok(holes)
}

const WAITING: &str =
    "SELECT n, due_at, generation, attempts, order_key, target, source, state FROM delivery";

/// A waiting delivery, as read at open.
pub(crate) struct WaitingRow {
    pub(crate) entry: DueEntry,
    pub(crate) queue_key: QueueKey,
    pub(crate) state: Option<DeliveryState>,
}

impl WaitingRow {
    fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            entry: entry(row)?,
            queue_key: QueueKey { target: row.get(5)?, source: row.get(6)? },
            state: DeliveryState::from_stored(row.get(7)?),
        })
    }

    fn count(&self, totals: &mut Totals, fresh: Option<&mut Watermarks>) {
        totals.listed.moved(self.entry.n, None, self.state);
        if let Some(state) = self.state {
            *totals.states.entry((self.queue_key, state)).or_insert(0) += 1;
        }
        if let Some(watermarks) = fresh {
            watermarks.fresh(self.entry.n, 1);
        }
    }
}
