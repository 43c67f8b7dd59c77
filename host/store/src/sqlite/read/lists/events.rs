//! The list of events.

use std::ops::ControlFlow;

use rusqlite::{Connection, OptionalExtension};

use super::body_text::BodyText;
use super::event_filter::{EventMatcher, NoSuchName, known, time};
use super::states::{Statuses, events_of_targets};
use super::walk::{Table, blocks, end_of, places};
use super::{BLOCKS_AT_ONCE, Filling, PageStart, ROWS_AT_ONCE};
use crate::query::{BoundedCount, EventDetail, EventFilter, PageOf};
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::block::UNLISTED;
use crate::sqlite::memory::number_set::NumberSet;
use crate::sqlite::read::query::{EVENT_COLUMNS, event_row};
use crate::sqlite::rows::{self, business_keys};

/// A filter with what it needs from the store.
struct Search {
    matcher: EventMatcher,
    statuses: Option<Statuses>,
    /// Events that are in all of these sets: those of targets, and those with business keys.
    sets: Vec<NumberSet>,
}

impl Search {
    /// None if nothing can match, because a name is not known.
    fn of(
        shared: &Shared,
        conn: &Connection,
        filter: &EventFilter,
    ) -> rusqlite::Result<Option<Self>> {
        let handlers = filter.handlers.iter().map(|name| format!("handler:{name}"));
        let destinations = filter.destinations.iter().map(|name| format!("destination:{name}"));
        let names = || -> Result<_, NoSuchName> {
            let targets = [known(shared, handlers)?, known(shared, destinations)?];
            Ok((EventMatcher::of(shared, filter)?, targets))
        };
        let Ok((matcher, targets)) = names() else { return Ok(None) };
        let targets = targets.into_iter().flatten();
        let of_targets = targets.map(|targets| events_of_targets(conn, &targets));
        let mut sets = of_targets.collect::<rusqlite::Result<Vec<_>>>()?;
        if !filter.keys.is_empty() {
            sets.push(business_keys::events_with(&shared.names, conn, &filter.keys)?);
        }
        let statuses = Statuses::of(shared, conn, &filter.statuses)?;
        Ok(Some(Self { matcher, statuses, sets }))
    }

    /// Calls `each` for the events that match, in the direction of a page. The flag is true if the
    /// row has to be compared, because its class is not in its block. Returns the number and time
    /// at which the search ended, if it read enough blocks.
    fn walk(
        &self,
        conn: &Connection,
        start: PageStart,
        mut each: impl FnMut(i64, bool, i64) -> rusqlite::Result<ControlFlow<()>>,
    ) -> rusqlite::Result<Option<(i64, i64)>> {
        let mut read = 0;
        let of_status = self.statuses.as_ref().and_then(Statuses::blocks);
        let of_set = || Some(self.sets.last()?.blocks().collect());
        for n in blocks(conn, Table::Event, start, of_status.or_else(of_set))? {
            if !self.matcher.may_have_times(conn, n)? {
                continue;
            }
            let block = rows::blocks::events(conn, n)?;
            let classes = self.matcher.classes(&block.classes);
            let statuses = self.statuses.as_ref().map(|statuses| statuses.in_block(n));
            let sets: Vec<_> = self.sets.iter().map(|set| set.in_block(n)).collect();
            let present = block.present().map(|(place, _)| place).collect::<Vec<usize>>();
            let end = places(n, present.into_iter(), start, |place, event| {
                let row = block.rows[place];
                let is_class = classes.get(usize::from(row.class)).copied().unwrap_or(true);
                let matches = is_class
                    && self.matcher.has_time(row.number)
                    && statuses.as_ref().is_none_or(|statuses| statuses.has(place))
                    && sets.iter().all(|set| set.has(place));
                match matches {
                    true => each(event, row.class == UNLISTED, row.number),
                    false => Ok(ControlFlow::Continue(())),
                }
            })?;
            if end.is_break() {
                break;
            }
            read += 1;
            if read >= BLOCKS_AT_ONCE {
                let last = block.rows.first().map_or(0, |row| row.number);
                return Ok(Some((end_of(n, start), last)));
            }
        }
        Ok(None)
    }
}

/// Lists events.
pub(crate) fn list(
    shared: &Shared,
    filter: &EventFilter,
    limit: usize,
    start: PageStart,
) -> rusqlite::Result<PageOf<EventDetail>> {
    shared.readers.with(|conn| {
        let conn = &conn.unchecked_transaction()?;
        let Some(search) = Search::of(shared, conn, filter)? else {
            return Ok(PageOf::only(Vec::new()));
        };
        let mut page = Filling::new(start, limit);
        let mut text = BodyText::of(filter);
        let ended = search.walk(conn, start, |n, _, at| {
            if page.is_full() {
                return Ok(ControlFlow::Break(()));
            }
            let has_text = match &mut text {
                Some(text) => text.is_in(shared, conn, n)?,
                None => true,
            };
            let found = match has_text {
                true => read(shared, conn, &search.matcher, filter, n)?,
                false => None,
            };
            let goes_on = page.add(n, Some(time(at)), found);
            if text.as_ref().is_some_and(BodyText::is_spent) {
                page.stop(n, Some(time(at)));
                return Ok(ControlFlow::Break(()));
            }
            Ok(if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        if let Some((n, at)) = ended {
            page.stop(n, Some(time(at)));
        }
        Ok(page.page())
    })
}

/// Reads an event, if it still matches.
fn read(
    shared: &Shared,
    conn: &Connection,
    matcher: &EventMatcher,
    filter: &EventFilter,
    n: i64,
) -> rusqlite::Result<Option<EventDetail>> {
    let sql = format!("SELECT {EVENT_COLUMNS} FROM event WHERE n = ?1");
    let found = conn
        .prepare_cached(&sql)?
        .query_row([n], |row| {
            let matches = matcher.matches_row(row, [1, 3, 4, 5])?;
            matches.then(|| event_row(shared, conn, row)).transpose()
        })
        .optional()?
        .flatten();
    let Some(found) = found else { return Ok(None) };
    let event = found.complete(shared, conn, false)?;
    let has_status = filter.statuses.is_empty() || filter.statuses.contains(&event.status);
    Ok(has_status.then_some(event))
}

/// Counts events, up to a limit.
pub(crate) fn count(
    shared: &Shared,
    filter: &EventFilter,
    at_most: u64,
) -> rusqlite::Result<BoundedCount> {
    shared.readers.with(|conn| {
        let conn = &conn.unchecked_transaction()?;
        let mut counted = BoundedCount { count: 0, more: false };
        let Some(search) = Search::of(shared, conn, filter)? else { return Ok(counted) };
        let mut read = 0;
        let mut text = BodyText::of(filter);
        let ended = search.walk(conn, PageStart::Newest, |n, compare, _| {
            read += usize::from(compare || text.is_some());
            let is_spent = text.as_ref().is_some_and(BodyText::is_spent);
            if counted.count >= at_most || read > ROWS_AT_ONCE || is_spent {
                counted.more = true;
                return Ok(ControlFlow::Break(()));
            }
            let matches = !compare || search.matcher.matches_event(conn, n)?;
            let has_text = match &mut text {
                Some(text) if matches => text.is_in(shared, conn, n)?,
                _ => true,
            };
            counted.count += u64::from(matches && has_text);
            Ok(ControlFlow::Continue(()))
        })?;
        counted.more |= ended.is_some();
        Ok(counted)
    })
}
