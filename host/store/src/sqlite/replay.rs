//! Redriving: making finished or dead deliveries due again, in a new generation that fences every older claim.

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::delivery::{DeliveryState, Fence};
use weir_core::effect::reissued;
use weir_core::id::MessageId;
use weir_core::time::Timestamp;

use super::due::Entry;
use super::group::{JobError, Writing, take};
use super::ids::RowKind;
use super::settle::Delivery;
use super::{lines, lost, num, reroute, schema};
use crate::error::StoreError;
use crate::upkeep::{ReplayOutcome, ReplayRequest, ReplaySelection, ReroutedEvent};

/// Most deliveries that one call may make due again.
const LIMIT_MAX: usize = 10_000;

pub(super) fn replay(
    writing: &mut Writing<'_>,
    replay: &ReplayRequest,
) -> Result<ReplayOutcome, JobError> {
    if replay.request.is_empty() || replay.request.len() > 256 {
        let problem = "a redrive's name has 1 to 256 bytes".to_owned();
        return Err(JobError::Refused(StoreError::Invalid(problem)));
    }
    if let Some(done) = done_before(writing, &replay.request)? {
        return Ok(done);
    }
    let limit = replay.limit.min(LIMIT_MAX);
    let (due, more) = match &replay.what {
        ReplaySelection::Events(events) => reroute(writing, replay, events, limit, false)?,
        ReplaySelection::Unrouted(events) => reroute(writing, replay, events, limit, true)?,
        what => requeue(writing, replay, what, limit)?,
    };
    let mut redriven = ReplayOutcome { deliveries: Vec::new(), more };
    let mut numbers = Vec::with_capacity(8 * due.len());
    for n in due {
        let Some(delivery) = Delivery::read(writing.conn, n)? else { continue };
        numbers.extend(n.to_le_bytes());
        redriven.deliveries.push(writing.shared.ids.delivery(delivery.event_at, n));
    }
    writing
        .conn
        .prepare_cached(
            "INSERT INTO redrive (request, at, deliveries, more) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            replay.request,
            num::stored_time(writing.now.wall),
            numbers,
            redriven.more
        ])?;
    Ok(redriven)
}

/// Makes deliveries due again as they were filed. Returns them, and whether the limit left some.
fn requeue(
    writing: &mut Writing<'_>,
    replay: &ReplayRequest,
    what: &ReplaySelection,
    limit: usize,
) -> Result<(Vec<i64>, bool), JobError> {
    let mut found = candidates(writing, what, limit + 1)?;
    let more = found.len() > limit;
    found.truncate(limit);
    due_again(writing, &found, replay.new_ids)?;
    Ok((found, more))
}

/// Routes events again, each whole or not at all. The limit is one of deliveries, but one event always gets through.
fn reroute(
    writing: &mut Writing<'_>,
    replay: &ReplayRequest,
    events: &[ReroutedEvent],
    limit: usize,
    only_unrouted: bool,
) -> Result<(Vec<i64>, bool), JobError> {
    let mut due = Vec::new();
    for (index, ReroutedEvent { event: id, routed }) in events.iter().enumerate() {
        if index > 0 && due.len() + routed.deliveries.len() > limit {
            return Ok((due, true));
        }
        let routing = writing.shared.routing(routed.table).map_err(JobError::Refused)?;
        let event = match writing.shared.ids.open(RowKind::Event, id.bits()) {
            Some(row) => reroute::Event::read(writing.conn, row.n, num::stored_time(row.at))?,
            None => None,
        };
        let Some(event) = event else {
            // In a long list some may have been removed by retention since it was read.
            if events.len() > 1 {
                continue;
            }
            let problem = format!("there is no event {id}");
            return Err(JobError::Refused(StoreError::Invalid(problem)));
        };
        if only_unrouted && !event.is_unrouted() {
            continue;
        }
        due.extend(reroute::route_again(writing, &event, routed, routing, replay.new_ids)?);
    }
    Ok((due, false))
}

/// What a redrive of the same name did.
fn done_before(writing: &Writing<'_>, request: &str) -> rusqlite::Result<Option<ReplayOutcome>> {
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
    Ok(Some(ReplayOutcome { deliveries, more }))
}

fn candidates(
    writing: &Writing<'_>,
    what: &ReplaySelection,
    limit: usize,
) -> Result<Vec<i64>, JobError> {
    let conn = writing.conn;
    let limit = num::column(limit);
    match what {
        ReplaySelection::Delivery(id) => {
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
        ReplaySelection::DeadOf(ids) => {
            let mut dead = Vec::new();
            for row in
                ids.iter().filter_map(|id| writing.shared.ids.open(RowKind::Delivery, id.bits()))
            {
                let found = Delivery::read(conn, row.n)?.filter(|d| d.event_at == row.at);
                let found = found.filter(|d| d.state == Some(DeliveryState::DeadLetter));
                dead.extend(found.map(|delivery| delivery.n));
            }
            Ok(dead)
        }
        ReplaySelection::Event(id) => {
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
        ReplaySelection::DeadLetters(target) => {
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
        // They are routed again, not requeued.
        ReplaySelection::Events(_) | ReplaySelection::Unrouted(_) => Ok(Vec::new()),
    }
}

pub(super) fn is_dead(conn: &Connection, n: i64) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT state = 4 FROM delivery WHERE n = ?1")?
        .query_row([n], |row| row.get(0))
        .optional()
        .map(|dead| dead.unwrap_or(false))
}

/// An event's deliveries with the messages that their attempts sent.
pub(super) fn of_event(conn: &Connection, event: i64, at: Timestamp) -> rusqlite::Result<Vec<i64>> {
    if reroute::Event::read(conn, event, num::stored_time(at))?.is_none() {
        return Ok(Vec::new());
    }
    let direct = reroute::direct(conn, event)?;
    let mut all = direct.clone();
    for delivery in direct {
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

/// Raises deliveries to their next generation, due now. Those with an order key join the end of their line, in the
/// order in which they stood.
pub(super) fn due_again(
    writing: &mut Writing<'_>,
    numbers: &[i64],
    new_ids: bool,
) -> rusqlite::Result<()> {
    let mut deliveries = Vec::with_capacity(numbers.len());
    for n in numbers {
        deliveries.extend(Delivery::read(writing.conn, *n)?);
    }
    deliveries.sort_by_key(|delivery| delivery.turn);
    deliveries.iter().try_for_each(|delivery| raise(writing, delivery, new_ids))
}

/// Its line of events may lead to as many as a new one.
fn raise(writing: &mut Writing<'_>, delivery: &Delivery, new_ids: bool) -> rusqlite::Result<()> {
    let conn = writing.conn;
    let generation = delivery.generation + 1;
    if delivery.order_key.is_some() {
        to_the_end(writing, delivery)?;
    }
    conn.prepare_cached(
        "UPDATE delivery SET state = 0, generation = ?2, attempts = 0, due_at = ?3 WHERE n = ?1",
    )?
    .execute(params![delivery.n, generation, num::stored_time(writing.now.due)])?;
    if new_ids {
        reissue(conn, delivery)?;
    }
    lines::restart(conn, &writing.shared.ids, delivery.event)?;
    writing.learned.moved(delivery.place, delivery.state, Some(DeliveryState::Pending));
    let entry = Entry {
        n: delivery.n,
        due_at: Some(writing.now.due),
        fence: Fence { generation, attempt: 1 },
        order_key: delivery.order_key.clone(),
        handoff: None,
    };
    if lost::was_last(conn, delivery)? {
        lost::suspect(conn, delivery.n)?;
        writing.learned.suspected.push((delivery.place, entry.clone()));
    }
    writing.learned.fed.push((delivery.place, entry));
    Ok(())
}

/// Takes the number that is next for a place in line: everything stored so far is before it, everything later behind.
fn to_the_end(writing: &mut Writing<'_>, delivery: &Delivery) -> rusqlite::Result<()> {
    let turn = take(&mut writing.next.delivery);
    writing
        .conn
        .prepare_cached("UPDATE delivery SET turn = ?2 WHERE n = ?1")?
        .execute([delivery.n, turn])?;
    // No row has this number, so after a crash nothing else would tell that it was given out.
    schema::set_meta(writing.conn, "next_delivery", &writing.next.delivery)
}

/// Gives what follows from a delivery new outward ids; a message has its own in its row.
fn reissue(conn: &Connection, delivery: &Delivery) -> rusqlite::Result<()> {
    let round = delivery.id_round + 1;
    let message: Option<[u8; 16]> = conn
        .prepare_cached("SELECT message FROM delivery WHERE n = ?1")?
        .query_row([delivery.n], |row| row.get(0))?;
    let message = message.and_then(|bytes| num::id_bits(&bytes)).map(|bits| {
        num::stored_id(reissued(MessageId::from_bits(bits), delivery.generation + 1).bits())
    });
    conn.prepare_cached(
        "UPDATE delivery SET id_round = ?2, message = ifnull(?3, message) WHERE n = ?1",
    )?
    .execute(params![delivery.n, round, message])?;
    Ok(())
}

/// Forgets redrives that nobody repeats any more.
pub(super) fn forget(conn: &Connection, before: i64) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM redrive WHERE at < ?1", [before])?;
    Ok(())
}
