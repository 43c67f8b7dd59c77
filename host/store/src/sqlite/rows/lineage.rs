//! Descendants of events: the number of events that a root event has led to, kept in the root's
//! row.

use rusqlite::{Connection, OptionalExtension, params};

use crate::sqlite::format::ids::{Ids, RowKind};
use crate::sqlite::format::num;

/// The row with the count: the root's, or the event's own if it is the root or the root was
/// removed.
fn counting_row(conn: &Connection, ids: &Ids, event: i64) -> rusqlite::Result<i64> {
    let root: Option<[u8; 16]> = conn
        .prepare_cached("SELECT root FROM event WHERE n = ?1")?
        .query_row([event], |row| row.get(0))
        .optional()?
        .flatten();
    let root = root.and_then(|bytes| num::id_bits(&bytes));
    let Some(row) = root.and_then(|bits| ids.open(RowKind::Event, bits)) else { return Ok(event) };
    let there: bool = conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM event WHERE n = ?1 AND at = ?2)")?
        .query_row(params![row.n, num::stored_time(row.at)], |row| row.get(0))?;
    Ok(if there { row.n } else { event })
}

/// Number of events that this event's root has led to.
pub(crate) fn descendants(conn: &Connection, ids: &Ids, event: i64) -> rusqlite::Result<u64> {
    let counting = counting_row(conn, ids, event)?;
    let count: Option<i64> = conn
        .prepare_cached("SELECT descendants FROM event WHERE n = ?1")?
        .query_row([counting], |row| row.get(0))
        .optional()?
        .flatten();
    Ok(num::count(count.unwrap_or(0)))
}

/// Adds the emitted events of a run on this event.
pub(crate) fn add(
    conn: &Connection,
    ids: &Ids,
    event: i64,
    emitted: usize,
) -> rusqlite::Result<()> {
    let counting = counting_row(conn, ids, event)?;
    conn.prepare_cached("UPDATE event SET descendants = ifnull(descendants, 0) + ?2 WHERE n = ?1")?
        .execute(params![counting, num::column(emitted)])?;
    Ok(())
}

/// Resets the count after a replay by an operator.
pub(crate) fn restart(conn: &Connection, ids: &Ids, event: i64) -> rusqlite::Result<()> {
    let counting = counting_row(conn, ids, event)?;
    conn.prepare_cached("UPDATE event SET descendants = NULL WHERE n = ?1 AND descendants > 0")?
        .execute([counting])?;
    Ok(())
}
