//! Making deliveries that wait for a retry due at once. Their generation and attempts stay as they are.

use rusqlite::params;
use weir_core::delivery::DeliveryState;

use super::group::{JobError, Writing};
use super::ids::RowKind;
use super::num;
use super::replay;
use super::settle::Delivery;
use crate::error::StoreError;
use crate::upkeep::{RetriedNow, RetryNow};

/// Most deliveries of one call.
const LIMIT_MAX: usize = 5_000;

pub(super) fn hasten(writing: &mut Writing<'_>, what: &RetryNow) -> Result<RetriedNow, JobError> {
    let mut found = candidates(writing, what)?;
    let more = found.len() > LIMIT_MAX;
    found.truncate(LIMIT_MAX);
    let mut hastened = RetriedNow { deliveries: Vec::new(), more };
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
        writing.learned.fed.push((delivery.place, entry));
        hastened.deliveries.push(writing.shared.ids.delivery(delivery.event_at, n));
    }
    Ok(hastened)
}

/// Takes a delivery out of its queue, so that it cannot be claimed before the commit. False if it is claimed already.
fn take_away(writing: &mut Writing<'_>, delivery: &Delivery) -> bool {
    let unfed = writing.learned.fed.iter().position(|(_, entry)| entry.n == delivery.n);
    if let Some(index) = unfed {
        writing.learned.fed.remove(index);
        return true;
    }
    let seized = writing.shared.due.lock().seize(delivery.place, delivery.n, delivery.due_at);
    match seized {
        Some(token) => {
            writing.learned.seized.push((delivery.n, token));
            true
        }
        None => false,
    }
}

/// At most one more than [`LIMIT_MAX`].
fn candidates(writing: &Writing<'_>, what: &RetryNow) -> Result<Vec<i64>, JobError> {
    let conn = writing.conn;
    let ids = &writing.shared.ids;
    match what {
        RetryNow::Delivery(id) => {
            let delivery = match ids.open(RowKind::Delivery, id.bits()) {
                Some(row) => Delivery::read(conn, row.n)?.filter(|d| d.event_at == row.at),
                None => None,
            };
            let delivery = delivery.ok_or_else(|| {
                JobError::Refused(StoreError::Invalid(format!("there is no delivery {id}")))
            })?;
            Ok(vec![delivery.n])
        }
        RetryNow::Event(id) => match ids.open(RowKind::Event, id.bits()) {
            Some(row) => Ok(replay::of_event(conn, row.n, row.at)?),
            None => {
                let problem = format!("there is no event {id}");
                Err(JobError::Refused(StoreError::Invalid(problem)))
            }
        },
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
