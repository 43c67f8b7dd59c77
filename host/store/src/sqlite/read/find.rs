//! Finding events and deliveries by other ids: of an attempt, a message, a request, or the sender's
//! own. Messages and senders' ids have no index, so only the newest rows are searched.

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::id::{AttemptId, DeliveryId, EventId, MessageId, RequestId};
use weir_core::payload::Payload;

use crate::query::{IdLookup, IdMatches};
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::ids::RowKind;
use crate::sqlite::format::num;

/// Rows searched for an id without an index.
const ROWS_AT_ONCE: i64 = 1_000_000;

/// Events in one answer.
const EVENTS_MAX: usize = 100;

/// Looks up an id.
pub(crate) fn find(shared: &Shared, sought: &IdLookup) -> rusqlite::Result<IdMatches> {
    shared.readers.with(|conn| match sought {
        IdLookup::Attempt(id) => attempt(shared, conn, *id),
        IdLookup::Message(id) => message(shared, conn, *id),
        IdLookup::Request(id) => request(shared, conn, *id),
        IdLookup::Sender(id) => sender(shared, conn, id),
    })
}

fn delivery_id(shared: &Shared, conn: &Connection, n: i64) -> rusqlite::Result<Option<DeliveryId>> {
    let at: Option<i64> = conn
        .prepare_cached("SELECT e.at FROM delivery d JOIN event e ON e.n = d.event WHERE d.n = ?1")?
        .query_row([n], |row| row.get(0))
        .optional()?;
    Ok(at.map(|at| shared.ids.delivery(num::time(at), n)))
}

fn attempt(shared: &Shared, conn: &Connection, id: AttemptId) -> rusqlite::Result<IdMatches> {
    let Some(row) = shared.ids.open(RowKind::Attempt, id.bits()) else {
        return Ok(IdMatches::default());
    };
    let delivery: Option<i64> = conn
        .prepare_cached("SELECT delivery FROM attempt WHERE n = ?1 AND started_at = ?2")?
        .query_row([row.n, num::stored_time(row.at)], |row| row.get(0))
        .optional()?;
    let Some(delivery) = delivery else { return Ok(IdMatches::default()) };
    Ok(IdMatches { delivery: delivery_id(shared, conn, delivery)?, events: Vec::new() })
}

fn message(shared: &Shared, conn: &Connection, id: MessageId) -> rusqlite::Result<IdMatches> {
    let n: Option<i64> = conn
        .prepare_cached(
            "SELECT n FROM delivery WHERE message = ?1
               AND n > (SELECT ifnull(max(n), 0) - ?2 FROM delivery) ORDER BY n DESC LIMIT 1",
        )?
        .query_row(params![num::stored_id(id.bits()), ROWS_AT_ONCE], |row| row.get(0))
        .optional()?;
    let Some(n) = n else { return Ok(IdMatches::default()) };
    Ok(IdMatches { delivery: delivery_id(shared, conn, n)?, events: Vec::new() })
}

fn request(shared: &Shared, conn: &Connection, id: RequestId) -> rusqlite::Result<IdMatches> {
    let Some(row) = shared.ids.open(RowKind::Request, id.bits()) else {
        return Ok(IdMatches::default());
    };
    let of: Option<(Option<i64>, i64)> = conn
        .prepare_cached(
            "SELECT first_event, events FROM request WHERE n = ?1 AND received_at = ?2",
        )?
        .query_row([row.n, num::stored_time(row.at)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((Some(first), count)) = of else { return Ok(IdMatches::default()) };
    let count = count.min(num::column(EVENTS_MAX));
    let events = (first..first + count).map(|n| shared.ids.event(row.at, n)).collect();
    Ok(IdMatches { delivery: None, events })
}

fn sender(shared: &Shared, conn: &Connection, id: &str) -> rusqlite::Result<IdMatches> {
    let mut statement = conn.prepare_cached(
        "SELECT n, at FROM event WHERE delivery_id = ?1
           AND n > (SELECT ifnull(max(n), 0) - ?2 FROM event) ORDER BY n DESC LIMIT ?3",
    )?;
    let rows = statement.query_map(params![id, ROWS_AT_ONCE, num::column(EVENTS_MAX)], |row| {
        Ok(shared.ids.event(num::time(row.get(1)?), row.get(0)?))
    })?;
    let events: Vec<EventId> = rows.collect::<rusqlite::Result<_>>()?;
    Ok(IdMatches { delivery: None, events })
}

/// Reads the headers and body of a message. None for other deliveries, and after retention.
pub(crate) fn message_payload(
    shared: &Shared,
    id: DeliveryId,
) -> rusqlite::Result<Option<Payload>> {
    let Some(row) = shared.ids.open(RowKind::Delivery, id.bits()) else { return Ok(None) };
    shared.readers.with(|conn| {
        let payload: Option<Option<i64>> = conn
            .prepare_cached(
                "SELECT d.payload FROM delivery d JOIN event e ON e.n = d.event WHERE d.n = ?1 AND e.at = ?2",
            )?
            .query_row([row.n, num::stored_time(row.at)], |row| row.get(0))
            .optional()?;
        let Some(payload) = payload.flatten() else { return Ok(None) };
        match shared.packer.read(conn, payload)? {
            Ok(payload) => Ok(Some(payload)),
            Err(damaged) => {
                tracing::error!(delivery = %id, error = %damaged, "the payload of a message is damaged");
                Ok(None)
            }
        }
    })
}
