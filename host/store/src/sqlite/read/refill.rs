//! Refills: loading the part of a due queue that is on disk only.

use rusqlite::{Connection, params};

use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::damage::{UnreadableRange, is_unreadable, read_around_damage};
use crate::sqlite::format::num;
use crate::sqlite::memory::due::{DueEntry, QueueKey, Refill, RefillFrom, Refilled};
use crate::sqlite::rows::order::{ROWS_AT_ONCE, entry, head_on_disk};

/// Loads a part of a queue from disk. Unreadable rows are set aside.
pub(crate) fn refill(
    shared: &Shared,
    conn: &Connection,
    refill: &Refill,
) -> rusqlite::Result<Refilled> {
    let mut holes = Vec::new();
    let refilled = match read_refill(conn, refill) {
        Err(e) if is_unreadable(&e) => refill_around(conn, refill, &mut holes),
        read => read,
    };
    shared.set_aside("delivery", holes);
    refilled
}

/// The same where the table or its index is damaged.
fn refill_around(
    conn: &Connection,
    refill: &Refill,
    holes: &mut Vec<UnreadableRange>,
) -> rusqlite::Result<Refilled> {
    let QueueKey { target, source } = refill.queue_key;
    let last: i64 =
        conn.query_row("SELECT coalesce(max(n), 0) FROM delivery", [], |row| row.get(0))?;
    // Retries have no order here, so all of them are read.
    let (from, to, condition) = match refill.from {
        RefillFrom::Fresh(after) => {
            let to = after.saturating_add(ROWS_AT_ONCE).min(last);
            (after + 1, to, "state = 0 AND due_at IS NULL")
        }
        RefillFrom::Late(..) => (1, last, "due_at IS NOT NULL"),
    };
    let sql = format!(
        "SELECT n, due_at, generation, attempts, order_key FROM delivery NOT INDEXED
         WHERE n >= ?1 AND n <= ?2 AND target = ?3 AND source = ?4 AND {condition} ORDER BY n"
    );
    let mut read = |first: i64, last: i64| {
        let mut statement = conn.prepare_cached(&sql)?;
        statement.query_map(params![first, last, target, source], entry)?.collect()
    };
    let mut entries = read_around_damage((from, to), &mut read, holes)?;
    if let RefillFrom::Late(at, n) = refill.from {
        entries.retain(|e: &DueEntry| e.due_at.is_some_and(|due| (due, e.n) > (at, n)));
    }
    let more = matches!(refill.from, RefillFrom::Fresh(_)) && to < last;
    Ok(Refilled { entries, stopped: more.then_some(RefillFrom::Fresh(to)) })
}

fn read_refill(conn: &Connection, refill: &Refill) -> rusqlite::Result<Refilled> {
    let QueueKey { target, source } = refill.queue_key;
    let limit = num::column(refill.limit);
    let mut entries = Vec::new();
    let stopped = match refill.from {
        RefillFrom::Fresh(after) => {
            let end = after.saturating_add(ROWS_AT_ONCE);
            // Read before the rows: later deliveries have higher numbers and are found the next
            // time.
            let newest: i64 =
                conn.query_row("SELECT coalesce(max(n), 0) FROM delivery", [], |row| row.get(0))?;
            let mut statement = conn.prepare_cached(
                "SELECT n, due_at, generation, attempts, order_key FROM delivery
                 WHERE n > ?1 AND n <= ?2 AND target = ?3 AND source = ?4 AND state = 0 AND due_at IS NULL
                 ORDER BY n LIMIT ?5",
            )?;
            let mut rows = statement.query(params![after, end, target, source, limit])?;
            while let Some(row) = rows.next()? {
                entries.push(entry(row)?);
            }
            let full = entries.len() >= refill.limit;
            let reached = if full { entries.last().map_or(end, |e| e.n) } else { end };
            (full || newest > end).then_some(RefillFrom::Fresh(reached))
        }
        RefillFrom::Late(at, n) => {
            let mut statement = conn.prepare_cached(
                "SELECT n, due_at, generation, attempts, order_key FROM delivery
                 WHERE target = ?1 AND source = ?2 AND due_at IS NOT NULL AND (due_at, n) > (?3, ?4)
                 ORDER BY due_at, n LIMIT ?5",
            )?;
            let mut rows =
                statement.query(params![target, source, num::stored_time(at), n, limit])?;
            while let Some(row) = rows.next()? {
                entries.push(entry(row)?);
            }
            let last = entries.last().filter(|_| entries.len() >= refill.limit);
            last.and_then(|e| Some(RefillFrom::Late(e.due_at?, e.n)))
        }
    };
    let mut heads = Vec::with_capacity(entries.len());
    for entry in entries {
        let head = match &entry.order_key {
            Some(key) => head_on_disk(conn, target, key)? == Some(entry.n),
            None => true,
        };
        if head {
            heads.push(entry);
        }
    }
    Ok(Refilled { entries: heads, stopped })
}
