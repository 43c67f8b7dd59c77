//! Rerouting: giving an event the deliveries of its current routes. Finished deliveries get a new
//! generation and missing ones are made; none is copied.

use rusqlite::{OptionalExtension, params};
use weir_core::delivery::{DeliveryState, Outcome};

use crate::Routed;
use crate::sqlite::engine::group::Writing;
use crate::sqlite::memory::dedup::FirstEvent;
use crate::sqlite::rows::delivery::Delivery;
use crate::sqlite::rows::history::{RoutedEvent, direct, is_dead, is_erased, of_event};
use crate::sqlite::rows::lineage;
use crate::sqlite::write::ingest::{DeliveryDefaults, decisions, store_delivery};
use crate::sqlite::write::replay::due_again;

/// Handles a duplicate of an event: its dead letters are due again, and an unrouted event gets its
/// current routes. True if there was anything to do.
pub(crate) fn redelivered(
    writing: &mut Writing<'_>,
    first: FirstEvent,
    routed: &Routed,
    routing: i64,
) -> rusqlite::Result<bool> {
    let Some(event) = RoutedEvent::read(writing.conn, first.event, first.at)? else {
        return Ok(false);
    };
    if event.is_unrouted() {
        return Ok(!route_again(writing, &event, routed, routing, false)?.is_empty());
    }
    let mut dead = Vec::new();
    for n in of_event(writing.conn, event.n, event.at)? {
        if is_dead(writing.conn, n)? && may_be_due(writing, n, routed)? {
            dead.push(n);
        }
    }
    due_again(writing, &dead, false)?;
    Ok(!dead.is_empty())
}

/// False for a dead letter whose rule could not be evaluated, unless the routes of now deliver it.
fn may_be_due(writing: &Writing<'_>, n: i64, routed: &Routed) -> rusqlite::Result<bool> {
    let failed: Option<String> = writing
        .conn
        .prepare_cached(
            "SELECT t.text FROM delivery d JOIN attempt a ON a.n = d.last_attempt
             JOIN name t ON t.n = d.target WHERE d.n = ?1 AND d.cause IS NULL AND a.outcome = ?2",
        )?
        .query_row(params![n, Outcome::ConditionError.as_str()], |row| row.get(0))
        .optional()?;
    let delivers = |target: &str| {
        let mut found = routed.deliveries.iter().filter(|d| d.target.to_string() == target);
        found.any(|delivery| delivery.error.is_none())
    };
    Ok(failed.is_none_or(|target| delivers(&target)))
}

/// Gives an event the deliveries of its routes; none if its contents were erased. Unfinished
/// deliveries do not change, nor do those to targets that are not routes any more. Returns the
/// deliveries that are due now and were not before.
pub(crate) fn route_again(
    writing: &mut Writing<'_>,
    event: &RoutedEvent,
    routed: &Routed,
    routing: i64,
    new_ids: bool,
) -> rusqlite::Result<Vec<i64>> {
    let conn = writing.conn;
    if is_erased(conn, event.n)? {
        return Ok(Vec::new());
    }
    let mut known = Vec::new();
    for n in direct(conn, event.n)? {
        known.extend(Delivery::read(conn, n)?);
    }
    let mut due = Vec::new();
    let mut missing = Vec::new();
    for delivery in &routed.deliveries {
        let target = writing.name(&delivery.target.to_string())?;
        match known.iter().find(|d| d.queue_key.target == target) {
            // Its rule still has no decision.
            Some(_) if delivery.error.is_some() => {}
            Some(known) if known.state.is_some_and(DeliveryState::is_final) => due.push(known.n),
            Some(_) => {}
            None => missing.push(delivery),
        }
    }
    due_again(writing, &due, new_ids)?;
    if missing.is_empty() {
        return Ok(due);
    }
    lineage::restart(conn, &writing.shared.ids, event.n)?;
    let defaults = DeliveryDefaults {
        source: event.source,
        event: event.n,
        // Late work, so that fresh events go first.
        due_at: Some(writing.now.due),
        keyed: None,
        cancelled: false,
    };
    let first = writing.next.delivery;
    for delivery in missing {
        store_delivery(writing, &defaults, delivery, None)?;
    }
    let end = writing.next.delivery;
    if event.is_unrouted() {
        conn.prepare_cached(
            "UPDATE event SET first_delivery = ?2, deliveries = ?3, routing = ?4, decisions = ?5
             WHERE n = ?1",
        )?
        .execute(params![event.n, first, end - first, routing, decisions(routed)])?;
        writing.post_commit.unrouted(event.source, event.n, -1);
    } else {
        conn.prepare_cached("UPDATE delivery SET added = 1 WHERE n >= ?1 AND n < ?2")?
            .execute([first, end])?;
    }
    due.extend(first..end);
    Ok(due)
}
