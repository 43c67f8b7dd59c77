//! Cancelling deliveries that are not finished. They stay stored as cancelled.
//!
//! A delivery that is tried now is cancelled too: its claim ends here, and its settlement is
//! refused. The next delivery of its order key does not wait for the run to end.

use std::sync::atomic::Ordering;

use rusqlite::params;
use weir_core::delivery::DeliveryState;

use crate::sqlite::engine::group::{WriteError, Writing};
use crate::sqlite::rows::delivery::Delivery;
use crate::sqlite::rows::{keys, suspect_rows};
use crate::sqlite::write::retry_now::{number_of, numbers_of_event};
use crate::sqlite::write::settle::{end_turn, left_waiting};
use crate::upkeep::{CancelOutcome, CancelSelection};

pub(crate) fn cancel(
    writing: &mut Writing<'_>,
    what: &CancelSelection,
) -> Result<CancelOutcome, WriteError> {
    let found = match what {
        CancelSelection::Delivery(id) => vec![number_of(writing, *id)?],
        CancelSelection::Event(id) => numbers_of_event(writing, *id)?,
    };
    let mut cancelled = CancelOutcome::default();
    for n in found {
        let Some(delivery) = Delivery::read(writing.conn, n)? else { continue };
        if !delivery.waits() {
            continue;
        }
        cancelled.running += usize::from(!end(writing, &delivery)?);
        cancelled.deliveries.push(writing.shared.ids.delivery(delivery.event_at, n));
    }
    Ok(cancelled)
}

/// Cancels a delivery that is not finished. False if an attempt of it is running.
pub(crate) fn end(writing: &mut Writing<'_>, delivery: &Delivery) -> Result<bool, WriteError> {
    let was_idle = take_away(writing, delivery);
    withdraw(writing, delivery)?;
    Ok(was_idle)
}

/// Takes a delivery out of its queue or ends its claim. False if an attempt of it is running.
fn take_away(writing: &mut Writing<'_>, delivery: &Delivery) -> bool {
    // A delivery that this group queues is in no queue yet.
    let queued = &mut writing.post_commit.queued;
    let before = queued.len();
    queued.retain(|(_, entry)| entry.n != delivery.n);
    let was_queued = queued.len() < before;
    let seized = writing.shared.due.lock().seize(delivery.queue_key, delivery.n, delivery.due_at);
    match seized {
        Some(token) => {
            writing.post_commit.seized.push((delivery.n, token));
            true
        }
        None => {
            writing.post_commit.settled.push((delivery.n, delivery.fence()));
            was_queued
        }
    }
}

fn withdraw(writing: &mut Writing<'_>, delivery: &Delivery) -> Result<(), WriteError> {
    writing
        .conn
        .prepare_cached("UPDATE delivery SET state = ?2, due_at = NULL WHERE n = ?1")?
        .execute(params![delivery.n, DeliveryState::Cancelled as u8])?;
    left_waiting(writing, delivery, DeliveryState::Cancelled);
    end_turn(writing, delivery);
    if writing.shared.suspects.load(Ordering::Relaxed) > 0 {
        suspect_rows::forget(writing.conn, delivery.n)?;
        writing.post_commit.cleared.push(delivery.n);
    }
    if let Some(keyed) = delivery.keyed {
        keys::tidy_key(writing.conn, keyed)?;
    }
    Ok(())
}
