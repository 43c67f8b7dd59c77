//! Rows of handlers' keys: what waits under a key, and cancellations made ahead.

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::time::Timestamp;

use crate::sqlite::format::names::NameId;
use crate::sqlite::format::num;

/// Row of a key.
pub(crate) struct KeyRow {
    pub(crate) n: i64,
    pub(crate) first_delivery: Option<i64>,
    pub(crate) deliveries: i64,
    pub(crate) until: Option<Timestamp>,
}

pub(crate) fn find_key(
    conn: &Connection,
    handler: NameId,
    key: &str,
) -> rusqlite::Result<Option<KeyRow>> {
    conn.prepare_cached(
        "SELECT n, first_delivery, deliveries, until FROM keyed WHERE handler = ?1 AND key = ?2",
    )?
    .query_row(params![handler, key], |row| {
        Ok(KeyRow {
            n: row.get(0)?,
            first_delivery: row.get(1)?,
            deliveries: row.get(2)?,
            until: row.get::<_, Option<i64>>(3)?.map(num::time),
        })
    })
    .optional()
}

/// Removes a key without waiting deliveries, unless it is a cancellation made ahead.
pub(crate) fn tidy_key(conn: &Connection, keyed: i64) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "DELETE FROM keyed WHERE n = ?1 AND until IS NULL AND NOT EXISTS (
           SELECT 1 FROM delivery d WHERE d.n >= keyed.first_delivery
             AND d.n < keyed.first_delivery + keyed.deliveries AND d.state = 0 AND d.attempts = 0)",
    )?
    .execute([keyed])?;
    Ok(())
}

/// True if an unclaimed delivery waits under a key. For readers.
pub(crate) fn waits_under(
    conn: &Connection,
    handler: NameId,
    key: &str,
    claimed: impl Fn(i64) -> bool,
) -> rusqlite::Result<bool> {
    let Some(KeyRow { first_delivery: Some(first), deliveries, .. }) =
        find_key(conn, handler, key)?
    else {
        return Ok(false);
    };
    let mut statement = conn.prepare_cached(
        "SELECT n FROM delivery WHERE n >= ?1 AND n < ?1 + ?2 AND state = 0 AND attempts = 0",
    )?;
    let mut rows = statement.query([first, deliveries])?;
    while let Some(row) = rows.next()? {
        if !claimed(row.get(0)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes cancellations made ahead that have expired.
pub(crate) fn forget_cancellations(conn: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM keyed WHERE until <= ?1", [num::stored_time(now)])?;
    Ok(())
}
