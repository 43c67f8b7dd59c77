//! Writing under handlers' keys: a new effect replaces what waits, a cancellation drops it.

use rusqlite::{Connection, params};
use weir_core::delivery::DeliveryState;
use weir_core::effect::Cancel;

use crate::sqlite::engine::group::Writing;
use crate::sqlite::format::num;
use crate::sqlite::rows::delivery::Delivery;
use crate::sqlite::rows::keys::{KeyRow, find_key, tidy_key};
use crate::sqlite::write::effects::EffectCause;
use crate::sqlite::write::settle::{end_turn, left_waiting};

// --- keys

/// A handler's key that is used for a new effect.
#[derive(Default)]
pub(crate) struct TakenKey {
    pub(crate) row: Option<i64>,
    /// True if a cancellation made ahead drops the new effect.
    pub(crate) cancelled: bool,
}

impl TakenKey {
    pub(crate) fn point_to(
        &self,
        conn: &Connection,
        first: i64,
        deliveries: i64,
    ) -> rusqlite::Result<()> {
        if let Some(row) = self.row.filter(|_| !self.cancelled) {
            conn.prepare_cached(
                "UPDATE keyed SET first_delivery = ?2, deliveries = ?3 WHERE n = ?1",
            )?
            .execute(params![row, first, deliveries])?;
        }
        Ok(())
    }
}

/// Uses a key for a new effect, which cancels what waits under it. A cancellation made ahead drops
/// the new effect instead.
pub(crate) fn take_key(
    writing: &mut Writing<'_>,
    cause: &EffectCause,
    key: Option<&str>,
) -> rusqlite::Result<TakenKey> {
    let Some(key) = key else { return Ok(TakenKey::default()) };
    match find_key(writing.conn, cause.handler, key)? {
        Some(known) if known.until.is_some_and(|until| until > writing.now.wall) => {
            Ok(TakenKey { row: Some(known.n), cancelled: true })
        }
        Some(known) => {
            cancel_waiting(writing, &known)?;
            Ok(TakenKey { row: Some(known.n), cancelled: false })
        }
        None => {
            writing
                .conn
                .prepare_cached("INSERT INTO keyed (handler, key, deliveries) VALUES (?1, ?2, 0)")?
                .execute(params![cause.handler, key])?;
            Ok(TakenKey { row: Some(writing.conn.last_insert_rowid()), cancelled: false })
        }
    }
}

/// Cancels what waits under a key, and with `ahead_seconds` also later effects under it until then.
pub(crate) fn cancel_key(
    writing: &mut Writing<'_>,
    cause: &EffectCause,
    cancel: &Cancel,
) -> rusqlite::Result<()> {
    let known = find_key(writing.conn, cause.handler, &cancel.key)?;
    if let Some(known) = &known {
        cancel_waiting(writing, known)?;
    }
    let until = (cancel.ahead_seconds > 0).then(|| {
        let until =
            writing.now.wall.after(std::time::Duration::from_secs(cancel.ahead_seconds.into()));
        known.as_ref().and_then(|k| k.until).map_or(until, |earlier| earlier.max(until))
    });
    match (until, known) {
        (Some(until), _) => {
            writing
                .conn
                .prepare_cached(
                    "INSERT INTO keyed (handler, key, deliveries, until) VALUES (?1, ?2, 0, ?3)
                     ON CONFLICT (handler, key) DO UPDATE SET until = ?3, first_delivery = NULL, deliveries = 0",
                )?
                .execute(params![cause.handler, cancel.key, num::stored_time(until)])?;
        }
        (None, Some(known)) => tidy_key(writing.conn, known.n)?,
        (None, None) => {}
    }
    Ok(())
}

/// Cancels the deliveries under a key that were not claimed.
fn cancel_waiting(writing: &mut Writing<'_>, known: &KeyRow) -> rusqlite::Result<()> {
    let Some(first) = known.first_delivery else { return Ok(()) };
    for n in first..first + known.deliveries {
        let Some(delivery) = Delivery::read(writing.conn, n)? else { continue };
        let untried = delivery.state == Some(DeliveryState::Pending) && delivery.attempts == 0;
        if !untried || delivery.keyed != Some(known.n) {
            continue;
        }
        let shared = writing.shared;
        // A delivery of this group is in no queue yet: it is removed from those to be queued.
        let not_queued = writing.post_commit.queued.iter().position(|(_, entry)| entry.n == n);
        match not_queued {
            Some(index) => {
                writing.post_commit.queued.remove(index);
            }
            None => match shared.due.lock().seize(delivery.queue_key, n, delivery.due_at) {
                Some(token) => writing.post_commit.seized.push((n, token)),
                None => continue,
            },
        }
        writing
            .conn
            .prepare_cached("UPDATE delivery SET state = ?2, due_at = NULL WHERE n = ?1")?
            .execute(params![n, DeliveryState::Cancelled as u8])?;
        left_waiting(writing, &delivery, DeliveryState::Cancelled);
        end_turn(writing, &delivery);
    }
    Ok(())
}
