//! Replaying: making finished or dead deliveries due again, in a new generation that fences older
//! claims.

use crate::sqlite::write::reroute;
use rusqlite::{Connection, OptionalExtension, params};
use weir_core::delivery::{DeliveryState, Fence};
use weir_core::effect::reissued;
use weir_core::id::MessageId;

use crate::sqlite::engine::group::{WriteError, Writing};
use crate::sqlite::format::ids::RowKind;
use crate::sqlite::format::next_numbers::take;
use crate::sqlite::format::{num, schema};
use crate::sqlite::memory::due::DueEntry;
use crate::sqlite::rows::delivery::Delivery;
use crate::sqlite::rows::history::{RoutedEvent, is_dead, is_erased, of_event};
use crate::sqlite::rows::{lineage, suspect_rows};
use crate::upkeep::{ReplayOutcome, ReplayRequest, ReplaySelection, ReroutedEvent};

/// Limit of deliveries in one call.
const LIMIT_MAX: usize = 10_000;

pub(crate) fn replay(
    writing: &mut Writing<'_>,
    replay: &ReplayRequest,
) -> Result<ReplayOutcome, WriteError> {
    if replay.request.is_empty() || replay.request.len() > 256 {
        let problem = "a replay's idempotency key has 1 to 256 bytes".to_owned();
        return Err(WriteError::invalid(problem));
    }
    if let Some(done) = done_before(writing, &replay.request)? {
        return Ok(done);
    }
    let limit = replay.limit.min(LIMIT_MAX);
    let (due, more) = match &replay.what {
        ReplaySelection::Events(events) => reroute_events(writing, replay, events, limit, false)?,
        ReplaySelection::Unrouted(events) => reroute_events(writing, replay, events, limit, true)?,
        what => requeue(writing, replay, what, limit)?,
    };
    let mut outcome = ReplayOutcome { deliveries: Vec::new(), more };
    let mut numbers = Vec::with_capacity(8 * due.len());
    for n in due {
        let Some(delivery) = Delivery::read(writing.conn, n)? else { continue };
        numbers.extend(n.to_le_bytes());
        outcome.deliveries.push(writing.shared.ids.delivery(delivery.event_at, n));
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
            outcome.more
        ])?;
    Ok(outcome)
}

/// Makes deliveries due again without routing. Returns them, and true if the limit left some.
fn requeue(
    writing: &mut Writing<'_>,
    replay: &ReplayRequest,
    what: &ReplaySelection,
    limit: usize,
) -> Result<(Vec<i64>, bool), WriteError> {
    let mut found = candidates(writing, what, limit + 1)?;
    leave_out_erased(writing.conn, &mut found)?;
    let more = found.len() > limit;
    found.truncate(limit);
    due_again(writing, &found, replay.new_ids)?;
    Ok((found, more))
}

/// Leaves out deliveries of events whose contents were erased.
fn leave_out_erased(conn: &Connection, numbers: &mut Vec<i64>) -> rusqlite::Result<()> {
    let mut kept = Vec::with_capacity(numbers.len());
    for n in numbers.drain(..) {
        let event: i64 = conn
            .prepare_cached("SELECT event FROM delivery WHERE n = ?1")?
            .query_row([n], |row| row.get(0))?;
        if !is_erased(conn, event)? {
            kept.push(n);
        }
    }
    *numbers = kept;
    Ok(())
}

/// Routes events again, each whole or not at all. The limit counts deliveries, but one event always
/// fits.
fn reroute_events(
    writing: &mut Writing<'_>,
    replay: &ReplayRequest,
    events: &[ReroutedEvent],
    limit: usize,
    only_unrouted: bool,
) -> Result<(Vec<i64>, bool), WriteError> {
    let mut due = Vec::new();
    for (index, ReroutedEvent { event: id, routed }) in events.iter().enumerate() {
        if index > 0 && due.len() + routed.deliveries.len() > limit {
            return Ok((due, true));
        }
        let routing = writing.shared.routing(routed.table).map_err(WriteError::Refused)?;
        let event = match writing.shared.ids.open(RowKind::Event, id.bits()) {
            Some(row) => RoutedEvent::read(writing.conn, row.n, num::stored_time(row.at))?,
            None => None,
        };
        let Some(event) = event else {
            // Retention may have removed some events of a long list.
            if events.len() > 1 {
                continue;
            }
            let problem = format!("there is no event {id}");
            return Err(WriteError::invalid(problem));
        };
        if only_unrouted && !event.is_unrouted() {
            continue;
        }
        due.extend(reroute::route_again(writing, &event, routed, routing, replay.new_ids)?);
    }
    Ok((due, false))
}

/// Outcome of an earlier replay with the same key.
fn done_before(writing: &Writing<'_>, request: &str) -> rusqlite::Result<Option<ReplayOutcome>> {
    let known: Option<(Vec<u8>, bool)> = writing
        .conn
        .prepare_cached("SELECT deliveries, more FROM redrive WHERE request = ?1")?
        .query_row([request], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((numbers, more)) = known else { return Ok(None) };
    let mut deliveries = Vec::new();
    for number in numbers.as_chunks::<8>().0 {
        // A delivery that retention has removed is left out.
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
) -> Result<Vec<i64>, WriteError> {
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
                return Err(WriteError::invalid(problem));
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
                return Err(WriteError::invalid(problem));
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
        // These are routed again instead.
        ReplaySelection::Events(_) | ReplaySelection::Unrouted(_) => Ok(Vec::new()),
    }
}

/// Gives deliveries a new generation, due now. Those with an order key go to the end of their key,
/// in the order that they had.
pub(crate) fn due_again(
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

/// Gives a delivery a new generation, and its root event a new limit of descendants.
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
    lineage::restart(conn, &writing.shared.ids, delivery.event)?;
    let moved = (delivery.queue_key, delivery.n);
    writing.post_commit.moved(moved, delivery.state, Some(DeliveryState::Pending));
    let entry = DueEntry {
        n: delivery.n,
        due_at: Some(writing.now.due),
        fence: Fence { generation, attempt: 1 },
        order_key: delivery.order_key.clone(),
        handoff: None,
    };
    if suspect_rows::was_last(conn, delivery)? {
        suspect_rows::suspect(conn, delivery.n)?;
        writing.post_commit.suspected.push((delivery.queue_key, entry.clone()));
    }
    writing.post_commit.queued.push((delivery.queue_key, entry));
    Ok(())
}

/// Takes the next number as position in its order key: all stored deliveries are before it.
fn to_the_end(writing: &mut Writing<'_>, delivery: &Delivery) -> rusqlite::Result<()> {
    let turn = take(&mut writing.next.delivery);
    writing
        .conn
        .prepare_cached("UPDATE delivery SET turn = ?2 WHERE n = ?1")?
        .execute([delivery.n, turn])?;
    // No row has this number, so it is stored to survive a crash.
    schema::set_meta(writing.conn, "next_delivery", &writing.next.delivery)
}

/// Gives the effects of a delivery new outward ids. A message has its own in its row.
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

/// Forgets old replays, which are not repeated any more.
pub(crate) fn forget(conn: &Connection, before: i64) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM redrive WHERE at < ?1", [before])?;
    Ok(())
}
