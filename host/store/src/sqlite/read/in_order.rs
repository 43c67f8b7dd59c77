//! Whole events in the order in which they were stored, for runs over the past.

use rusqlite::{Connection, OptionalExtension};
use weir_core::event::Event;

use crate::error::StoreError;
use crate::query::{EventsInOrder, InOrderFilter, PageRequest};
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::block::BLOCK;
use crate::sqlite::format::failure::LoadedRow;
use crate::sqlite::format::names::NameId;
use crate::sqlite::format::num;
use crate::sqlite::read::claim::event;
use crate::sqlite::read::cursor::{cursor, cursor_text};

/// Rows that one page looks at.
const ROWS_AT_ONCE: i64 = 20_000;

/// The number after which a page starts; none for the first.
pub(crate) fn start(page: &PageRequest) -> Result<Option<i64>, StoreError> {
    page.after.is_some().then(|| cursor(page)).transpose()
}

/// Reads a page of events, oldest first.
pub(crate) fn page(
    shared: &Shared,
    filter: &InOrderFilter,
    (after, limit, bytes_max): (Option<i64>, usize, usize),
) -> rusqlite::Result<EventsInOrder> {
    let known = || -> Vec<NameId> {
        filter.sources.iter().filter_map(|name| shared.names.find(name.as_str())).collect()
    };
    shared.readers.with(|conn| {
        let after = match after {
            Some(after) => after,
            None => (first_since(conn, filter)? - 1).max(0),
        };
        loop {
            let sources = known();
            let found = read(shared, conn, filter, &sources, (after, limit, bytes_max))?;
            // The first event of a source may be among the rows that were read, and was passed
            // over if the source had no number before.
            if known().len() == sources.len() {
                return Ok(found);
            }
        }
    })
}

fn read(
    shared: &Shared,
    conn: &Connection,
    filter: &InOrderFilter,
    sources: &[NameId],
    (after, limit, bytes_max): (i64, usize, usize),
) -> rusqlite::Result<EventsInOrder> {
    let since = filter.since.map_or(0, num::stored_time);
    let until = filter.until.map_or(i64::MAX, num::stored_time);
    let every = i64::from(filter.every.max(1));
    let mut statement = conn
        .prepare_cached("SELECT n, at, source, size, erased_at IS NOT NULL FROM event WHERE n > ?1 ORDER BY n LIMIT ?2")?;
    let mut rows = statement.query([after, ROWS_AT_ONCE])?;
    let mut found = EventsInOrder::default();
    let (mut last, mut looked, mut bytes) = (after, 0, 0_usize);
    while let Some(row) = rows.next()? {
        let (n, at, source): (i64, i64, NameId) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let is_erased: bool = row.get(4)?;
        let wanted = (since..until).contains(&at)
            && !is_erased
            && n % every == 0
            && (filter.sources.is_empty() || sources.contains(&source));
        if wanted {
            let size = num::length(row.get(3)?);
            let full = found.events.len() >= limit || bytes.saturating_add(size) > bytes_max;
            if full && !found.events.is_empty() {
                found.reached = cursor_text(last);
                found.next = Some(found.reached.clone());
                return Ok(found);
            }
            bytes = bytes.saturating_add(size);
            match event(shared, conn, n)? {
                LoadedRow::Found(event) => {
                    found.events.push(event);
                    found.cursors.push(cursor_text(n));
                }
                LoadedRow::Damaged(_) | LoadedRow::Missing => found.unreadable += 1,
            }
        }
        (last, looked) = (n, looked + 1);
    }
    found.reached = cursor_text(last);
    found.next = (looked >= ROWS_AT_ONCE).then(|| found.reached.clone());
    Ok(found)
}

/// The number from which on events may be as new as the filter wants: the first of a block that has
/// such an event.
fn first_since(conn: &Connection, filter: &InOrderFilter) -> rusqlite::Result<i64> {
    let Some(since) = filter.since else { return Ok(0) };
    let block: Option<i64> = conn
        .prepare_cached("SELECT block FROM event_block WHERE last_at >= ?1 ORDER BY block LIMIT 1")?
        .query_row([num::stored_time(since)], |row| row.get(0))
        .optional()?;
    let block = match block {
        Some(block) => Some(block),
        // The newest events are in no block yet.
        None => conn
            .prepare_cached("SELECT max(block) + 1 FROM event_block")?
            .query_row([], |row| row.get(0))?,
    };
    Ok(block.unwrap_or(0) * BLOCK)
}

/// Reads one event with its payload.
pub(crate) fn one(shared: &Shared, conn: &Connection, n: i64) -> rusqlite::Result<Option<Event>> {
    Ok(match event(shared, conn, n)? {
        LoadedRow::Found(event) => Some(event),
        LoadedRow::Damaged(_) | LoadedRow::Missing => None,
    })
}
