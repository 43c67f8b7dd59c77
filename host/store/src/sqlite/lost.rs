//! Host lost: what was running when the process before this one died is charged an attempt, before anything can be
//! claimed, and is kept apart as suspect until an attempt has ended.

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::delivery::{DeliveryState, NextState as Decided, Outcome, after_host_lost};
use weir_core::time::Timestamp;

use super::aside::is_unreadable;
use super::group::{Next, take};
use super::settle::Delivery;
use super::slots::Run;
use super::{effects, num};

const REASON: &str = "the host died while it ran";

/// Charges runs in one commit; one whose settlement was committed is not among them. What is tried again is due from
/// `now` on. Returns the deliveries that are given up for it, with the times of their events.
pub(super) fn charge(
    conn: &Connection,
    runs: &[Run],
    now: Timestamp,
) -> rusqlite::Result<Vec<(Timestamp, i64)>> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let tx = conn.unchecked_transaction()?;
    let mut next = Next::load(&tx)?;
    let mut given_up = Vec::new();
    let mut under_way = Vec::with_capacity(runs.len());
    for run in runs {
        match Delivery::read(&tx, run.n) {
            // It is set aside when it is to be claimed; whatever it is, it ran beside the others.
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
    run: &Run,
    (attempt, alone): (i64, bool),
    now: Timestamp,
) -> rusqlite::Result<Decided> {
    let decided = after_host_lost(lost_before(conn, delivery)?, alone);
    tracing::warn!(
        delivery = delivery.n,
        attempt = run.fence.attempt,
        alone,
        given_up = decided == Decided::DeadLetter,
        "the host died while this delivery ran"
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
        suspect(conn, delivery.n)?;
    } else {
        forget(conn, delivery.n)?;
    }
    if let Some(keyed) = delivery.keyed {
        effects::tidy_key(conn, keyed)?;
    }
    Ok(decided)
}

/// Attempts of the delivery's generation that the host did not survive.
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

/// Whether the host did not survive the delivery's last attempt.
pub(super) fn was_last(conn: &Connection, delivery: &Delivery) -> rusqlite::Result<bool> {
    let Some(last) = delivery.last_attempt else { return Ok(false) };
    let outcome: Option<String> = conn
        .prepare_cached("SELECT outcome FROM attempt WHERE n = ?1")?
        .query_row([last], |row| row.get(0))
        .optional()?;
    Ok(outcome.as_deref() == Some(Outcome::HostLost.as_str()))
}

/// Keeps a delivery apart until an attempt of it has ended.
pub(super) fn suspect(conn: &Connection, n: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR IGNORE INTO suspect (delivery) VALUES (?1)")?.execute([n])?;
    Ok(())
}

/// The suspects that wait.
pub(super) fn suspects(conn: &Connection) -> rusqlite::Result<Vec<Delivery>> {
    let mut statement = conn.prepare("SELECT delivery FROM suspect ORDER BY delivery")?;
    let numbers =
        statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut found = Vec::with_capacity(numbers.len());
    for n in numbers {
        match Delivery::read(conn, n) {
            // It is set aside when it is to be claimed.
            Err(e) if is_unreadable(&e) => {}
            read => found.extend(read?.filter(Delivery::waits)),
        }
    }
    Ok(found)
}

/// An attempt of it has ended, or there will be none.
pub(super) fn forget(conn: &Connection, n: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM suspect WHERE delivery = ?1")?.execute([n])?;
    Ok(())
}
