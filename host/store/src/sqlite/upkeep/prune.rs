//! Retention: removing old finished data, a bounded piece per call.

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::delivery::DeliveryState;
use weir_core::time::Timestamp;

use crate::error::StoreError;
use crate::sqlite::engine::group::{WriteError, Writing};
use crate::sqlite::files::acks;
use crate::sqlite::format::names::NameId;
use crate::sqlite::format::{num, schema};
use crate::sqlite::rows::delivery::Delivery;
use crate::sqlite::rows::history::{attempts_of, of_event};
use crate::sqlite::rows::{blocks, keys};
use crate::sqlite::write::{audit, holds, replay, replies, rollups, state};
use crate::upkeep::{Pruned, Retention};

/// Events removed in one call.
const EVENTS_PER_CALL: usize = 512;

/// Events read in one call, with the unfinished ones.
const ROWS_AT_ONCE: i64 = 8_192;

const VALUES_PER_CALL: i64 = 4_096;

/// Pages given back to the file system in one call.
const PAGES_PER_CALL: usize = 2_048;

/// Time for which an expired value is kept, because a run may have read it.
const EXPIRED_KEPT: std::time::Duration = std::time::Duration::from_secs(3600);

pub(crate) fn prune(
    writing: &mut Writing<'_>,
    retention: &Retention,
) -> Result<Pruned, WriteError> {
    let now = writing.now.wall;
    if !writing.watermarks.believes(writing.now) {
        return Err(WriteError::Refused(StoreError::Invalid(format!(
            "the clock says {now}, more than a day from {}, the time expected from the latest one that the store has seen; \
             nothing is removed until an operator confirms the clock (weir confirm-time)",
            writing.watermarks.expected(writing.now)
        ))));
    }
    // Totals and numbers are computed from rows that may be removed, so they are written first.
    let before = *writing.next;
    before.save(writing.conn)?;
    writing.watermarks.write(writing.conn, &writing.shared.totals.lock(), &before, writing.now)?;
    let conn = writing.conn;
    let mut pruned = Pruned::default();
    let (events, more_events) = prune_events(writing, retention)?;
    pruned.events = events;
    let more_requests = prune_requests(conn, num::stored_time_before(now, retention.payload_life))?;
    if retention.attempt_life < retention.payload_life {
        strip_attempts(conn, num::stored_time_before(now, retention.attempt_life))?;
    }
    let keys_before = num::stored_time_before(now, retention.dedup_life);
    let (keys, more_keys) = writing.dedup.prune(conn, keys_before)?;
    pruned.keys = keys;
    writing.dedup.forget(keys_before);
    let expired = num::stored_time_before(now, EXPIRED_KEPT);
    let values = state::remove_expired(conn, expired, VALUES_PER_CALL)?;
    keys::forget_cancellations(conn, now)?;
    replay::forget(conn, keys_before)?;
    acks::forget(conn, num::stored_time_before(now, retention.payload_life))?;
    holds::remove_ended(conn, now)?;
    let more_replies = replies::forget(conn, now)?;
    let more_audit = audit::forget(conn, retention, now)?;
    let more_rollups = rollups::forget(conn, now)?;
    pruned.more = more_replies
        || more_audit
        || more_rollups
        || more_events
        || more_requests
        || more_keys
        || values >= num::count(VALUES_PER_CALL);
    give_back_pages(conn)?;
    Ok(pruned)
}

/// Removes old finished events, oldest first. Unfinished ones are skipped and read again in the
/// next round.
fn prune_events(writing: &mut Writing<'_>, retention: &Retention) -> rusqlite::Result<(u64, bool)> {
    let conn = writing.conn;
    let old = num::stored_time_before(writing.now.wall, retention.payload_life);
    let keys_old = num::stored_time_before(writing.now.wall, retention.dedup_life);
    let from: i64 = schema::meta(conn, "pruned_to")?.unwrap_or(0);
    let mut statement = conn.prepare_cached(
        "SELECT n, at, payload, request, key IS NOT NULL, source, deliveries = 0 FROM event WHERE n > ?1 ORDER BY n LIMIT ?2",
    )?;
    let mut rows = statement.query([from, ROWS_AT_ONCE])?;
    let (mut last, mut gone, mut looked, mut end) = (from, Vec::new(), 0, false);
    while gone.len() < EVENTS_PER_CALL {
        let Some(row) = rows.next()? else {
            end = looked < ROWS_AT_ONCE;
            break;
        };
        let (n, at): (i64, i64) = (row.get(0)?, row.get(1)?);
        if at >= old {
            end = true;
            break;
        }
        (last, looked) = (n, looked + 1);
        // A key that is in no run yet is stored in its event only.
        let only_record: bool = row.get(4)?;
        if only_record && !writing.dedup.in_a_run(n) && at >= keys_old {
            continue;
        }
        gone.push(OldEvent {
            n,
            at: num::time(at),
            payload: row.get(2)?,
            request: row.get(3)?,
            source: row.get(5)?,
            unrouted: row.get(6)?,
        });
    }
    drop(rows);
    let (mut events, mut deliveries) = (Vec::new(), Vec::new());
    for event in &gone {
        if remove_event(writing, event, old, &mut deliveries)? {
            events.push(event.n);
        }
    }
    blocks::remove(conn, &events, &deliveries)?;
    schema::set_meta(conn, "pruned_to", &if end { 0 } else { last })?;
    Ok((events.len() as u64, !end))
}

struct OldEvent {
    n: i64,
    at: Timestamp,
    payload: i64,
    request: Option<i64>,
    source: NameId,
    unrouted: bool,
}

/// True if a delivery is a dead letter whose last attempt began at or after a time.
fn given_up_since(conn: &Connection, delivery: &Delivery, time: i64) -> rusqlite::Result<bool> {
    let (Some(DeliveryState::DeadLetter), Some(last)) = (delivery.state, delivery.last_attempt)
    else {
        return Ok(false);
    };
    let began: Option<i64> = conn
        .prepare_cached("SELECT started_at FROM attempt WHERE n = ?1")?
        .query_row([last], |row| row.get(0))
        .optional()?;
    Ok(began.is_some_and(|began| began >= time))
}

/// Removes an event with all its rows, unless one of its deliveries is unfinished. Adds the numbers
/// of its deliveries to `gone`.
fn remove_event(
    writing: &mut Writing<'_>,
    event: &OldEvent,
    old: i64,
    gone: &mut Vec<i64>,
) -> rusqlite::Result<bool> {
    let conn = writing.conn;
    let deliveries = of_event(conn, event.n, event.at)?;
    let mut found = Vec::with_capacity(deliveries.len());
    for n in deliveries {
        match Delivery::read(conn, n)? {
            Some(delivery) if !delivery.state.is_some_and(DeliveryState::is_final) => {
                return Ok(false);
            }
            // A dead letter is kept as long as an event, from its last attempt on.
            Some(delivery) if given_up_since(conn, &delivery, old)? => return Ok(false),
            delivery => found.extend(delivery),
        }
    }
    for delivery in &found {
        let n = delivery.n;
        writing.post_commit.moved((delivery.queue_key, n), delivery.state, None);
        for (attempt, _) in attempts_of(conn, n)? {
            conn.prepare_cached("DELETE FROM attempt WHERE n = ?1")?.execute([attempt])?;
        }
        conn.prepare_cached(
            "DELETE FROM payload WHERE n IN (SELECT payload FROM delivery WHERE n = ?1
               UNION ALL SELECT headers FROM delivery WHERE n = ?1)",
        )?
        .execute([n])?;
        conn.prepare_cached("DELETE FROM delivery WHERE n = ?1")?.execute([n])?;
        gone.push(n);
    }
    conn.prepare_cached("DELETE FROM event WHERE n = ?1")?.execute([event.n])?;
    if event.unrouted {
        writing.post_commit.unrouted(event.source, event.n, -1);
    }
    match event.request {
        Some(request) => remove_from_request(conn, request, event.payload)?,
        None => remove_payload(conn, event.payload)?,
    }
    Ok(true)
}

fn remove_payload(conn: &Connection, n: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM payload WHERE n = ?1")?.execute([n])?;
    Ok(())
}

/// Removes an event's part of a batch, and the request with its last event.
fn remove_from_request(conn: &Connection, request: i64, payload: i64) -> rusqlite::Result<()> {
    let (whole, empty): (i64, bool) = conn
        .prepare_cached(
            "SELECT r.payload, NOT EXISTS (SELECT 1 FROM event e WHERE e.n >= r.first_event
               AND e.n < r.first_event + r.events) FROM request r WHERE r.n = ?1",
        )?
        .query_row([request], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if payload != whole {
        remove_payload(conn, payload)?;
    }
    if empty {
        conn.prepare_cached("DELETE FROM request WHERE n = ?1")?.execute([request])?;
        remove_payload(conn, whole)?;
    }
    Ok(())
}

/// Removes old requests without events.
fn prune_requests(conn: &Connection, before: i64) -> rusqlite::Result<bool> {
    let mut statement = conn.prepare_cached(
        "SELECT n, payload FROM request WHERE events = 0 AND received_at < ?1 LIMIT ?2",
    )?;
    let old = statement
        .query_map(params![before, num::column(EVENTS_PER_CALL)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<Vec<(i64, i64)>>>()?;
    for (n, payload) in &old {
        conn.prepare_cached("DELETE FROM request WHERE n = ?1")?.execute([n])?;
        remove_payload(conn, *payload)?;
    }
    Ok(old.len() >= EVENTS_PER_CALL)
}

/// Takes the words out of attempts that are older than their events may get: the bare facts stay
/// with the event.
fn strip_attempts(conn: &Connection, before: i64) -> rusqlite::Result<()> {
    let from: i64 = schema::meta(conn, "stripped_to")?.unwrap_or(0);
    let to: Option<i64> = conn.query_row(
        "SELECT max(n) FROM (SELECT n, started_at FROM attempt WHERE n > ?1 ORDER BY n LIMIT ?2)
         WHERE started_at < ?3",
        params![from, ROWS_AT_ONCE, before],
        |row| row.get(0),
    )?;
    let Some(to) = to else { return Ok(()) };
    conn.execute(
        "UPDATE attempt SET reason = NULL, log = NULL, log_size = NULL, snippet = NULL
         WHERE n > ?1 AND n <= ?2 AND started_at < ?3",
        [from, to, before],
    )?;
    schema::set_meta(conn, "stripped_to", &to)
}

/// Each step of the statement frees one page.
fn give_back_pages(conn: &Connection) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(&format!("PRAGMA incremental_vacuum({PAGES_PER_CALL})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}
