//! The list of deliveries.

use std::ops::ControlFlow;

use rusqlite::Connection;
use weir_core::name::Target;

use super::event_filter::{EventMatcher, NoSuchName, known};
use super::states::States;
use super::walk::{Table, blocks, end_of, places};
use super::{BLOCKS_AT_ONCE, Filling, PageStart};
use crate::query::{BoundedCount, DeliveryDetail, DeliveryFilter, PageOf};
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::block::BLOCK;
use crate::sqlite::format::names::NameId;
use crate::sqlite::memory::number_set::{InBlock, NumberSet};
use crate::sqlite::read::query::delivery_row;
use crate::sqlite::rows::{self, business_keys};

/// A filter with what it needs from the store.
struct Search<'f> {
    filter: &'f DeliveryFilter,
    states: States,
    targets: Option<Vec<NameId>>,
    /// The events that match.
    of: Option<(EventMatcher, NumberSet)>,
    /// The events with one of the business keys.
    keyed: Option<NumberSet>,
}

impl<'f> Search<'f> {
    /// None if nothing can match, because a name is not known.
    fn of(
        shared: &Shared,
        conn: &Connection,
        filter: &'f DeliveryFilter,
    ) -> rusqlite::Result<Option<Self>> {
        let names = || -> Result<_, NoSuchName> {
            let targets = known(shared, filter.targets.iter().map(Target::to_string))?;
            Ok((EventMatcher::of(shared, &filter.of)?, targets))
        };
        let Ok((matcher, targets)) = names() else { return Ok(None) };
        let of = match matcher.is_empty() {
            true => None,
            false => {
                let events = matcher.all(conn)?;
                Some((matcher, events))
            }
        };
        let keyed = match filter.of.keys.is_empty() {
            true => None,
            false => Some(business_keys::events_with(&shared.names, conn, &filter.of.keys)?),
        };
        Ok(Some(Self { filter, states: States::now(shared), targets, of, keyed }))
    }

    /// Calls `each` for the deliveries that match, in the direction of a page, with the number of
    /// their event. Returns the number at which the search ended, if it read enough blocks.
    fn walk(
        &self,
        conn: &Connection,
        start: PageStart,
        mut each: impl FnMut(i64, i64) -> rusqlite::Result<ControlFlow<()>>,
    ) -> rusqlite::Result<Option<i64>> {
        let mut read = 0;
        let wanted = &self.filter.states;
        for n in blocks(conn, Table::Delivery, start, self.states.blocks(wanted))? {
            let block = rows::blocks::deliveries(conn, n)?;
            let targets = self.targets.as_ref();
            let is_wanted = |target| targets.is_none_or(|targets| targets.contains(target));
            let classes: Vec<bool> =
                block.classes.iter().map(|class| is_wanted(&class.target)).collect();
            let states = self.states.in_block(n);
            let (mut events, mut keyed) = (EventsOf::default(), EventsOf::default());
            let present = block.present().map(|(place, _)| place).collect::<Vec<usize>>();
            let end = places(n, present.into_iter(), start, |place, delivery| {
                let row = block.rows[place];
                let matches = classes.get(usize::from(row.class)).copied().unwrap_or(true)
                    && (wanted.is_empty() || wanted.contains(&states.of(place)))
                    && self.of.as_ref().is_none_or(|(_, set)| events.has(set, row.number))
                    && self.keyed.as_ref().is_none_or(|set| keyed.has(set, row.number));
                match matches {
                    true => each(delivery, row.number),
                    false => Ok(ControlFlow::Continue(())),
                }
            })?;
            if end.is_break() {
                break;
            }
            read += 1;
            if read >= BLOCKS_AT_ONCE {
                return Ok(Some(end_of(n, start)));
            }
        }
        Ok(None)
    }

    /// Reads a delivery, if it still matches.
    fn read(
        &self,
        shared: &Shared,
        conn: &Connection,
        (n, event): (i64, i64),
    ) -> rusqlite::Result<Option<DeliveryDetail>> {
        let DeliveryFilter { states, targets, .. } = self.filter;
        if let Some((matcher, _)) = &self.of
            && !matcher.matches_event(conn, event)?
        {
            return Ok(None);
        }
        let found = delivery_row(shared, conn, n)?.map(|row| row.detail);
        Ok(found.filter(|found| {
            (states.is_empty() || states.contains(&found.state))
                && (targets.is_empty() || targets.contains(&found.target))
        }))
    }
}

/// Asks a set of events for numbers that are mostly near to each other.
#[derive(Default)]
struct EventsOf<'s>(Option<(i64, InBlock<'s>)>);

impl<'s> EventsOf<'s> {
    fn has(&mut self, set: &'s NumberSet, event: i64) -> bool {
        let (block, place) = (event.div_euclid(BLOCK), event.rem_euclid(BLOCK));
        let in_block = match self.0 {
            Some((known, in_block)) if known == block => in_block,
            _ => set.in_block(block),
        };
        self.0 = Some((block, in_block));
        in_block.has(usize::try_from(place).unwrap_or(0))
    }
}

/// Lists deliveries.
pub(crate) fn list(
    shared: &Shared,
    filter: &DeliveryFilter,
    limit: usize,
    start: PageStart,
) -> rusqlite::Result<PageOf<DeliveryDetail>> {
    shared.readers.with(|conn| {
        let conn = &conn.unchecked_transaction()?;
        let Some(search) = Search::of(shared, conn, filter)? else {
            return Ok(PageOf::only(Vec::new()));
        };
        let mut page = Filling::new(start, limit);
        let ended = search.walk(conn, start, |n, event| {
            if page.is_full() {
                return Ok(ControlFlow::Break(()));
            }
            let found = search.read(shared, conn, (n, event))?;
            Ok(match page.add(n, None, found) {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
        })?;
        if let Some(n) = ended {
            page.stop(n, None);
        }
        Ok(page.page())
    })
}

/// Counts deliveries, up to a limit.
pub(crate) fn count(
    shared: &Shared,
    filter: &DeliveryFilter,
    at_most: u64,
) -> rusqlite::Result<BoundedCount> {
    shared.readers.with(|conn| {
        let conn = &conn.unchecked_transaction()?;
        let mut counted = BoundedCount { count: 0, more: false };
        let Some(search) = Search::of(shared, conn, filter)? else { return Ok(counted) };
        let ended = search.walk(conn, PageStart::Newest, |_, _| {
            if counted.count >= at_most {
                counted.more = true;
                return Ok(ControlFlow::Break(()));
            }
            counted.count += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        counted.more |= ended.is_some();
        Ok(counted)
    })
}
