//! Making deliveries that wait for a retry due at once. Their generation and attempts do not
//! change.

use rusqlite::params;
use weir_core::delivery::DeliveryState;
use weir_core::id::{DeliveryId, EventId};

use crate::error::StoreError;
use crate::sqlite::engine::group::{WriteError, Writing};
use crate::sqlite::format::ids::RowKind;
use crate::sqlite::format::num;
use crate::sqlite::rows::delivery::Delivery;
use crate::sqlite::rows::history::of_event;
use crate::upkeep::{RetriedNow, RetryNow};

/// Limit of deliveries in one call.
const LIMIT_MAX: usize = 5_000;

pub(crate) fn retry_now(
    writing: &mut Writing<'_>,
    what: &RetryNow,
) -> Result<RetriedNow, WriteError> {
    let mut found = candidates(writing, what)?;
    let more = found.len() > LIMIT_MAX;
    found.truncate(LIMIT_MAX);
    let mut retried = RetriedNow { deliveries: Vec::new(), more };
    for n in found {
        let Some(delivery) = Delivery::read(writing.conn, n)? else { continue };
        let later = delivery.due_at.is_some_and(|due| due > writing.now.due);
        if delivery.state != Some(DeliveryState::Retrying) || !later {
            continue;
        }
        if !take_away(writing, &delivery) {
            continue;
        }
        writing
            .conn
            .prepare_cached("UPDATE delivery SET due_at = ?2 WHERE n = ?1")?
            .execute(params![n, num::stored_time(writing.now.due)])?;
        let mut entry = delivery.entry();
        entry.due_at = Some(writing.now.due);
        writing.post_commit.queued.push((delivery.queue_key, entry));
        retried.deliveries.push(writing.shared.ids.delivery(delivery.event_at, n));
    }
    Ok(retried)
}

/// Takes a delivery out of its queue, so that it is not claimed before the commit. False if it is
/// claimed already.
fn take_away(writing: &mut Writing<'_>, delivery: &Delivery) -> bool {
    let not_queued = writing.post_commit.queued.iter().position(|(_, entry)| entry.n == delivery.n);
    if let Some(index) = not_queued {
        writing.post_commit.queued.remove(index);
        return true;
    }
    let seized = writing.shared.due.lock().seize(delivery.queue_key, delivery.n, delivery.due_at);
    match seized {
        Some(token) => {
            writing.post_commit.seized.push((delivery.n, token));
            true
        }
        None => false,
    }
}

/// At most one more than [`LIMIT_MAX`].
fn candidates(writing: &Writing<'_>, what: &RetryNow) -> Result<Vec<i64>, WriteError> {
    let conn = writing.conn;
    match what {
        RetryNow::Delivery(id) => Ok(vec![number_of(writing, *id)?]),
        RetryNow::Event(id) => numbers_of_event(writing, *id),
        RetryNow::Target(target) => {
            let Some(name) = writing.shared.names.find(&target.to_string()) else {
                return Ok(Vec::new());
            };
            let mut statement = conn.prepare_cached(
                "SELECT n FROM delivery WHERE target = ?1 AND due_at > ?2 AND state = 2 LIMIT ?3",
            )?;
            let (now, limit) = (num::stored_time(writing.now.due), num::column(LIMIT_MAX + 1));
            let rows = statement.query_map(params![name, now, limit], |row| row.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        }
    }
}

/// The number of a delivery that is stored.
pub(crate) fn number_of(writing: &Writing<'_>, id: DeliveryId) -> Result<i64, WriteError> {
    let delivery = match writing.shared.ids.open(RowKind::Delivery, id.bits()) {
        Some(row) => Delivery::read(writing.conn, row.n)?.filter(|d| d.event_at == row.at),
        None => None,
    };
    let delivery = delivery.ok_or_else(|| {
        WriteError::Refused(StoreError::Invalid(format!("there is no delivery {id}")))
    })?;
    Ok(delivery.n)
}

/// The numbers of an event's deliveries and of the messages that they led to.
pub(crate) fn numbers_of_event(writing: &Writing<'_>, id: EventId) -> Result<Vec<i64>, WriteError> {
    match writing.shared.ids.open(RowKind::Event, id.bits()) {
        Some(row) => Ok(of_event(writing.conn, row.n, row.at)?),
        None => Err(WriteError::invalid(format!("there is no event {id}"))),
    }
}
