//! Settling: recording the end of an attempt with all its effects in one write (INV-3, INV-4).
//!
//! All checks come before the first write, so that a refused settlement writes nothing.

use rusqlite::params;
use std::sync::atomic::Ordering;
use weir_core::delivery::fits_lineage_limit;

use weir_core::delivery::{DeliveryState, Fence, NextState};

use crate::error::StoreError;
use crate::health::UnreadableRows;
use crate::sqlite::engine::group::{WriteError, Writing};
use crate::sqlite::engine::prepared_settlement::PreparedSettlement;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::damage::is_unreadable;
use crate::sqlite::format::names::NameId;
use crate::sqlite::format::next_numbers::take;
use crate::sqlite::format::num;
use crate::sqlite::memory::due::DueEntry;
use crate::sqlite::rows::delivery::Delivery;
use crate::sqlite::rows::{keys, lineage, suspect_rows};
use crate::sqlite::write::effects::{EffectCause, Written};
use crate::sqlite::write::{effects, state};
use crate::{Settled, Settlement};

/// Settles an attempt. Its answer may be sent only after the commit.
pub(crate) fn apply(
    writing: &mut Writing<'_>,
    prepared: &PreparedSettlement,
) -> Result<Settled, WriteError> {
    let settlement = &*prepared.settlement;
    if writing.shared.unreadable.has("delivery", prepared.row.n) {
        let problem = format!("{} is set aside: its rows cannot be written", settlement.delivery);
        return Err(WriteError::Refused(StoreError::Damaged(problem)));
    }
    let Some(delivery) = Delivery::read(writing.conn, prepared.row.n)? else {
        return Ok(Settled::Superseded);
    };
    if delivery.event_at != prepared.row.at {
        return Err(WriteError::invalid(format!("there is no delivery {}", settlement.delivery)));
    }
    if !delivery.waits() || delivery.fence() != settlement.fence {
        // The holder of this claim must not get the delivery back by dropping it.
        writing.post_commit.settled.push((delivery.n, settlement.fence));
        return Ok(Settled::Superseded);
    }
    let cause = EffectCause::of(writing, &delivery, &settlement.effects)?;
    if let Some(key) = state::conflict(writing.conn, delivery.queue_key.target, &settlement.reads)?
    {
        return Ok(Settled::StateConflict { key });
    }
    let growth = state::growth(
        writing.conn,
        delivery.queue_key.target,
        &settlement.effects.state,
        settlement.quota,
    )?;
    if let Err(wanted) = growth {
        return Ok(Settled::StateFull { wanted });
    }
    let emits = settlement.effects.emits.len();
    if emits > 0 {
        let ids = &writing.shared.ids;
        let descendants = lineage::descendants(writing.conn, ids, delivery.event)?;
        if !fits_lineage_limit(descendants, emits) {
            return Ok(Settled::Exhausted { descendants });
        }
        lineage::add(writing.conn, ids, delivery.event, emits)?;
    }
    let attempt = take(&mut writing.next.attempt);
    let effects = effects::EffectsToWrite { asked: &settlement.effects, packed: &prepared.effects };
    let made = effects::apply(writing, &cause, attempt, effects)?;
    insert_attempt(writing, &delivery, attempt, prepared, &made)?;
    move_on(writing, &delivery, attempt, settlement.next)?;
    let id = writing.shared.ids.attempt(settlement.attempt.started_at, attempt);
    Ok(Settled::Applied { attempt: id, emitted: made.emitted })
}

/// Handles a settlement that could not be written. If a page is damaged, its delivery is set aside,
/// so that the next group does not fail too and nothing is sent repeatedly. True if it was set
/// aside.
pub(crate) fn failed(
    shared: &Shared,
    prepared: &PreparedSettlement,
    error: &rusqlite::Error,
) -> bool {
    if !is_unreadable(error) {
        return false;
    }
    let n = prepared.row.n;
    let target = shared.due.lock().keep_claimed(n).map(|name| shared.names.text(name));
    shared.unreadable.put(UnreadableRows {
        what: "delivery",
        first: n,
        last: n,
        id: Some(prepared.settlement.delivery.to_string().into()),
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
    prepared: &PreparedSettlement,
    made: &Written,
) -> rusqlite::Result<()> {
    let Settlement { attempt: record, fence, .. } = &*prepared.settlement;
    let hash = |version: Option<&[u8; 32]>| {
        version.map(|version| writing.name(&hex::encode(version))).transpose()
    };
    let version = hash(record.version.as_ref())?;
    let other = record.other.as_ref();
    let other_version = hash(other.map(|other| &other.version))?;
    let (log, log_size) = match &prepared.log {
        Some((log, size)) => (Some(&**log), size.map(num::column)),
        None => (None, None),
    };
    let response = record.response.as_ref();
    writing
        .conn
        .prepare_cached(
            "INSERT INTO attempt (n, delivery, previous, generation, number, started_at, duration_us, outcome,
               reason, version, log, log_size, status, snippet, first_message, messages, first_event, events,
               other_version, other_outcome, other_reason)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
        )?
        .execute(params![
            n,
            delivery.n,
            delivery.last_attempt,
            fence.generation,
            fence.attempt,
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
            made.events.map(|(_, count)| count),
            other_version,
            other.map(|other| other.outcome.as_str()),
            other.and_then(|other| other.reason.as_deref())
        ])?;
    match &prepared.reads {
        Some(reads) => reads.write(writing.conn, n),
        None => Ok(()),
    }
}

/// Writes the delivery's new state.
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
    writing.post_commit.settled.push((delivery.n, delivery.fence()));
    if writing.shared.suspects.load(Ordering::Relaxed) > 0 {
        suspect_rows::forget(writing.conn, delivery.n)?;
        writing.post_commit.cleared.push(delivery.n);
    }
    match due_at {
        Some(due_at) => {
            let fence = Fence { generation: delivery.generation, attempt: delivery.attempts + 2 };
            let order_key = delivery.order_key.clone();
            let entry =
                DueEntry { n: delivery.n, due_at: Some(due_at), fence, order_key, handoff: None };
            writing.post_commit.queued.push((delivery.queue_key, entry));
        }
        None => end_turn(writing, delivery),
    }
    if let Some(keyed) = delivery.keyed {
        keys::tidy_key(writing.conn, keyed)?;
    }
    Ok(())
}

/// Counts a delivery that left the state in which it waited.
pub(crate) fn left_waiting(writing: &mut Writing<'_>, delivery: &Delivery, to: DeliveryState) {
    writing.post_commit.moved((delivery.queue_key, delivery.n), delivery.state, Some(to));
    if delivery.state == Some(DeliveryState::Pending) && delivery.due_at.is_none() {
        writing.post_commit.fresh.push((delivery.n, -1));
    }
}

/// Ends the turn of a delivery, so that the next one of its order key is due.
pub(crate) fn end_turn(writing: &mut Writing<'_>, delivery: &Delivery) {
    if let Some(key) = &delivery.order_key {
        let target: NameId = delivery.queue_key.target;
        writing.post_commit.turns_ended.push((target, key.clone(), delivery.n));
    }
}
