//! Erasing the contents of events: bodies, headers, keys, messages, logs and reasons. The rows
//! stay, so that lists, counts and duplicates are as before.
//!
//! Freed space is overwritten in the same commit. The log still has the pages as they were until
//! it starts again at its beginning, and copies of the store have them as long as they are kept.

use std::collections::BTreeSet;
use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::delivery::DeliveryState;
use weir_core::id::EventId;
use weir_core::payload::Payload;
use weir_core::time::Timestamp;

use crate::sqlite::engine::group::{WriteError, Writing};
use crate::sqlite::format::ids::RowKind;
use crate::sqlite::format::num;
use crate::sqlite::format::payloads::Packer;
use crate::sqlite::rows::delivery::Delivery;
use crate::sqlite::rows::history::{attempts_of, is_erased, of_event};
use crate::sqlite::rows::{business_keys, reads};
use crate::sqlite::write::{cancel, discard};
use crate::upkeep::Erased;

/// Most events of one call.
const EVENTS_MAX: usize = 1_000;

pub(crate) fn erase(writing: &mut Writing<'_>, ids: &[EventId]) -> Result<Erased, WriteError> {
    if ids.len() > EVENTS_MAX {
        let problem = format!("at most {EVENTS_MAX} events are erased at once");
        return Err(WriteError::invalid(problem));
    }
    overwrite_freed_space(writing.conn, true)?;
    let erased = erase_all(writing, ids);
    overwrite_freed_space(writing.conn, false)?;
    erased
}

/// Sets that what is deleted is overwritten by zeros.
fn overwrite_freed_space(conn: &Connection, on: bool) -> rusqlite::Result<()> {
    let statement = if on { "PRAGMA secure_delete = ON" } else { "PRAGMA secure_delete = OFF" };
    conn.query_row(statement, [], |_| Ok(()))
}

fn erase_all(writing: &mut Writing<'_>, ids: &[EventId]) -> Result<Erased, WriteError> {
    let rows = ids.iter().filter_map(|id| writing.shared.ids.open(RowKind::Event, id.bits()));
    let mut left: Vec<(i64, Timestamp)> = rows.map(|row| (row.n, row.at)).collect();
    let (mut seen, mut erased) = (BTreeSet::new(), Erased::default());
    while let Some((n, at)) = left.pop() {
        if !seen.insert(n) || !erase_event(writing, n, at, &mut erased)? {
            continue;
        }
        for emitted in emitted_by(writing.conn, n, at)? {
            let at: Option<i64> = writing
                .conn
                .prepare_cached("SELECT at FROM event WHERE n = ?1")?
                .query_row([emitted], |row| row.get(0))
                .optional()?;
            left.extend(at.map(|at| (emitted, num::time(at))));
        }
    }
    Ok(erased)
}

/// The events that the runs of an event emitted.
fn emitted_by(conn: &Connection, event: i64, at: Timestamp) -> rusqlite::Result<Vec<i64>> {
    let mut emitted = Vec::new();
    for delivery in of_event(conn, event, at)? {
        for (attempt, _) in attempts_of(conn, delivery)? {
            let range: Range<i64> = conn
                .prepare_cached(
                    "SELECT ifnull(first_event, 0), ifnull(events, 0) FROM attempt WHERE n = ?1",
                )?
                .query_row([attempt], |row| {
                    let (first, count): (i64, i64) = (row.get(0)?, row.get(1)?);
                    Ok(first..first + count)
                })?;
            emitted.extend(range);
        }
    }
    Ok(emitted)
}

/// Erases one event. False if it is not stored. One that was erased before is looked through again:
/// a replay that was under way may have emitted more.
fn erase_event(
    writing: &mut Writing<'_>,
    n: i64,
    at: Timestamp,
    erased: &mut Erased,
) -> Result<bool, WriteError> {
    let conn = writing.conn;
    let found: Option<(i64, Option<i64>)> = conn
        .prepare_cached("SELECT payload, request FROM event WHERE n = ?1 AND at = ?2")?
        .query_row([n, num::stored_time(at)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((payload, request)) = found else { return Ok(false) };
    let was_erased = is_erased(conn, n)?;
    for delivery in of_event(conn, n, at)? {
        erase_delivery(writing, delivery, erased)?;
    }
    erase_payload(conn, payload)?;
    if let Some(request) = request {
        erase_request(conn, request)?;
    }
    conn.prepare_cached(
        "DELETE FROM payload WHERE n = (SELECT payload FROM reply WHERE event = ?1)",
    )?
    .execute([n])?;
    conn.prepare_cached("DELETE FROM reply WHERE event = ?1")?.execute([n])?;
    business_keys::remove(conn, n)?;
    conn.prepare_cached(
        "UPDATE event SET erased_at = ifnull(erased_at, ?2), decisions = NULL, size = 0 WHERE n = ?1",
    )?
    .execute(params![n, num::stored_time(writing.now.wall)])?;
    if !was_erased {
        erased.events.push(writing.shared.ids.event(at, n));
    }
    Ok(true)
}

/// The body of a request is the body of its events, and who sent it may be a person.
fn erase_request(conn: &Connection, n: i64) -> rusqlite::Result<()> {
    let payload: Option<i64> = conn
        .prepare_cached("SELECT payload FROM request WHERE n = ?1")?
        .query_row([n], |row| row.get(0))
        .optional()?;
    if let Some(payload) = payload {
        erase_payload(conn, payload)?;
    }
    conn.prepare_cached("UPDATE request SET remote = NULL WHERE n = ?1")?.execute([n])?;
    Ok(())
}

fn erase_delivery(
    writing: &mut Writing<'_>,
    n: i64,
    erased: &mut Erased,
) -> Result<(), WriteError> {
    let Some(delivery) = Delivery::read(writing.conn, n)? else { return Ok(()) };
    if delivery.waits() {
        cancel::end(writing, &delivery)?;
        erased.cancelled += 1;
    } else if delivery.state == Some(DeliveryState::DeadLetter) {
        discard::end(writing, &delivery)?;
        erased.cancelled += 1;
    }
    let conn = writing.conn;
    let parts: [Option<i64>; 2] = conn
        .prepare_cached("SELECT payload, headers FROM delivery WHERE n = ?1")?
        .query_row([n], |row| Ok([row.get(0)?, row.get(1)?]))?;
    for payload in parts.into_iter().flatten() {
        erase_payload(conn, payload)?;
    }
    conn.prepare_cached("UPDATE delivery SET order_key = NULL WHERE n = ?1")?.execute([n])?;
    for (attempt, _) in attempts_of(conn, n)? {
        conn.prepare_cached(
            "UPDATE attempt SET reason = NULL, log = NULL, log_size = NULL, snippet = NULL,
               other_reason = NULL WHERE n = ?1",
        )?
        .execute([attempt])?;
        reads::remove(conn, attempt)?;
    }
    Ok(())
}

/// Puts an empty payload in place of a stored one.
fn erase_payload(conn: &Connection, n: i64) -> rusqlite::Result<()> {
    Packer::pack_plain(&Payload::default()).replace(conn, n)
}
