//! Queries: single events, requests and deliveries, and totals.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row};
use rustc_hash::FxHashMap;
use weir_core::delivery::{DeliveryState, EventStatus, Outcome};
use weir_core::event::Category;
use weir_core::id::{DeliveryId, EventId, MessageId, RequestId};
use weir_core::name::{SourceName, Target};
use weir_core::time::Timestamp;

use crate::query::{
    AttemptDetail, CountRow, CountsFilter, DeliveryDetail, EventDetail, OtherRunDetail,
    StoredRequest,
};
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::failure::LoadedRow;
use crate::sqlite::format::ids::RowKind;
use crate::sqlite::format::names::NameId;
use crate::sqlite::format::{num, payloads};
use crate::sqlite::memory::due::QueueKey;
use crate::sqlite::read::claim::{event_type, unreadable};
use crate::sqlite::rows::business_keys;
use crate::sqlite::rows::history::{attempts_of, direct};

pub(crate) const EVENT_COLUMNS: &str = "n, at, request, source, type, category, delivery_id, id_reused, payload, size, \
     routing, outward, parent, decisions, erased_at";

pub(crate) struct EventRow {
    n: i64,
    payload: i64,
    detail: EventDetail,
}

pub(crate) fn event_row(
    shared: &Shared,
    conn: &Connection,
    row: &Row<'_>,
) -> rusqlite::Result<EventRow> {
    let (n, at) = (row.get(0)?, num::time(row.get(1)?));
    let request: Option<i64> = row.get(2)?;
    let bits = |column| -> rusqlite::Result<Option<EventId>> {
        let stored: Option<[u8; 16]> = row.get(column)?;
        Ok(stored.and_then(|b| num::id_bits(&b)).map(EventId::from_bits))
    };
    let table: Option<[u8; 16]> = conn
        .prepare_cached("SELECT hash FROM routing WHERE n = ?1")?
        .query_row([row.get::<_, i64>(10)?], |r| r.get(0))
        .optional()?;
    let detail = EventDetail {
        id: shared.ids.event(at, n),
        outward_id: bits(11)?,
        source: SourceName::stored(&shared.names.text(row.get(3)?)),
        kind: event_type(&row.get::<_, String>(4)?)?,
        category: row.get::<_, Option<String>>(5)?.and_then(|c| Category::parse(&c)),
        delivery_id: row.get::<_, Option<String>>(6)?.map(Into::into),
        received_at: at,
        status: EventStatus::Unrouted,
        id_reused: row.get::<_, Option<bool>>(7)?.unwrap_or(false),
        // A request has the time of its events.
        request: request.map(|n| shared.ids.request(at, n)),
        parent: bits(12)?,
        table: table.map(hex::encode).unwrap_or_default(),
        decisions: row.get::<_, Option<Box<str>>>(13)?.unwrap_or_default(),
        size: num::count(row.get(9)?),
        erased_at: row.get::<_, Option<i64>>(14)?.map(num::time),
        keys: Vec::new(),
        deliveries: Vec::new(),
        payload: None,
    };
    Ok(EventRow { n, payload: row.get(8)?, detail })
}

impl EventRow {
    /// Adds the deliveries, and the status by them and the messages of their attempts.
    pub(crate) fn complete(
        mut self,
        shared: &Shared,
        conn: &Connection,
        with_history: bool,
    ) -> rusqlite::Result<EventDetail> {
        let mut states = Vec::new();
        for n in direct(conn, self.n)? {
            let Some(found) = delivery_row(shared, conn, n)? else { continue };
            let mut delivery = found.detail;
            states.push((delivery.state, delivery.held));
            if with_history {
                delivery.history = history(shared, conn, n)?;
                for message in delivery.history.iter().flat_map(|a| &a.messages) {
                    states.push((message.state, message.held));
                }
            } else {
                for message in attempts_of(conn, n)?.into_iter().flat_map(|(_, messages)| messages)
                {
                    if let Some(message) = delivery_row(shared, conn, message)? {
                        states.push((message.detail.state, message.detail.held));
                    }
                }
            }
            self.detail.deliveries.push(delivery);
        }
        if with_history {
            self.detail.keys = business_keys::read(&shared.names, conn, self.n)?;
        }
        self.detail.status = EventStatus::of(states);
        Ok(self.detail)
    }
}

/// Reads an event by row id or outward id.
pub(crate) fn event(shared: &Shared, id: EventId) -> rusqlite::Result<Option<EventDetail>> {
    shared.readers.with(|conn| {
        let by_row = match shared.ids.open(RowKind::Event, id.bits()) {
            Some(row) => {
                let sql = format!("SELECT {EVENT_COLUMNS} FROM event WHERE n = ?1 AND at = ?2");
                conn.prepare_cached(&sql)?
                    .query_row([row.n, num::stored_time(row.at)], |row| {
                        event_row(shared, conn, row)
                    })
                    .optional()?
            }
            None => None,
        };
        let found = match by_row {
            Some(found) => Some(found),
            None => {
                // After a replay several events have the same outward id: the newest is found.
                let sql = format!(
                    "SELECT {EVENT_COLUMNS} FROM event WHERE outward = ?1 ORDER BY n DESC LIMIT 1"
                );
                conn.prepare_cached(&sql)?
                    .query_row([num::stored_id(id.bits())], |row| event_row(shared, conn, row))
                    .optional()?
            }
        };
        let Some(found) = found else { return Ok(None) };
        let payload = shared.packer.read(conn, found.payload)?;
        let mut detail = found.complete(shared, conn, true)?;
        match payload {
            Ok(payload) => detail.payload = Some(Arc::new(payload)),
            Err(damaged) => shared.set_aside("payload", vec![damaged.hole()]),
        }
        Ok(Some(detail))
    })
}

/// Reads a request as it was received.
pub(crate) fn request(
    shared: &Shared,
    id: RequestId,
) -> rusqlite::Result<LoadedRow<StoredRequest>> {
    let Some(row) = shared.ids.open(RowKind::Request, id.bits()) else {
        return Ok(LoadedRow::Missing);
    };
    type Columns = (NameId, NameId, NameId, Option<Vec<u8>>, i64);
    shared.readers.with(|conn| {
        let found: Option<Columns> = conn
            .prepare_cached(
                "SELECT source, scheme, secret, remote, payload FROM request WHERE n = ?1 AND received_at = ?2",
            )?
            .query_row([row.n, num::stored_time(row.at)], |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?))
            })
            .optional()?;
        let Some((source, scheme, secret, remote, payload)) = found else {
            return Ok(LoadedRow::Missing);
        };
        let payload = match shared.packer.read(conn, payload)? {
            Ok(payload) => payload,
            Err(damaged) => {
                shared.set_aside("payload", vec![damaged.hole()]);
                return Ok(LoadedRow::Damaged(damaged.to_string()));
            }
        };
        Ok(LoadedRow::Found(StoredRequest {
            id,
            source: SourceName::stored(&shared.names.text(source)),
            received_at: row.at,
            scheme: shared.names.text(scheme),
            secret: shared.names.text(secret),
            remote: remote.map(Bytes::from),
            payload,
        }))
    })
}

pub(crate) struct DeliveryRow {
    pub(crate) detail: DeliveryDetail,
    event_at: Timestamp,
}

/// Reads a delivery without its attempts.
pub(crate) fn delivery_row(
    shared: &Shared,
    conn: &Connection,
    n: i64,
) -> rusqlite::Result<Option<DeliveryRow>> {
    conn.prepare_cached(
        "SELECT d.event, e.at, d.target, d.source, d.state, d.generation, d.attempts, d.due_at, d.cause,
           c.started_at, d.message, a.reason, d.order_key
         FROM delivery d JOIN event e ON e.n = d.event
         LEFT JOIN attempt a ON a.n = d.last_attempt LEFT JOIN attempt c ON c.n = d.cause
         WHERE d.n = ?1",
    )?
    .query_row([n], |row| {
        let event_at = num::time(row.get(1)?);
        let queue_key = QueueKey { target: row.get(2)?, source: row.get(3)? };
        let stored = DeliveryState::from_stored(row.get(4)?).unwrap_or(DeliveryState::DeadLetter);
        let (claimed, held) = {
            let due = shared.due.lock();
            (due.is_claimed(n) && !stored.is_final(), due.is_held(queue_key) && !stored.is_final())
        };
        let cause: (Option<i64>, Option<i64>) = (row.get(8)?, row.get(9)?);
        let message: Option<[u8; 16]> = row.get(10)?;
        let detail = DeliveryDetail {
            id: shared.ids.delivery(event_at, n),
            event: shared.ids.event(event_at, row.get(0)?),
            cause: match cause {
                (Some(n), Some(at)) => Some(shared.ids.attempt(num::time(at), n)),
                _ => None,
            },
            message: message.and_then(|b| num::id_bits(&b)).map(MessageId::from_bits),
            target: target(shared, queue_key.target)?,
            state: if claimed { DeliveryState::Processing } else { stored },
            held,
            generation: row.get(5)?,
            attempts: row.get(6)?,
            order_key: row.get::<_, Option<String>>(12)?.map(Into::into),
            due_at: row.get::<_, Option<i64>>(7)?.map(|at| shared.wall_time(num::time(at))),
            reason: row.get::<_, Option<String>>(11)?.map(Into::into),
            history: Vec::new(),
        };
        Ok(DeliveryRow { detail, event_at })
    })
    .optional()
}

/// The target of a stored number.
fn target(shared: &Shared, name: NameId) -> rusqlite::Result<Target> {
    shared.names.text(name).parse().map_err(unreadable)
}

/// A delivery's attempts, oldest first.
fn history(
    shared: &Shared,
    conn: &Connection,
    delivery: i64,
) -> rusqlite::Result<Vec<AttemptDetail>> {
    let mut history = Vec::new();
    for (n, messages) in attempts_of(conn, delivery)? {
        let mut attempt = attempt(shared, conn, n)?;
        for message in messages {
            attempt.messages.extend(delivery_row(shared, conn, message)?.map(|m| m.detail));
        }
        history.push(attempt);
    }
    history.reverse();
    Ok(history)
}

fn attempt(shared: &Shared, conn: &Connection, n: i64) -> rusqlite::Result<AttemptDetail> {
    let (mut attempt, emitted) = conn
        .prepare_cached(
            "SELECT generation, number, started_at, duration_us, outcome, reason, version, log, log_size, status,
               snippet, first_event, events, other_version, other_outcome, other_reason FROM attempt WHERE n = ?1",
        )?
        .query_row([n], |row| {
            let started_at = num::time(row.get(2)?);
            let log: Option<Vec<u8>> = row.get(7)?;
            let log_size = row.get::<_, Option<i64>>(8)?.map(num::length);
            let version: Option<NameId> = row.get(6)?;
            let first: i64 = row.get::<_, Option<i64>>(11)?.unwrap_or(0);
            let other = match row.get::<_, Option<NameId>>(13)? {
                Some(version) => Some(OtherRunDetail {
                    version: shared.names.text(version).to_string(),
                    outcome: outcome(&row.get::<_, String>(14)?),
                    reason: row.get::<_, Option<String>>(15)?.map(Into::into),
                }),
                None => None,
            };
            let detail = AttemptDetail {
                id: shared.ids.attempt(started_at, n),
                generation: row.get(0)?,
                number: row.get(1)?,
                started_at,
                duration_us: num::count(row.get(3)?),
                outcome: outcome(&row.get::<_, String>(4)?),
                reason: row.get::<_, Option<String>>(5)?.map(Into::into),
                version: version.map(|v| shared.names.text(v).to_string()),
                other,
                log: log.and_then(|log| payloads::unpack_text(&log, log_size)),
                response_status: row.get(9)?,
                response_snippet: row.get::<_, Option<String>>(10)?.map(Into::into),
                messages: Vec::new(),
                emitted: Vec::new(),
            };
            Ok((detail, first..first + row.get::<_, Option<i64>>(12)?.unwrap_or(0)))
        })?;
    for event in emitted {
        let at: Option<i64> = conn
            .prepare_cached("SELECT at FROM event WHERE n = ?1")?
            .query_row([event], |row| row.get(0))
            .optional()?;
        attempt.emitted.extend(at.map(|at| shared.ids.event(num::time(at), event)));
    }
    Ok(attempt)
}

fn outcome(word: &str) -> Outcome {
    Outcome::parse(word).unwrap_or(Outcome::Internal)
}

/// One delivery with its attempts.
pub(crate) fn delivery(
    shared: &Shared,
    id: DeliveryId,
) -> rusqlite::Result<Option<DeliveryDetail>> {
    let Some(row) = shared.ids.open(RowKind::Delivery, id.bits()) else { return Ok(None) };
    shared.readers.with(|conn| {
        let found = delivery_row(shared, conn, row.n)?.filter(|found| found.event_at == row.at);
        let Some(found) = found else { return Ok(None) };
        let mut detail = found.detail;
        detail.history = history(shared, conn, row.n)?;
        Ok(Some(detail))
    })
}

/// Totals from memory.
pub(crate) fn counts(shared: &Shared, filter: CountsFilter) -> Vec<CountRow> {
    let mut rows: FxHashMap<(NameId, &'static str), i64> = FxHashMap::default();
    match filter {
        CountsFilter::Events => {
            for ((source, what), count) in &shared.totals.lock().events {
                let count = i64::try_from(*count).unwrap_or(i64::MAX);
                *rows.entry((*source, what.as_str())).or_insert(0) += count;
            }
        }
        CountsFilter::Unrouted => {
            for (source, count) in &shared.totals.lock().unrouted {
                *rows.entry((*source, "unrouted")).or_insert(0) += count;
            }
        }
        CountsFilter::Deliveries => {
            let totals = shared.totals.lock();
            let due = shared.due.lock();
            for ((queue_key, state), count) in &totals.states {
                let held = *state == DeliveryState::Pending && due.is_held(*queue_key);
                let what = if held { "held" } else { state.as_str() };
                *rows.entry((queue_key.target, what)).or_insert(0) += count;
            }
            for (queue_key, first_attempt) in due.claimed() {
                let state =
                    if first_attempt { DeliveryState::Pending } else { DeliveryState::Retrying };
                let held = first_attempt && due.is_held(queue_key);
                let what = if held { "held" } else { state.as_str() };
                *rows.entry((queue_key.target, what)).or_insert(0) -= 1;
                *rows.entry((queue_key.target, DeliveryState::Processing.as_str())).or_insert(0) +=
                    1;
            }
        }
    }
    let row = |((name, what), count): ((NameId, &'static str), i64)| CountRow {
        of: shared.names.text(name).to_string(),
        what,
        count: num::count(count),
    };
    let mut rows: Vec<CountRow> = rows.into_iter().filter(|(_, n)| *n > 0).map(row).collect();
    rows.sort_by(|a, b| (&a.of, a.what).cmp(&(&b.of, b.what)));
    rows
}
