//! Retention: removing old finished data, a bounded piece per call.

use std::collections::HashMap;
use std::time::Duration;

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
use crate::sqlite::rows::{blocks, business_keys, keys, reads};
use crate::sqlite::write::{audit, holds, replay, replies, rollups, state};
use crate::upkeep::{Pruned, Retention};

/// Events removed in one call.
const EVENTS_PER_CALL: usize = 512;

/// Events read in one call, with the unfinished ones.
const ROWS_AT_ONCE: i64 = 8_192;

/// Least time between two runs of keys that are written only so that events can go.
const EARLY_RUNS_EVERY: Duration = Duration::from_secs(6 * 3600);

const VALUES_PER_CALL: i64 = 4_096;

/// Pages given back to the file system in one call.
const PAGES_PER_CALL: usize = 2_048;

/// Time for which an expired value is kept, because a run may have read it.
const EXPIRED_KEPT: Duration = Duration::from_secs(3600);

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
    let bytes = bytes_in_use(conn)?;
    pruned.too_large = retention.max_bytes.filter(|max| bytes > *max).map(|_| bytes);
    let excess = pruned.too_large.zip(retention.max_bytes).map(|(bytes, max)| bytes - max);
    let lives = Lives::new(writing, retention, excess);
    let more_events = prune_events(writing, retention, &lives, &mut pruned)?;
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

/// The times before which events are old.
struct Lives {
    of_all: i64,
    by_source: HashMap<NameId, i64>,
    /// Bytes above the limit, and the time before which processed events may go for them.
    excess: Option<(u64, i64)>,
}

impl Lives {
    fn new(writing: &Writing<'_>, retention: &Retention, excess: Option<u64>) -> Self {
        let now = writing.now.wall;
        let before = |life: Duration| num::stored_time_before(now, life);
        let names = &writing.shared.names;
        let by_source = retention.source_lives.iter();
        let by_source = by_source
            .filter_map(|(name, life)| Some((names.find(name.as_str())?, before(*life))))
            .collect();
        let excess = excess.map(|bytes| (bytes, num::stored_time(now)));
        Self { of_all: before(retention.payload_life), by_source, excess }
    }

    /// The time before which events of a source have reached their age.
    fn old(&self, source: NameId) -> i64 {
        self.by_source.get(&source).copied().unwrap_or(self.of_all)
    }

    /// The time from which no event is removed, whatever its source.
    fn end(&self) -> i64 {
        let newest = self.by_source.values().copied().fold(self.of_all, i64::max);
        self.excess.map_or(newest, |(_, now)| now)
    }
}

/// Bytes of the pages that hold data. The free ones are given back to the file system later.
fn bytes_in_use(conn: &Connection) -> rusqlite::Result<u64> {
    let read = |what: &str| conn.pragma_query_value(None, what, |row| row.get::<_, i64>(0));
    let pages = read("page_count")? - read("freelist_count")?;
    Ok(num::count(pages * read("page_size")?))
}

/// Removes old finished events, oldest first. Others are skipped and read again in the next round.
/// True if there is more to look at.
fn prune_events(
    writing: &mut Writing<'_>,
    retention: &Retention,
    lives: &Lives,
    pruned: &mut Pruned,
) -> rusqlite::Result<bool> {
    let conn = writing.conn;
    let stop = lives.end();
    let keys_old = num::stored_time_before(writing.now.wall, retention.dedup_life);
    let from: i64 = schema::meta(conn, "pruned_to")?.unwrap_or(0);
    let mut statement = conn.prepare_cached(
        "SELECT n, at, payload, request, key IS NOT NULL, source, deliveries = 0 FROM event WHERE n > ?1 ORDER BY n LIMIT ?2",
    )?;
    let mut rows = statement.query([from, ROWS_AT_ONCE])?;
    let (mut last, mut gone, mut looked, mut end) = (from, Vec::new(), 0, false);
    let (mut early_bytes, mut key_is_needed) = (0, false);
    while gone.len() < EVENTS_PER_CALL {
        let Some(row) = rows.next()? else {
            end = looked < ROWS_AT_ONCE;
            break;
        };
        let (n, at): (i64, i64) = (row.get(0)?, row.get(1)?);
        if at >= stop {
            end = true;
            break;
        }
        (last, looked) = (n, looked + 1);
        let (source, unrouted): (NameId, bool) = (row.get(5)?, row.get(6)?);
        let old = lives.old(source);
        let is_early = at >= old;
        if is_early && (lives.excess.is_none() || unrouted) {
            continue;
        }
        // A key that is in no run yet is stored in its event only.
        let only_record: bool = row.get(4)?;
        if only_record && !writing.dedup.in_a_run(n) && at >= keys_old {
            key_is_needed = true;
            continue;
        }
        gone.push(OldEvent {
            n,
            at: num::time(at),
            payload: row.get(2)?,
            request: row.get(3)?,
            source,
            unrouted,
            old,
        });
        if is_early {
            early_bytes += payload_bytes(conn, row.get(2)?)?;
            if lives.excess.is_some_and(|(excess, _)| early_bytes >= excess) {
                break;
            }
        }
    }
    drop(rows);
    let (mut events, mut deliveries) = (Vec::new(), Vec::new());
    for event in &gone {
        if remove_event(writing, event, &mut deliveries)? {
            events.push(event.n);
            pruned.early += u64::from(num::stored_time(event.at) >= event.old);
        }
    }
    blocks::remove(conn, &events, &deliveries)?;
    schema::set_meta(conn, "pruned_to", &if end { 0 } else { last })?;
    pruned.events = events.len() as u64;
    let runs_before = num::stored_time_before(writing.now.wall, EARLY_RUNS_EVERY);
    let is_sealing = key_is_needed && writing.dedup.seal_early(runs_before);
    Ok(!end || is_sealing)
}

/// Bytes that a payload takes in the store.
fn payload_bytes(conn: &Connection, n: i64) -> rusqlite::Result<u64> {
    let mut statement = conn.prepare_cached("SELECT length(data) FROM payload WHERE n = ?1")?;
    let bytes: Option<i64> = statement.query_row([n], |row| row.get(0)).optional()?;
    Ok(bytes.map_or(0, num::count))
}

struct OldEvent {
    n: i64,
    at: Timestamp,
    payload: i64,
    request: Option<i64>,
    source: NameId,
    unrouted: bool,
    /// The time before which events of its source have reached their age.
    old: i64,
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
            Some(delivery) if given_up_since(conn, &delivery, event.old)? => return Ok(false),
            delivery => found.extend(delivery),
        }
    }
    for delivery in &found {
        let n = delivery.n;
        writing.post_commit.moved((delivery.queue_key, n), delivery.state, None);
        for (attempt, _) in attempts_of(conn, n)? {
            conn.prepare_cached("DELETE FROM attempt WHERE n = ?1")?.execute([attempt])?;
            reads::remove(conn, attempt)?;
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
    business_keys::remove(conn, event.n)?;
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
        "UPDATE attempt SET reason = NULL, log = NULL, log_size = NULL, snippet = NULL, other_reason = NULL
         WHERE n > ?1 AND n <= ?2 AND started_at < ?3",
        [from, to, before],
    )?;
    conn.execute("DELETE FROM attempt_reads WHERE attempt > ?1 AND attempt <= ?2", [from, to])?;
    schema::set_meta(conn, "stripped_to", &to)
}

/// Each step of the statement frees one page.
fn give_back_pages(conn: &Connection) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(&format!("PRAGMA incremental_vacuum({PAGES_PER_CALL})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}
