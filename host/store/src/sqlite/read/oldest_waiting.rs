//! The oldest waiting delivery of each target, from memory and from the part of its queues on disk.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::time::Timestamp;

use crate::query::OldestWaiting;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::num;
use crate::sqlite::memory::due::{Oldest, QueueKey};

/// The oldest waiting delivery of each target.
pub(crate) fn oldest_waiting(shared: &Shared) -> rusqlite::Result<Vec<OldestWaiting>> {
    let lines = shared.due.lock().oldest();
    shared.readers.with(|conn| {
        let mut oldest: BTreeMap<String, Timestamp> = BTreeMap::new();
        for line in lines {
            let Some(n) = oldest_of(conn, &line)? else { continue };
            let received_at: Option<i64> = conn
                .prepare_cached(
                    "SELECT e.at FROM delivery d JOIN event e ON e.n = d.event WHERE d.n = ?1",
                )?
                .query_row([n], |row| row.get(0))
                .optional()?;
            let Some(received_at) = received_at.map(num::time) else { continue };
            let target = shared.names.text(line.queue_key.target).to_string();
            let known = oldest.entry(target).or_insert(received_at);
            *known = received_at.min(*known);
        }
        let row = |(target, received_at)| OldestWaiting { target, received_at };
        Ok(oldest.into_iter().map(row).collect())
    })
}

/// The oldest delivery of one queue, with its part on disk.
fn oldest_of(conn: &Connection, line: &Oldest) -> rusqlite::Result<Option<i64>> {
    let QueueKey { target, source } = line.queue_key;
    let fresh: Option<i64> = match line.fresh_after {
        Some(after) => conn
            .prepare_cached(
                "SELECT n FROM delivery WHERE n > ?1 AND target = ?2 AND source = ?3 AND state = 0
                   AND due_at IS NULL ORDER BY n LIMIT 1",
            )?
            .query_row(params![after, target, source], |row| row.get(0))
            .optional()?,
        None => None,
    };
    let late: Option<i64> = match line.late_after {
        Some((at, _)) => conn
            .prepare_cached(
                "SELECT min(n) FROM delivery WHERE target = ?1 AND source = ?2 AND due_at >= ?3",
            )?
            .query_row(params![target, source, num::stored_time(at)], |row| row.get(0))?,
        None => None,
    };
    Ok([line.n, fresh, late].into_iter().flatten().min())
}
