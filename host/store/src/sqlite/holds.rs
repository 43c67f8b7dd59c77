//! Holds in force, in memory beside their rows, so that a claim asks no table.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, params};
use weir_core::name::{DestinationName, HandlerName, SourceName, Target};
use weir_core::time::Timestamp;

use super::due::{Due, Held};
use super::group::{JobError, Writing};
use super::names::Names;
use super::{Shared, num, schema};
use crate::hold::{Hold, HoldId, HoldScope, NewHold};

#[derive(Debug, Default)]
pub(super) struct Holds {
    in_force: BTreeMap<HoldId, (Hold, Held)>,
}

/// A scope as names refer to it.
fn name_of(scope: &HoldScope) -> String {
    match scope {
        HoldScope::Source(source) => source.to_string(),
        HoldScope::Handler(handler) => Target::Handler(handler.clone()).to_string(),
        HoldScope::Destination(destination) => Target::Destination(destination.clone()).to_string(),
    }
}

fn held(scope: &HoldScope, name: super::names::NameId) -> Held {
    match scope {
        HoldScope::Source(_) => Held::Source(name),
        HoldScope::Handler(_) | HoldScope::Destination(_) => Held::Target(name),
    }
}

fn parse(scope: &str) -> Option<HoldScope> {
    match scope.split_once(':')? {
        ("source", name) => Some(HoldScope::Source(SourceName::stored(name))),
        ("handler", name) => HandlerName::new(name).ok().map(HoldScope::Handler),
        ("destination", name) => DestinationName::new(name).ok().map(HoldScope::Destination),
        _ => None,
    }
}

impl Holds {
    pub(super) fn load(conn: &Connection, names: &Names, due: &mut Due) -> rusqlite::Result<Self> {
        let mut holds = Self::default();
        let mut statement =
            conn.prepare("SELECT n, scope, reason, placed_by, placed_at, until FROM hold")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let scope: String = row.get(1)?;
            let Some(scope) = parse(&scope) else { continue };
            let Some(name) = names.find(&name_of(&scope)) else { continue };
            let held = held(&scope, name);
            let id = HoldId(num::count(row.get(0)?));
            let hold = NewHold {
                scope,
                reason: row.get::<_, String>(2)?.into(),
                by: row.get::<_, String>(3)?.into(),
                until: row.get::<_, Option<i64>>(5)?.map(num::time),
            };
            due.hold(held);
            holds.in_force.insert(id, (Hold { id, hold, at: num::time(row.get(4)?) }, held));
        }
        Ok(holds)
    }
}

impl Shared {
    /// Ends the holds whose time is over. Their rows go with the next pruning.
    pub(super) fn end_holds(&self, now: Timestamp) {
        let mut holds = self.holds.lock();
        if holds.in_force.is_empty() {
            return;
        }
        let over = |hold: &Hold| hold.hold.until.is_some_and(|until| until <= now);
        let ended: Vec<HoldId> =
            holds.in_force.values().filter(|(h, _)| over(h)).map(|(h, _)| h.id).collect();
        for id in ended {
            if let Some((_, held)) = holds.in_force.remove(&id) {
                self.due.lock().release(held);
            }
        }
    }

    /// The earliest end of a hold.
    pub(super) fn next_hold_end(&self) -> Option<Timestamp> {
        self.holds.lock().in_force.values().filter_map(|(h, _)| h.hold.until).min()
    }

    pub(super) fn holds_in_force(&self) -> Vec<Hold> {
        self.holds.lock().in_force.values().map(|(hold, _)| hold.clone()).collect()
    }
}

/// The number that the next hold gets, where the store has given out more than its rows show.
const NEXT_HOLD: &str = "next_hold";

/// Writes a hold; it is in force once that is committed.
pub(super) fn place(writing: &mut Writing<'_>, hold: NewHold) -> Result<HoldId, JobError> {
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

/// Writes a hold under the number and with the beginning that it had.
pub(super) fn place_again(writing: &mut Writing<'_>, held: Hold) -> Result<(), JobError> {
    write(writing, held)
}

fn write(writing: &mut Writing<'_>, placed: Hold) -> Result<(), JobError> {
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
    writing.learned.then.push(Box::new(move |shared: &Shared| {
        let before = shared.holds.lock().in_force.insert(placed.id, (placed, held));
        let mut due = shared.due.lock();
        due.hold(held);
        if let Some((_, before)) = before {
            due.release(before);
        }
    }));
    Ok(())
}

/// Removes a hold. False if there is none by that id.
pub(super) fn release(writing: &mut Writing<'_>, id: HoldId) -> Result<bool, JobError> {
    let n = i64::try_from(id.0).unwrap_or(i64::MAX);
    let gone = writing.conn.prepare_cached("DELETE FROM hold WHERE n = ?1")?.execute([n])?;
    let shared: &Arc<Shared> = writing.shared;
    let in_force = shared.holds.lock().in_force.contains_key(&id);
    writing.learned.then.push(Box::new(move |shared: &Shared| {
        let removed = shared.holds.lock().in_force.remove(&id);
        if let Some((_, held)) = removed {
            shared.due.lock().release(held);
            shared.wake.notify_waiters();
        }
    }));
    Ok(gone > 0 && in_force)
}

/// Removes the rows of holds that are over.
pub(super) fn remove_ended(conn: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM hold WHERE until <= ?1", [num::stored_time(now)])?;
    Ok(())
}
