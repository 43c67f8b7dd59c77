//! Routing again: giving an event the deliveries that the routes say now. It moves what is there to the next
//! generation and makes what is missing, and never copies.

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::delivery::DeliveryState;
use weir_core::time::Timestamp;

use super::dedup::First;
use super::group::Writing;
use super::ingest::{Born, decisions, store_delivery};
use super::names::NameId;
use super::replay::{due_again, is_dead, of_event};
use super::settle::Delivery;
use super::{lines, num};
use crate::Routed;

/// An event's row as routing it again needs it.
pub(super) struct Event {
    n: i64,
    at: Timestamp,
    source: NameId,
    deliveries: i64,
}

impl Event {
    pub(super) fn read(conn: &Connection, n: i64, at: i64) -> rusqlite::Result<Option<Self>> {
        conn.prepare_cached("SELECT source, deliveries FROM event WHERE n = ?1 AND at = ?2")?
            .query_row([n, at], |row| {
                Ok(Self { n, at: num::time(at), source: row.get(0)?, deliveries: row.get(1)? })
            })
            .optional()
    }

    pub(super) fn is_unrouted(&self) -> bool {
        self.deliveries == 0
    }
}

/// A sender delivers an event again that was stored before: what of it is dead is due again, and if nobody got it,
/// it goes to whoever gets it now. Returns whether there was anything to do.
pub(super) fn redelivered(
    writing: &mut Writing<'_>,
    first: First,
    routed: &Routed,
    routing: i64,
) -> rusqlite::Result<bool> {
    let Some(event) = Event::read(writing.conn, first.event, first.at)? else { return Ok(false) };
    if event.is_unrouted() {
        return Ok(!route_again(writing, &event, routed, routing, false)?.is_empty());
    }
    let mut dead = Vec::new();
    for n in of_event(writing.conn, event.n, event.at)? {
        if is_dead(writing.conn, n)? {
            dead.push(n);
        }
    }
    due_again(writing, &dead, false)?;
    Ok(!dead.is_empty())
}

/// Gives an event its deliveries anew. Those that are not over yet stay as they are, and so do those to targets that
/// get it no more. Returns the deliveries that are due now and were not before.
pub(super) fn route_again(
    writing: &mut Writing<'_>,
    event: &Event,
    routed: &Routed,
    routing: i64,
    new_ids: bool,
) -> rusqlite::Result<Vec<i64>> {
    let conn = writing.conn;
    let mut known = Vec::new();
    for n in direct(conn, event.n)? {
        known.extend(Delivery::read(conn, n)?);
    }
    let mut due = Vec::new();
    let mut missing = Vec::new();
    for delivery in &routed.deliveries {
        let target = writing.name(&delivery.target.to_string())?;
        match known.iter().find(|d| d.place.target == target) {
            Some(known) if known.state.is_some_and(DeliveryState::is_final) => due.push(known.n),
            Some(_) => {}
            None => missing.push(delivery),
        }
    }
    due_again(writing, &due, new_ids)?;
    if missing.is_empty() {
        return Ok(due);
    }
    lines::restart(conn, &writing.shared.ids, event.n)?;
    let born = Born {
        source: event.source,
        event: event.n,
        // With the late work, whatever their number: fresh events go first.
        due_at: Some(writing.now.due),
        keyed: None,
        cancelled: false,
    };
    let first = writing.next.delivery;
    for delivery in missing {
        store_delivery(writing, &born, delivery, None)?;
    }
    let end = writing.next.delivery;
    if event.is_unrouted() {
        conn.prepare_cached(
            "UPDATE event SET first_delivery = ?2, deliveries = ?3, routing = ?4, decisions = ?5
             WHERE n = ?1",
        )?
        .execute(params![event.n, first, end - first, routing, decisions(routed)])?;
        writing.learned.unrouted(event.source, -1);
    } else {
        conn.prepare_cached("UPDATE delivery SET added = 1 WHERE n >= ?1 AND n < ?2")?
            .execute([first, end])?;
    }
    due.extend(first..end);
    Ok(due)
}

/// An event's own deliveries: those that it was stored with, and those that a replay made.
pub(super) fn direct(conn: &Connection, event: i64) -> rusqlite::Result<Vec<i64>> {
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
