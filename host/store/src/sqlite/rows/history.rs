//! Deliveries of an event: its own, and the messages that their attempts sent.

use rusqlite::{Connection, OptionalExtension};
use weir_core::time::Timestamp;

use crate::sqlite::format::names::NameId;
use crate::sqlite::format::num;

/// An event's row as routing it again needs it.
pub(crate) struct RoutedEvent {
    pub(crate) n: i64,
    pub(crate) at: Timestamp,
    pub(crate) source: NameId,
    pub(crate) deliveries: i64,
}

impl RoutedEvent {
    pub(crate) fn read(conn: &Connection, n: i64, at: i64) -> rusqlite::Result<Option<Self>> {
        conn.prepare_cached("SELECT source, deliveries FROM event WHERE n = ?1 AND at = ?2")?
            .query_row([n, at], |row| {
                Ok(Self { n, at: num::time(at), source: row.get(0)?, deliveries: row.get(1)? })
            })
            .optional()
    }

    pub(crate) fn is_unrouted(&self) -> bool {
        self.deliveries == 0
    }
}

/// An event's own deliveries: those that it was stored with, and those that a replay made.
pub(crate) fn direct(conn: &Connection, event: i64) -> rusqlite::Result<Vec<i64>> {
    let range: Option<(Option<i64>, i64)> = conn
        .prepare_cached("SELECT first_delivery, deliveries FROM event WHERE n = ?1")?
        .query_row([event], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((first, count)) = range else { return Ok(Vec::new()) };
    let first = first.unwrap_or(0);
    let mut direct: Vec<i64> = (first..first + count).collect();
    let mut statement = conn.prepare_cached(
        "SELECT n FROM delivery WHERE event = ?1 AND added IS NOT NULL ORDER BY n",
    )?;
    let mut rows = statement.query([event])?;
    while let Some(row) = rows.next()? {
        direct.push(row.get(0)?);
    }
    Ok(direct)
}

/// True if the contents of an event were erased, so that it can never be handled again.
pub(crate) fn is_erased(conn: &Connection, event: i64) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT erased_at IS NOT NULL FROM event WHERE n = ?1")?
        .query_row([event], |row| row.get(0))
        .optional()
        .map(|erased| erased.unwrap_or(false))
}

pub(crate) fn is_dead(conn: &Connection, n: i64) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT state = 4 FROM delivery WHERE n = ?1")?
        .query_row([n], |row| row.get(0))
        .optional()
        .map(|dead| dead.unwrap_or(false))
}

/// An event's deliveries with the messages that their attempts sent.
pub(crate) fn of_event(conn: &Connection, event: i64, at: Timestamp) -> rusqlite::Result<Vec<i64>> {
    if RoutedEvent::read(conn, event, num::stored_time(at))?.is_none() {
        return Ok(Vec::new());
    }
    let direct = direct(conn, event)?;
    let mut all = direct.clone();
    for delivery in direct {
        for (_, messages) in attempts_of(conn, delivery)? {
            all.extend(messages);
        }
    }
    Ok(all)
}

/// A delivery's attempts, newest first, with the deliveries of the messages that each sent.
pub(crate) fn attempts_of(
    conn: &Connection,
    delivery: i64,
) -> rusqlite::Result<Vec<(i64, std::ops::Range<i64>)>> {
    let mut attempts = Vec::new();
    let mut next: Option<i64> = conn
        .prepare_cached("SELECT last_attempt FROM delivery WHERE n = ?1")?
        .query_row([delivery], |row| row.get(0))
        .optional()?
        .flatten();
    while let Some(n) = next {
        let row = conn
            .prepare_cached("SELECT previous, first_message, messages FROM attempt WHERE n = ?1")?
            .query_row([n], |row| {
                let (first, count): (Option<i64>, Option<i64>) = (row.get(1)?, row.get(2)?);
                let first = first.unwrap_or(0);
                Ok((row.get(0)?, first..first + count.unwrap_or(0)))
            })
            .optional()?;
        let Some((previous, messages)) = row else { break };
        attempts.push((n, messages));
        next = previous;
    }
    Ok(attempts)
}
