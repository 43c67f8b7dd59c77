//! Writing and removing holds.

use crate::sqlite::memory::holds_in_force::{held, name_of};
use std::sync::Arc;

use rusqlite::{Connection, params};
use weir_core::time::Timestamp;

use crate::hold::{Hold, HoldId, NewHold};
use crate::sqlite::engine::group::{WriteError, Writing};
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::{num, schema};

/// Next number of a hold, if it is higher than the rows show.
const NEXT_HOLD: &str = "next_hold";

/// Writes a hold. It is in force after the commit.
pub(crate) fn place(writing: &mut Writing<'_>, hold: NewHold) -> Result<HoldId, WriteError> {
    let kept: Option<i64> = schema::meta(writing.conn, NEXT_HOLD)?;
    let above: i64 = writing
        .conn
        .prepare_cached("SELECT ifnull(max(n), 0) + 1 FROM hold")?
        .query_row([], |row| row.get(0))?;
    let n = kept.unwrap_or(1).max(above);
    schema::set_meta(writing.conn, NEXT_HOLD, &(n + 1))?;
    let id = HoldId(num::count(n));
    write(writing, Hold { id, hold, at: writing.now.wall })?;
    Ok(id)
}

/// Writes a hold with its earlier number and start.
pub(crate) fn restore(writing: &mut Writing<'_>, held: Hold) -> Result<(), WriteError> {
    write(writing, held)
}

fn write(writing: &mut Writing<'_>, placed: Hold) -> Result<(), WriteError> {
    let Hold { id, hold, at } = &placed;
    let name = writing.name(&name_of(&hold.scope))?;
    writing
        .conn
        .prepare_cached(
            "INSERT OR REPLACE INTO hold (n, scope, reason, placed_by, placed_at, until)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            i64::try_from(id.0).unwrap_or(i64::MAX),
            hold.scope.to_string(),
            hold.reason,
            hold.by,
            num::stored_time(*at),
            hold.until.map(num::stored_time)
        ])?;
    let held = held(&hold.scope, name);
    writing.post_commit.on_commit.push(Box::new(move |shared: &Shared| {
        let before = shared.holds.lock().in_force.insert(placed.id, (placed, held));
        let mut due = shared.due.lock();
        due.hold(held);
        if let Some((_, before)) = before {
            due.release(before);
        }
    }));
    Ok(())
}

/// Removes a hold. False if there is none by that number.
pub(crate) fn release(writing: &mut Writing<'_>, id: HoldId) -> Result<bool, WriteError> {
    let n = i64::try_from(id.0).unwrap_or(i64::MAX);
    let gone = writing.conn.prepare_cached("DELETE FROM hold WHERE n = ?1")?.execute([n])?;
    let shared: &Arc<Shared> = writing.shared;
    let in_force = shared.holds.lock().in_force.contains_key(&id);
    writing.post_commit.on_commit.push(Box::new(move |shared: &Shared| {
        let removed = shared.holds.lock().in_force.remove(&id);
        if let Some((_, held)) = removed {
            shared.due.lock().release(held);
            shared.wake.notify_waiters();
        }
    }));
    Ok(gone > 0 && in_force)
}

/// Removes the rows of ended holds.
pub(crate) fn remove_ended(conn: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM hold WHERE until <= ?1", [num::stored_time(now)])?;
    Ok(())
}
