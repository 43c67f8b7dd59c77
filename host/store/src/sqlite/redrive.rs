//! Redriving: making finished or dead deliveries due again, in a new generation that fences every older claim.

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::delivery::{DeliveryState, Fence};
use weir_core::time::Timestamp;

use super::due::Entry;
use super::group::{JobError, Writing};
use super::ids::RowKind;
use super::num;
use super::settle::Delivery;
use crate::error::StoreError;
use crate::upkeep::{Redrive, RedriveWhat, Redriven};

/// Most deliveries that one call may make due again.
const LIMIT_MAX: usize = 10_000;

pub(super) fn redrive(writing: &mut Writing<'_>, redrive: &Redrive) -> Result<Redriven, JobError> {
    if redrive.request.is_empty() || redrive.request.len() > 256 {
        let problem = "a redrive's name has 1 to 256 bytes".to_owned();
        return Err(JobError::Refused(StoreError::Invalid(problem)));
    }
    if let Some(done) = done_before(writing, &redrive.request)? {
        return Ok(done);
    }
    let limit = redrive.limit.min(LIMIT_MAX);
    let found = candidates(writing, &redrive.what, limit + 1)?;
    let mut redriven = Redriven { deliveries: Vec::new(), more: found.len() > limit };
    let mut numbers = Vec::with_capacity(8 * found.len());
    for n in found.into_iter().take(limit) {
        let Some(delivery) = Delivery::read(writing.conn, n)? else { continue };
        due_again(writing, &delivery)?;
        numbers.extend(n.to_le_bytes());
        redriven.deliveries.push(writing.shared.ids.delivery(delivery.event_at, n));
    }
    writing
        .conn
        .prepare_cached(
            "INSERT INTO redrive (request, at, deliveries, more) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![redrive.request, num::stored_time(writing.now), numbers, redriven.more])?;
    Ok(redriven)
}

/// What a redrive of the same name did.
fn done_before(writing: &Writing<'_>, request: &str) -> rusqlite::Result<Option<Redriven>> {
    let known: Option<(Vec<u8>, bool)> = writing
        .conn
        .prepare_cached("SELECT deliveries, more FROM redrive WHERE request = ?1")?
        .query_row([request], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((numbers, more)) = known else { return Ok(None) };
    let mut deliveries = Vec::new();
    for number in numbers.as_chunks::<8>().0 {
        // One that retention has removed since is left out.
        if let Some(delivery) = Delivery::read(writing.conn, i64::from_le_bytes(*number))? {
            deliveries.push(writing.shared.ids.delivery(delivery.event_at, delivery.n));
        }
    }
    Ok(Some(Redriven { deliveries, more }))
}

fn candidates(
    writing: &Writing<'_>,
    what: &RedriveWhat,
    limit: usize,
) -> Result<Vec<i64>, JobError> {
    let conn = writing.conn;
    let limit = num::column(limit);
    match what {
        RedriveWhat::Delivery(id) => {
            let row = writing.shared.ids.open(RowKind::Delivery, id.bits());
            let delivery = match row {
                Some(row) => Delivery::read(conn, row.n)?.filter(|d| d.event_at == row.at),
                None => None,
            };
            let Some(delivery) = delivery else {
                let problem = format!("there is no delivery {id}");
                return Err(JobError::Refused(StoreError::Invalid(problem)));
            };
            let over = delivery.state.is_some_and(DeliveryState::is_final);
            Ok(if over { vec![delivery.n] } else { Vec::new() })
        }
        RedriveWhat::Event(id) => {
            let row = writing.shared.ids.open(RowKind::Event, id.bits());
            let Some(row) = row else {
                let problem = format!("there is no event {id}");
                return Err(JobError::Refused(StoreError::Invalid(problem)));
            };
            let mut dead = Vec::new();
            for n in of_event(conn, row.n, row.at)? {
                if is_dead(conn, n)? {
                    dead.push(n);
                }
            }
            Ok(dead)
        }
        RedriveWhat::DeadLetters(target) => {
            let target = match target {
                None => None,
                Some(target) => match writing.shared.names.find(&target.to_string()) {
                    Some(name) => Some(name),
                    None => return Ok(Vec::new()),
                },
            };
            let mut statement = conn.prepare_cached(
                "SELECT n FROM delivery WHERE state = 4 AND (?1 IS NULL OR target = ?1) LIMIT ?2",
            )?;
            let rows = statement.query_map(params![target, limit], |row| row.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        }
    }
}

fn is_dead(conn: &Connection, n: i64) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT state = 4 FROM delivery WHERE n = ?1")?
        .query_row([n], |row| row.get(0))
        .optional()
        .map(|dead| dead.unwrap_or(false))
}

/// An event's deliveries with the messages that their attempts sent.
pub(super) fn of_event(conn: &Connection, event: i64, at: Timestamp) -> rusqlite::Result<Vec<i64>> {
    let range: Option<(Option<i64>, i64)> = conn
        .prepare_cached("SELECT first_delivery, deliveries FROM event WHERE n = ?1 AND at = ?2")?
        .query_row([event, num::stored_time(at)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((Some(first), count)) = range else { return Ok(Vec::new()) };
    let mut all: Vec<i64> = (first..first + count).collect();
    for delivery in first..first + count {
        for (_, messages) in attempts_of(conn, delivery)? {
            all.extend(messages);
        }
    }
    Ok(all)
}

/// A delivery's attempts, newest first, with the deliveries of the messages that each sent.
pub(super) fn attempts_of(
    conn: &Connection,
    delivery: i64,
) -> rusqlite::Result<Vec<(i64, std::ops::Range<i64>)>> {
    let mut attempts = Vec::new();
    let mut next: Option<i64> = conn
        .prepare_cached("SELECT last_attempt FROM delivery WHERE n = ?1")?
        .query_row([delivery], |row| row.get(0))
        .optional()?
        .flatten();
    while let Some(n) = next {
        let row = conn
            .prepare_cached("SELECT previous, first_message, messages FROM attempt WHERE n = ?1")?
            .query_row([n], |row| {
                let (first, count): (Option<i64>, Option<i64>) = (row.get(1)?, row.get(2)?);
                let first = first.unwrap_or(0);
                Ok((row.get(0)?, first..first + count.unwrap_or(0)))
            })
            .optional()?;
        let Some((previous, messages)) = row else { break };
        attempts.push((n, messages));
        next = previous;
    }
    Ok(attempts)
}

fn due_again(writing: &mut Writing<'_>, delivery: &Delivery) -> rusqlite::Result<()> {
    let generation = delivery.generation + 1;
    writing
        .conn
        .prepare_cached(
            "UPDATE delivery SET state = 0, generation = ?2, attempts = 0, due_at = ?3 WHERE n = ?1",
        )?
        .execute(params![delivery.n, generation, num::stored_time(writing.now)])?;
    writing.learned.moved(delivery.place, delivery.state, Some(DeliveryState::Pending));
    let entry = Entry {
        n: delivery.n,
        due_at: Some(writing.now),
        fence: Fence { generation, attempt: 1 },
        order_key: delivery.order_key.clone(),
        handoff: None,
    };
    writing.learned.fed.push((delivery.place, entry));
    Ok(())
}

/// Forgets redrives that nobody repeats any more.
pub(super) fn forget(conn: &Connection, before: i64) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM redrive WHERE at < ?1", [before])?;
    Ok(())
}
