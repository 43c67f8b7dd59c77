//! Settling: the one write that records an attempt's end with everything that follows from it (INV-3, INV-4).
//!
//! First everything is checked, then everything is written, so that a refused settlement has written nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rusqlite::{OptionalExtension, params};
use weir_core::delivery::{DeliveryState, Fence, NextState, fits_lineage_limit};
use weir_core::id::DeliveryId;
use weir_core::state::ReadSet;
use weir_core::time::Timestamp;

use super::aside::is_unreadable;
use super::due::{Entry, Place};
use super::effects::{self, Cause, Made, PreparedEffects};
use super::group::{Writing, take};
use super::ids::{Row, RowKind};
use super::names::NameId;
use super::{lines, lost, num, payloads, state};
use crate::condition::UnreadableRows;
use crate::error::StoreError;
use crate::{AttemptRecord, Settled, Settlement};

/// A settlement as far as it can be prepared without the writer.
pub(super) struct PreparedSettlement {
    delivery: DeliveryId,
    row: Row,
    fence: Fence,
    attempt: AttemptRecord,
    log: Option<(Bytes, Option<usize>)>,
    next: NextState,
    reads: ReadSet,
    pub(super) effects: PreparedEffects,
}

/// Prepares a settlement: packing, and what can be refused without looking.
pub(super) fn prepare(
    shared: &super::Shared,
    settlement: Settlement,
) -> Result<PreparedSettlement, StoreError> {
    let Settlement { delivery, fence, attempt, next, effects, reads } = settlement;
    let row = shared
        .ids
        .open(RowKind::Delivery, delivery.bits())
        .ok_or_else(|| StoreError::Invalid(format!("there is no delivery {delivery}")))?;
    let asked = !effects.cancels.is_empty()
        || !effects.messages.is_empty()
        || !effects.emits.is_empty()
        || !effects.state.is_empty()
        || effects.reply.is_some();
    if asked && next != NextState::Processed {
        return Err(StoreError::Invalid("only a processed delivery can have effects".into()));
    }
    let log = attempt.log.as_deref().map(payloads::pack_text);
    let effects = effects::prepare(shared, effects)?;
    Ok(PreparedSettlement { delivery, row, fence, attempt, log, next, reads, effects })
}

impl PreparedSettlement {
    /// Bytes that it will write, for bounding the queue.
    pub(super) fn bytes(&self) -> usize {
        self.log.as_ref().map_or(0, |(log, _)| log.len()) + self.effects.bytes() + 256
    }
}

/// A delivery's row as settling needs it.
pub(super) struct Delivery {
    pub(super) n: i64,
    pub(super) event: i64,
    pub(super) event_at: Timestamp,
    pub(super) place: Place,
    pub(super) state: Option<DeliveryState>,
    pub(super) generation: u32,
    pub(super) attempts: u32,
    pub(super) due_at: Option<Timestamp>,
    pub(super) last_attempt: Option<i64>,
    pub(super) order_key: Option<Arc<str>>,
    /// Its place in line.
    pub(super) turn: i64,
    pub(super) keyed: Option<i64>,
    pub(super) id_round: u32,
}

impl Delivery {
    pub(super) fn read(conn: &rusqlite::Connection, n: i64) -> rusqlite::Result<Option<Self>> {
        conn.prepare_cached(
            "SELECT d.event, e.at, d.target, d.source, d.state, d.generation, d.attempts, d.due_at,
               d.last_attempt, d.order_key, d.keyed, d.id_round, ifnull(d.turn, d.n)
             FROM delivery d JOIN event e ON e.n = d.event WHERE d.n = ?1",
        )?
        .query_row([n], |row| {
            Ok(Self {
                n,
                event: row.get(0)?,
                event_at: num::time(row.get(1)?),
                place: Place { target: row.get(2)?, source: row.get(3)? },
                state: DeliveryState::from_stored(row.get(4)?),
                generation: row.get(5)?,
                attempts: row.get(6)?,
                due_at: row.get::<_, Option<i64>>(7)?.map(num::time),
                last_attempt: row.get(8)?,
                order_key: row.get::<_, Option<String>>(9)?.map(Into::into),
                keyed: row.get(10)?,
                id_round: row.get::<_, Option<u32>>(11)?.unwrap_or(0),
                turn: row.get(12)?,
            })
        })
        .optional()
    }

    /// Whether it waits for an attempt.
    pub(super) fn waits(&self) -> bool {
        matches!(self.state, Some(DeliveryState::Pending | DeliveryState::Retrying))
    }

    /// How it waits, as read from its row.
    pub(super) fn entry(&self) -> Entry {
        Entry {
            n: self.n,
            due_at: self.due_at,
            fence: self.fence(),
            order_key: self.order_key.clone(),
            handoff: None,
        }
    }

    /// The claim that its next attempt needs.
    pub(super) fn fence(&self) -> Fence {
        Fence { generation: self.generation, attempt: self.attempts + 1 }
    }
}

/// Settles one attempt. Its answer may go out only after the commit.
pub(super) fn apply(
    writing: &mut Writing<'_>,
    settlement: &PreparedSettlement,
) -> rusqlite::Result<Result<Settled, StoreError>> {
    if writing.shared.aside.has("delivery", settlement.row.n) {
        let problem = format!("{} is set aside: its rows cannot be written", settlement.delivery);
        return Ok(Err(StoreError::Damaged(problem)));
    }
    let Some(delivery) = Delivery::read(writing.conn, settlement.row.n)? else {
        return Ok(Ok(Settled::Superseded));
    };
    if delivery.event_at != settlement.row.at {
        let problem = format!("there is no delivery {}", settlement.delivery);
        return Ok(Err(StoreError::Invalid(problem)));
    }
    if !delivery.waits() || delivery.fence() != settlement.fence {
        // Whoever holds this claim must not get the delivery back by dropping it.
        writing.learned.settled.push((delivery.n, settlement.fence));
        return Ok(Ok(Settled::Superseded));
    }
    let cause = match Cause::of(writing, &delivery, &settlement.effects)? {
        Ok(cause) => cause,
        Err(refused) => return Ok(Err(refused)),
    };
    if let Some(key) = state::conflict(writing.conn, delivery.place.target, &settlement.reads)? {
        return Ok(Ok(Settled::StateConflict { key }));
    }
    let emits = settlement.effects.emits();
    if emits > 0 {
        let ids = &writing.shared.ids;
        let descendants = lines::descendants(writing.conn, ids, delivery.event)?;
        if !fits_lineage_limit(descendants, emits) {
            return Ok(Ok(Settled::Exhausted { descendants }));
        }
        lines::add(writing.conn, ids, delivery.event, emits)?;
    }
    let attempt = take(&mut writing.next.attempt);
    let made = effects::apply(writing, &cause, attempt, &settlement.effects)?;
    insert_attempt(writing, &delivery, attempt, settlement, &made)?;
    move_on(writing, &delivery, attempt, settlement.next)?;
    let id = writing.shared.ids.attempt(settlement.attempt.started_at, attempt);
    Ok(Ok(Settled::Applied { attempt: id, emitted: made.emitted }))
}

/// A settlement could not be written. Where that is for a damaged page, its delivery is set aside for good, so that the
/// next group is not lost too and nothing is sent again and again. Returns whether it is.
pub(super) fn failed(
    shared: &super::Shared,
    settlement: &PreparedSettlement,
    error: &rusqlite::Error,
) -> bool {
    if !is_unreadable(error) {
        return false;
    }
    let n = settlement.row.n;
    let target = shared.due.lock().keep_claimed(n).map(|name| shared.names.text(name));
    shared.aside.put(UnreadableRows {
        what: "delivery",
        first: n,
        last: n,
        id: Some(settlement.delivery.to_string().into()),
        target,
        reason: format!("the end of an attempt cannot be written: {error}").into(),
        found_at: shared.clock.now(),
    });
    true
}

fn insert_attempt(
    writing: &Writing<'_>,
    delivery: &Delivery,
    n: i64,
    settlement: &PreparedSettlement,
    made: &Made,
) -> rusqlite::Result<()> {
    let record = &settlement.attempt;
    let version = match &record.version {
        Some(version) => Some(writing.name(&hex::encode(version))?),
        None => None,
    };
    let (log, log_size) = match &settlement.log {
        Some((log, size)) => (Some(&**log), size.map(num::column)),
        None => (None, None),
    };
    let response = record.response.as_ref();
    writing
        .conn
        .prepare_cached(
            "INSERT INTO attempt (n, delivery, previous, generation, number, started_at, duration_us, outcome,
               reason, version, log, log_size, status, snippet, first_message, messages, first_event, events)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
        )?
        .execute(params![
            n,
            delivery.n,
            delivery.last_attempt,
            settlement.fence.generation,
            settlement.fence.attempt,
            num::stored_time(record.started_at),
            num::micros(record.duration),
            record.outcome.as_str(),
            record.reason,
            version,
            log,
            log_size,
            response.map(|r| r.status),
            response.map(|r| &*r.snippet),
            made.messages.map(|(first, _)| first),
            made.messages.map(|(_, count)| count),
            made.events.map(|(first, _)| first),
            made.events.map(|(_, count)| count)
        ])?;
    Ok(())
}

/// Writes the delivery's new state, and tells memory.
fn move_on(
    writing: &mut Writing<'_>,
    delivery: &Delivery,
    attempt: i64,
    next: NextState,
) -> rusqlite::Result<()> {
    let (to, due_at) = match next {
        NextState::Processed => (DeliveryState::Processed, None),
        NextState::DeadLetter => (DeliveryState::DeadLetter, None),
        NextState::Retry { delay } => (DeliveryState::Retrying, Some(writing.now.due.after(delay))),
    };
    writing
        .conn
        .prepare_cached(
            "UPDATE delivery SET state = ?2, attempts = ?3, due_at = ?4, last_attempt = ?5 WHERE n = ?1",
        )?
        .execute(params![
            delivery.n,
            to as u8,
            delivery.attempts + 1,
            due_at.map(num::stored_time),
            attempt
        ])?;
    left_waiting(writing, delivery, to);
    writing.learned.settled.push((delivery.n, delivery.fence()));
    if writing.shared.suspects.load(Ordering::Relaxed) > 0 {
        lost::forget(writing.conn, delivery.n)?;
        writing.learned.cleared.push(delivery.n);
    }
    match due_at {
        Some(due_at) => {
            let fence = Fence { generation: delivery.generation, attempt: delivery.attempts + 2 };
            let order_key = delivery.order_key.clone();
            let entry =
                Entry { n: delivery.n, due_at: Some(due_at), fence, order_key, handoff: None };
            writing.learned.fed.push((delivery.place, entry));
        }
        None => end_turn(writing, delivery),
    }
    if let Some(keyed) = delivery.keyed {
        effects::tidy_key(writing.conn, keyed)?;
    }
    Ok(())
}

/// Counts a delivery out of the state that it waited in.
pub(super) fn left_waiting(writing: &mut Writing<'_>, delivery: &Delivery, to: DeliveryState) {
    writing.learned.moved(delivery.place, delivery.state, Some(to));
    if delivery.state == Some(DeliveryState::Pending) && delivery.due_at.is_none() {
        writing.learned.fresh.push((delivery.n, -1));
    }
}

/// Lets the next one of its order key go, if it has one.
pub(super) fn end_turn(writing: &mut Writing<'_>, delivery: &Delivery) {
    if let Some(key) = &delivery.order_key {
        let target: NameId = delivery.place.target;
        writing.learned.turns_ended.push((target, key.clone(), delivery.n));
    }
}
