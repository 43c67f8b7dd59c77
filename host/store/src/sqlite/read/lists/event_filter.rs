//! A filter of events by source, type, category and time: on classes, on blocks and on rows.

use rusqlite::{Connection, OptionalExtension, Row};
use weir_core::event::Category;
use weir_core::route::Glob;
use weir_core::time::Timestamp;

use super::PageStart;
use super::walk::{Table, blocks};
use crate::query::EventFilter;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::block::{BLOCK, EventClass, UNLISTED};
use crate::sqlite::format::names::NameId;
use crate::sqlite::format::num;
use crate::sqlite::memory::number_set::NumberSet;
use crate::sqlite::rows;

/// Times, sources, types and categories of a filter.
pub(super) struct EventMatcher {
    since: i64,
    until: i64,
    sources: Option<Vec<NameId>>,
    kinds: Vec<Glob>,
    categories: Vec<Category>,
}

/// None of the named sources or targets is known to the store.
pub(super) struct NoSuchName;

impl EventMatcher {
    pub(super) fn of(shared: &Shared, filter: &EventFilter) -> Result<Self, NoSuchName> {
        let names = filter.sources.iter().map(|source| source.as_str().to_owned());
        Ok(Self {
            since: filter.since.map_or(i64::MIN, num::stored_time),
            until: filter.until.map_or(i64::MAX, num::stored_time),
            sources: known(shared, names)?,
            kinds: filter.kinds.iter().map(|kind| Glob::new(kind.as_str())).collect(),
            categories: filter.categories.clone(),
        })
    }

    /// True if every event matches.
    pub(super) fn is_empty(&self) -> bool {
        let Self { since, until, sources, kinds, categories } = self;
        *since == i64::MIN
            && *until == i64::MAX
            && sources.is_none()
            && kinds.is_empty()
            && categories.is_empty()
    }

    /// True for events of these times.
    pub(super) fn has_time(&self, at: i64) -> bool {
        self.since <= at && at < self.until
    }

    /// True if a written block may have events of these times.
    pub(super) fn may_have_times(&self, conn: &Connection, block: i64) -> rusqlite::Result<bool> {
        if self.since == i64::MIN && self.until == i64::MAX {
            return Ok(true);
        }
        let times: Option<(i64, i64)> = conn
            .prepare_cached("SELECT first_at, last_at FROM event_block WHERE block = ?1")?
            .query_row([block], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(times.is_none_or(|(first, last)| last >= self.since && first < self.until))
    }

    /// The classes of a block that match.
    pub(super) fn classes(&self, classes: &[EventClass]) -> Vec<bool> {
        let matches = |class: &EventClass| {
            let EventClass { source, kind, category } = class;
            self.matches(*source, kind, *category)
        };
        classes.iter().map(matches).collect()
    }

    fn matches(&self, source: NameId, kind: &str, category: Option<Category>) -> bool {
        self.sources.as_ref().is_none_or(|sources| sources.contains(&source))
            && (self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted.matches(kind)))
            && (self.categories.is_empty()
                || category.is_some_and(|category| self.categories.contains(&category)))
    }

    /// True if an event matches, by the columns of its time, source, type and category.
    pub(super) fn matches_row(
        &self,
        row: &Row<'_>,
        [at, source, kind, category]: [usize; 4],
    ) -> rusqlite::Result<bool> {
        let category = row.get_ref(category)?.as_str_or_null().ok().flatten();
        let kind = row.get_ref(kind)?.as_str().unwrap_or("");
        let category = category.and_then(Category::parse);
        Ok(self.has_time(row.get(at)?) && self.matches(row.get(source)?, kind, category))
    }

    /// True if an event matches.
    pub(super) fn matches_event(&self, conn: &Connection, n: i64) -> rusqlite::Result<bool> {
        let found = conn
            .prepare_cached("SELECT at, source, type, category FROM event WHERE n = ?1")?
            .query_row([n], |row| self.matches_row(row, [0, 1, 2, 3]))
            .optional()?;
        Ok(found.unwrap_or(false))
    }

    /// All events that match, with those of unlisted classes, which may not.
    pub(super) fn all(&self, conn: &Connection) -> rusqlite::Result<NumberSet> {
        let mut set = NumberSet::inserting();
        for n in blocks(conn, Table::Event, PageStart::Newest, None)? {
            if !self.may_have_times(conn, n)? {
                continue;
            }
            let block = rows::blocks::events(conn, n)?;
            let classes = self.classes(&block.classes);
            if !classes.contains(&true) && block.rows.iter().all(|row| row.class != UNLISTED) {
                continue;
            }
            for (place, row) in block.present() {
                let is_class = classes.get(usize::from(row.class)).copied().unwrap_or(true);
                if is_class && self.has_time(row.number) {
                    set.insert(n * BLOCK + i64::try_from(place).unwrap_or(0));
                }
            }
        }
        Ok(set.done())
    }
}

/// The numbers of names that the store knows; none if no name is asked for.
pub(super) fn known(
    shared: &Shared,
    names: impl ExactSizeIterator<Item = String>,
) -> Result<Option<Vec<NameId>>, NoSuchName> {
    if names.len() == 0 {
        return Ok(None);
    }
    let known: Vec<NameId> = names.filter_map(|name| shared.names.find(&name)).collect();
    if known.is_empty() { Err(NoSuchName) } else { Ok(Some(known)) }
}

/// A stored time.
pub(super) fn time(at: i64) -> Timestamp {
    num::time(at)
}
