//! Rows of suspects: deliveries whose last run the hub did not survive.

use rusqlite::{Connection, OptionalExtension};
use weir_core::delivery::Outcome;

use crate::sqlite::format::damage::is_unreadable;
use crate::sqlite::rows::delivery::Delivery;

/// True if the hub did not survive the delivery's last attempt.
pub(crate) fn was_last(conn: &Connection, delivery: &Delivery) -> rusqlite::Result<bool> {
    let Some(last) = delivery.last_attempt else { return Ok(false) };
    let outcome: Option<String> = conn
        .prepare_cached("SELECT outcome FROM attempt WHERE n = ?1")?
        .query_row([last], |row| row.get(0))
        .optional()?;
    Ok(outcome.as_deref() == Some(Outcome::HostLost.as_str()))
}

/// Marks a delivery as suspect until an attempt of it has ended.
pub(crate) fn suspect(conn: &Connection, n: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR IGNORE INTO suspect (delivery) VALUES (?1)")?.execute([n])?;
    Ok(())
}

/// Lists the waiting suspects.
pub(crate) fn suspects(conn: &Connection) -> rusqlite::Result<Vec<Delivery>> {
    let mut statement = conn.prepare("SELECT delivery FROM suspect ORDER BY delivery")?;
    let numbers =
        statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut found = Vec::with_capacity(numbers.len());
    for n in numbers {
        match Delivery::read(conn, n) {
            // It is set aside when it is claimed.
            Err(e) if is_unreadable(&e) => {}
            read => found.extend(read?.filter(Delivery::waits)),
        }
    }
    Ok(found)
}

/// Removes the mark: an attempt has ended, or there will be none.
pub(crate) fn forget(conn: &Connection, n: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM suspect WHERE delivery = ?1")?.execute([n])?;
    Ok(())
}
