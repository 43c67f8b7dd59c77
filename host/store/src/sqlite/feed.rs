//! Telling the due queues what a commit changed, and filling them at open.

use std::sync::atomic::Ordering;

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::delivery::{DeliveryState, Fence};

use super::aside::{Hole, around_holes, is_unreadable};
use super::due::{Due, Entry, Place, Refill, RefillFrom, Refilled};
use super::group::Learned;
use super::marks::{Marks, Totals};
use super::names::NameId;
use super::settle::Delivery;
use super::{Shared, num};

/// Fresh deliveries looked at for one refill, however few of them are wanted.
const LOOKED_AT_MAX: i64 = 65_536;

/// Applies a commit. Returns whether somebody may be waiting for what came.
pub(super) fn commit(shared: &Shared, conn: &Connection, learned: &mut Learned) -> bool {
    let mut due = shared.due.lock();
    for (n, fence) in &learned.settled {
        due.end_claim(*n, Some(*fence));
    }
    for (n, _) in &learned.seized {
        due.end_claim(*n, None);
    }
    // A suspect may have waited for them to end.
    let mut wake = due.suspects() > 0 && !learned.settled.is_empty();
    for n in &learned.cleared {
        wake |= due.clear_suspect(*n);
    }
    for (place, entry) in learned.suspected.drain(..) {
        due.suspect(place, entry);
        wake = true;
    }
    if wake {
        shared.suspects.store(due.suspects(), Ordering::Relaxed);
    }
    for (place, entry) in learned.fed.drain(..) {
        wake |= feed(conn, &mut due, place, entry);
    }
    for (target, key, n) in &learned.turns_ended {
        due.end_turn(*target, key, *n);
        match next_in_order(conn, *target, key) {
            Ok(Some((place, entry))) => wake |= feed(conn, &mut due, place, entry),
            Ok(None) => {}
            // The next delivery of the key, or the next start, looks again.
            Err(e) => tracing::warn!(error = %e, "could not look for the next of an order key"),
        }
    }
    wake
}

/// Feeds one delivery, if it is the head of its order key.
pub(super) fn feed(conn: &Connection, due: &mut Due, place: Place, entry: Entry) -> bool {
    if let Some(key) = &entry.order_key {
        match due.head(place.target, key) {
            Some(head) if head != entry.n => return false,
            Some(_) => {}
            None => match head_on_disk(conn, place.target, key) {
                Ok(head) if head == Some(entry.n) => {}
                Ok(_) => return false,
                Err(e) => {
                    tracing::warn!(error = %e, "could not look for the head of an order key");
                    return false;
                }
            },
        }
    }
    due.feed(place, entry)
}

/// The delivery whose turn it is: the first of its line, in which what was requeued stands at the end.
fn head_on_disk(conn: &Connection, target: NameId, key: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached(
        "SELECT n FROM delivery WHERE target = ?1 AND order_key = ?2 AND state IN (0, 2)
         ORDER BY ifnull(turn, n) LIMIT 1",
    )?
    .query_row(params![target, key], |row| row.get(0))
    .optional()
}

fn next_in_order(
    conn: &Connection,
    target: NameId,
    key: &str,
) -> rusqlite::Result<Option<(Place, Entry)>> {
    let Some(n) = head_on_disk(conn, target, key)? else { return Ok(None) };
    let delivery = Delivery::read(conn, n)?;
    Ok(delivery.map(|d| (d.place, d.entry())))
}

/// Fills queues and totals from the table, around what cannot be read if it must be. `first_fresh` is the number below
/// which nothing fresh waits.
pub(super) fn rebuild(
    conn: &Connection,
    due: &mut Due,
    totals: &mut Totals,
    marks: &mut Marks,
) -> rusqlite::Result<()> {
    let first_fresh = Marks::first_fresh(conn)?;
    for (sql, fresh) in [
        ("WHERE n >= ?1 AND state = 0 AND due_at IS NULL ORDER BY n", true),
        ("WHERE due_at IS NOT NULL AND ?1 IS NOT NULL", false),
    ] {
        let mut statement = conn.prepare(&format!("{WAITING} {sql}"))?;
        let mut rows = statement.query([first_fresh])?;
        while let Some(row) = rows.next()? {
            let waiting = Waiting::of(row)?;
            waiting.count(totals, fresh.then_some(&mut *marks));
            feed(conn, due, waiting.place, waiting.entry);
        }
    }
    Ok(())
}

/// The same where the table is damaged: reads around what cannot be read, and returns that.
pub(super) fn rebuild_around(
    conn: &Connection,
    due: &mut Due,
    totals: &mut Totals,
    marks: &mut Marks,
) -> rusqlite::Result<Vec<Hole>> {
    let last: i64 =
        conn.query_row("SELECT coalesce(max(n), 0) FROM delivery", [], |row| row.get(0))?;
    let sql =
        format!("{WAITING} NOT INDEXED WHERE n >= ?1 AND n <= ?2 AND state IN (0, 2) ORDER BY n");
    let mut holes = Vec::new();
    let mut from = 1;
    while from <= last {
        let to = from.saturating_add(LOOKED_AT_MAX - 1).min(last);
        let mut read = |first: i64, last: i64| {
            let mut statement = conn.prepare_cached(&sql)?;
            statement.query_map([first, last], Waiting::of)?.collect()
        };
        for waiting in around_holes((from, to), &mut read, &mut holes)? {
            let fresh = waiting.entry.due_at.is_none();
            waiting.count(totals, fresh.then_some(&mut *marks));
            feed(conn, due, waiting.place, waiting.entry);
        }
        from = to + 1;
    }
    Ok(holes)
}

const WAITING: &str =
    "SELECT n, due_at, generation, attempts, order_key, target, source, state FROM delivery";

/// A delivery that waits, as it is read at open.
struct Waiting {
    entry: Entry,
    place: Place,
    state: Option<DeliveryState>,
}

impl Waiting {
    fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            entry: entry(row)?,
            place: Place { target: row.get(5)?, source: row.get(6)? },
            state: DeliveryState::from_stored(row.get(7)?),
        })
    }

    fn count(&self, totals: &mut Totals, fresh: Option<&mut Marks>) {
        if let Some(state) = self.state {
            *totals.states.entry((self.place, state)).or_insert(0) += 1;
        }
        if let Some(marks) = fresh {
            marks.fresh(self.entry.n, 1);
        }
    }
}

/// From columns n, due_at, generation, attempts, order_key.
fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    let (generation, attempts): (u32, u32) = (row.get(2)?, row.get(3)?);
    Ok(Entry {
        n: row.get(0)?,
        due_at: row.get::<_, Option<i64>>(1)?.map(num::time),
        fence: Fence { generation, attempt: attempts + 1 },
        order_key: row.get::<_, Option<String>>(4)?.map(Into::into),
        handoff: None,
    })
}

/// Reads a part of a queue in from disk, around what cannot be read, which is set aside.
pub(super) fn refill(
    shared: &Shared,
    conn: &Connection,
    refill: &Refill,
) -> rusqlite::Result<Refilled> {
    let mut holes = Vec::new();
    let refilled = match read_refill(conn, refill) {
        Err(e) if is_unreadable(&e) => refill_around(conn, refill, &mut holes),
        read => read,
    };
    shared.set_aside("delivery", holes);
    refilled
}

/// The same where the table or its index is damaged.
fn refill_around(
    conn: &Connection,
    refill: &Refill,
    holes: &mut Vec<Hole>,
) -> rusqlite::Result<Refilled> {
    let Place { target, source } = refill.place;
    let last: i64 =
        conn.query_row("SELECT coalesce(max(n), 0) FROM delivery", [], |row| row.get(0))?;
    // Those that are to be tried again stand in no order here: all of them are read, whatever the window is.
    let (from, to, condition) = match refill.from {
        RefillFrom::Fresh(after) => {
            let to = after.saturating_add(LOOKED_AT_MAX).min(last);
            (after + 1, to, "state = 0 AND due_at IS NULL")
        }
        RefillFrom::Late(..) => (1, last, "due_at IS NOT NULL"),
    };
    let sql = format!(
        "SELECT n, due_at, generation, attempts, order_key FROM delivery NOT INDEXED
         WHERE n >= ?1 AND n <= ?2 AND target = ?3 AND source = ?4 AND {condition} ORDER BY n"
    );
    let mut read = |first: i64, last: i64| {
        let mut statement = conn.prepare_cached(&sql)?;
        statement.query_map(params![first, last, target, source], entry)?.collect()
    };
    let mut entries = around_holes((from, to), &mut read, holes)?;
    if let RefillFrom::Late(at, n) = refill.from {
        entries.retain(|e: &Entry| e.due_at.is_some_and(|due| (due, e.n) > (at, n)));
    }
    let more = matches!(refill.from, RefillFrom::Fresh(_)) && to < last;
    Ok(Refilled { entries, stopped: more.then_some(RefillFrom::Fresh(to)) })
}

fn read_refill(conn: &Connection, refill: &Refill) -> rusqlite::Result<Refilled> {
    let Place { target, source } = refill.place;
    let limit = num::column(refill.limit);
    let mut entries = Vec::new();
    let stopped = match refill.from {
        RefillFrom::Fresh(after) => {
            let end = after.saturating_add(LOOKED_AT_MAX);
            // Read before the rows: what comes in between is past it, and looked for the next time.
            let newest: i64 =
                conn.query_row("SELECT coalesce(max(n), 0) FROM delivery", [], |row| row.get(0))?;
            let mut statement = conn.prepare_cached(
                "SELECT n, due_at, generation, attempts, order_key FROM delivery
                 WHERE n > ?1 AND n <= ?2 AND target = ?3 AND source = ?4 AND state = 0 AND due_at IS NULL
                 ORDER BY n LIMIT ?5",
            )?;
            let mut rows = statement.query(params![after, end, target, source, limit])?;
            while let Some(row) = rows.next()? {
                entries.push(entry(row)?);
            }
            let full = entries.len() >= refill.limit;
            let reached = if full { entries.last().map_or(end, |e| e.n) } else { end };
            (full || newest > end).then_some(RefillFrom::Fresh(reached))
        }
        RefillFrom::Late(at, n) => {
            let mut statement = conn.prepare_cached(
                "SELECT n, due_at, generation, attempts, order_key FROM delivery
                 WHERE target = ?1 AND source = ?2 AND due_at IS NOT NULL AND (due_at, n) > (?3, ?4)
                 ORDER BY due_at, n LIMIT ?5",
            )?;
            let mut rows =
                statement.query(params![target, source, num::stored_time(at), n, limit])?;
            while let Some(row) = rows.next()? {
                entries.push(entry(row)?);
            }
            let last = entries.last().filter(|_| entries.len() >= refill.limit);
            last.and_then(|e| Some(RefillFrom::Late(e.due_at?, e.n)))
        }
    };
    let mut heads = Vec::with_capacity(entries.len());
    for entry in entries {
        let head = match &entry.order_key {
            Some(key) => head_on_disk(conn, target, key)? == Some(entry.n),
            None => true,
        };
        if head {
            heads.push(entry);
        }
    }
    Ok(Refilled { entries: heads, stopped })
}
