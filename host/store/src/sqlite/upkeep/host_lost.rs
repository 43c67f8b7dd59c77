//! Runs that the hub did not survive: at the start, before any claim, each is charged an attempt
//! and its delivery is marked as suspect until an attempt of it has ended.

use crate::sqlite::rows::suspect_rows;
use rusqlite::{Connection, OptionalExtension, params};
use weir_core::delivery::after_host_lost;
use weir_core::delivery::{DeliveryState, NextState as Decided, Outcome};
use weir_core::time::Timestamp;

use crate::sqlite::files::slots::RunRecord;
use crate::sqlite::format::damage::is_unreadable;
use crate::sqlite::format::next_numbers::{NextNumbers, take};
use crate::sqlite::format::num;
use crate::sqlite::rows::delivery::Delivery;
use crate::sqlite::rows::keys;

const REASON: &str = "the hub died while it ran";

/// Charges runs in one commit, except those whose settlement was committed. Their deliveries are
/// due from `now` on. Returns the deliveries that are given up, with the times of their events.
pub(crate) fn charge(
    conn: &Connection,
    runs: &[RunRecord],
    now: Timestamp,
) -> rusqlite::Result<Vec<(Timestamp, i64)>> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let tx = conn.unchecked_transaction()?;
    let mut next = NextNumbers::load(&tx)?;
    let mut given_up = Vec::new();
    let mut under_way = Vec::with_capacity(runs.len());
    for run in runs {
        match Delivery::read(&tx, run.n) {
            // It is set aside when it is claimed, but it counts as a run beside the others.
            Err(e) if is_unreadable(&e) => under_way.push((run, None)),
            read => {
                let waits = |d: &Delivery| d.waits() && d.fence() == run.fence;
                under_way.extend(read?.filter(waits).map(|delivery| (run, Some(delivery))));
            }
        }
    }
    let alone = under_way.len() == 1;
    for (run, delivery) in under_way {
        let Some(delivery) = delivery else { continue };
        let decided = charge_one(&tx, &delivery, run, (take(&mut next.attempt), alone), now)?;
        if decided == Decided::DeadLetter {
            given_up.push((delivery.event_at, delivery.n));
        }
    }
    next.save(&tx)?;
    tx.commit()?;
    Ok(given_up)
}

fn charge_one(
    conn: &Connection,
    delivery: &Delivery,
    run: &RunRecord,
    (attempt, alone): (i64, bool),
    now: Timestamp,
) -> rusqlite::Result<Decided> {
    let decided = after_host_lost(lost_before(conn, delivery)?, alone);
    tracing::warn!(
        delivery = delivery.n,
        attempt = run.fence.attempt,
        alone,
        given_up = decided == Decided::DeadLetter,
        "the hub died while this delivery ran"
    );
    conn.execute(
        "INSERT INTO attempt (n, delivery, previous, generation, number, started_at, duration_us, outcome, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8)",
        params![
            attempt,
            delivery.n,
            delivery.last_attempt,
            run.fence.generation,
            run.fence.attempt,
            num::stored_time(run.started_at),
            Outcome::HostLost.as_str(),
            REASON
        ],
    )?;
    let (state, due_at) = match decided {
        Decided::Retry { delay } => (DeliveryState::Retrying, Some(now.after(delay))),
        Decided::Processed | Decided::DeadLetter => (DeliveryState::DeadLetter, None),
    };
    conn.execute(
        "UPDATE delivery SET state = ?2, attempts = ?3, due_at = ?4, last_attempt = ?5 WHERE n = ?1",
        params![
            delivery.n,
            state as u8,
            delivery.attempts + 1,
            due_at.map(num::stored_time),
            attempt
        ],
    )?;
    if due_at.is_some() {
        suspect_rows::suspect(conn, delivery.n)?;
    } else {
        suspect_rows::forget(conn, delivery.n)?;
    }
    if let Some(keyed) = delivery.keyed {
        keys::tidy_key(conn, keyed)?;
    }
    Ok(decided)
}

/// Attempts of the delivery's generation that the hub did not survive.
fn lost_before(conn: &Connection, delivery: &Delivery) -> rusqlite::Result<u32> {
    let (mut lost, mut next) = (0, delivery.last_attempt);
    while let Some(n) = next {
        let row: Option<(u32, String, Option<i64>)> = conn
            .prepare_cached("SELECT generation, outcome, previous FROM attempt WHERE n = ?1")?
            .query_row([n], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((generation, outcome, previous)) = row else { break };
        if generation != delivery.generation {
            break;
        }
        lost += u32::from(outcome == Outcome::HostLost.as_str());
        next = previous;
    }
    Ok(lost)
}
