//! Lists of events and deliveries, in both directions, and their counts.
//!
//! Matches of a filter are found in blocks and in the sets of rows in rare states, without reading
//! the rows. Only the rows of a page are read, and compared with the filter once more.

mod body_text;
mod deliveries;
mod event_filter;
mod events;
mod states;
mod walk;

pub(crate) use deliveries::{count as count_deliveries, list as deliveries};
pub(crate) use events::{count as count_events, list as events};

use weir_core::time::Timestamp;

use crate::error::StoreError;
use crate::query::{PageOf, PageRequest};
use crate::sqlite::read::cursor::cursor_text;

/// Rows that one page reads to find out whether they match. Blocks tell that of nearly all rows.
const ROWS_AT_ONCE: usize = 20_000;

/// Blocks that one page or count reads: 16 million rows, in about a tenth of a second.
const BLOCKS_AT_ONCE: usize = 4_000;

/// Items of one page.
pub(crate) const PAGE_MAX: usize = 1_000;

/// The place in a list where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageStart {
    Newest,
    /// Rows with lower numbers, the highest first.
    Older(i64),
    /// Rows with higher numbers, the lowest first.
    Newer(i64),
}

impl PageStart {
    /// Reads a cursor.
    pub(crate) fn of(page: &PageRequest) -> Result<Self, StoreError> {
        let Some(after) = &page.after else { return Ok(Self::Newest) };
        let invalid = || StoreError::Invalid("the cursor is not one that a page gave".into());
        let number = |digits| i64::from_str_radix(digits, 36).map_err(|_| invalid());
        match after.split_at_checked(1) {
            Some(("n", digits)) => Ok(Self::Older(number(digits)?)),
            Some(("p", digits)) => Ok(Self::Newer(number(digits)?)),
            _ => Err(invalid()),
        }
    }

    fn is_newer(self) -> bool {
        matches!(self, Self::Newer(_))
    }

    /// True if a row is on the side of the cursor that the page is on.
    fn has(self, n: i64) -> bool {
        match self {
            Self::Newest => true,
            Self::Older(below) => n < below,
            Self::Newer(above) => n > above,
        }
    }
}

/// A page that is being filled in the direction of its cursor.
struct Filling<T> {
    start: PageStart,
    limit: usize,
    items: Vec<(i64, T)>,
    /// True if there is another item in the direction.
    more: bool,
    /// Rows read so far, and the last of them if it was the last one that may be read.
    read: usize,
    stopped: Option<(i64, Option<Timestamp>)>,
}

impl<T> Filling<T> {
    fn new(start: PageStart, limit: usize) -> Self {
        let limit = limit.clamp(1, PAGE_MAX);
        Self { start, limit, items: Vec::new(), more: false, read: 0, stopped: None }
    }

    /// True if the page needs no further row. Notes that there is one.
    fn is_full(&mut self) -> bool {
        self.more = self.items.len() >= self.limit;
        self.more
    }

    /// Counts a row that was read, and adds it if it matches. False if no further one may be read.
    fn add(&mut self, n: i64, at: Option<Timestamp>, item: Option<T>) -> bool {
        self.read += 1;
        let matched = item.is_some();
        self.items.extend(item.map(|item| (n, item)));
        if self.read >= ROWS_AT_ONCE && !matched {
            self.stopped = Some((n, at));
        }
        self.stopped.is_none()
    }

    /// Notes that the search ended at a row, before the end of the list.
    fn stop(&mut self, n: i64, at: Option<Timestamp>) {
        self.stopped = Some((n, at));
    }

    /// The page, newest first.
    fn page(mut self) -> PageOf<T> {
        let ends = |items: &[(i64, T)]| Some((items.first()?.0, items.last()?.0));
        let ends = ends(&self.items);
        // Where the search ended, in the direction of the cursor.
        let last = self.stopped.map(|(n, _)| n).or(ends.map(|(_, last)| last));
        let goes_on = self.more || self.stopped.is_some();
        let newer = |n| format!("p{}", &cursor_text(n)[1..]);
        let (next, previous) = match self.start {
            PageStart::Newer(from) => {
                self.items.reverse();
                let lowest = ends.map_or(from.saturating_add(1), |(first, _)| first);
                (Some(cursor_text(lowest)), last.filter(|_| goes_on).map(newer))
            }
            PageStart::Older(below) => {
                let highest = ends.map_or(below.saturating_sub(1), |(first, _)| first);
                (last.filter(|_| goes_on).map(cursor_text), Some(newer(highest)))
            }
            PageStart::Newest => (last.filter(|_| goes_on).map(cursor_text), None),
        };
        let newest = ends.map(|(first, last)| newer(first.max(last)));
        let searched_to = self.stopped.and_then(|(_, at)| at);
        let items = self.items.into_iter().map(|(_, item)| item).collect();
        PageOf { items, next, previous, newest, searched_to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(start: PageStart, limit: usize, rows: &[i64]) -> PageOf<i64> {
        let mut page = Filling::new(start, limit);
        for n in rows {
            if page.is_full() {
                break;
            }
            page.add(*n, None, Some(*n));
        }
        page.page()
    }

    fn start(cursor: Option<&String>) -> PageStart {
        PageStart::of(&PageRequest { limit: 1, after: cursor.cloned() }).unwrap()
    }

    #[test]
    fn cursors_lead_to_both_neighbours() {
        let first = filled(PageStart::Newest, 2, &[9, 8, 7, 6]);
        assert_eq!((&first.items[..], &first.previous), (&[9, 8][..], &None));
        assert_eq!(start(first.newest.as_ref()), PageStart::Newer(9));
        let older = start(first.next.as_ref());
        assert_eq!(older, PageStart::Older(8));
        let second = filled(older, 2, &[7, 6]);
        assert_eq!((&second.items[..], &second.next), (&[7, 6][..], &None));
        let newer = start(second.previous.as_ref());
        assert_eq!(newer, PageStart::Newer(7));
        let back = filled(newer, 2, &[8, 9, 10]);
        assert_eq!(back.items, [9, 8]);
        assert_eq!(start(back.next.as_ref()), PageStart::Older(8));
        assert_eq!(start(back.previous.as_ref()), PageStart::Newer(9));
        assert_eq!(filled(PageStart::Newer(9), 2, &[10]).previous, None);
    }

    #[test]
    fn a_search_that_ends_early_says_how_far_it_came() {
        let mut page = Filling::<i64>::new(PageStart::Newest, 10);
        let at = Timestamp::from_millis(7);
        let mut n = 1_000_000;
        while page.add(n, Some(at), None) {
            n -= 1;
        }
        let page = page.page();
        assert_eq!((page.items.len(), page.searched_to), (0, Some(at)));
        assert_eq!(start(page.next.as_ref()), PageStart::Older(n));
    }

    #[test]
    fn a_search_that_read_enough_blocks_goes_on_where_it_ended() {
        for (from, cursor) in [
            (PageStart::Newest, PageStart::Older(4_096)),
            (PageStart::Newer(9), PageStart::Newer(4_096)),
        ] {
            let mut page = Filling::new(from, 10);
            page.add(9_000, None, Some(()));
            page.stop(4_096, Some(Timestamp::from_millis(7)));
            let page = page.page();
            let after = if from.is_newer() { &page.previous } else { &page.next };
            assert_eq!(start(after.as_ref()), cursor);
            assert!(page.searched_to.is_some() && page.items.len() == 1);
        }
    }

    #[test]
    fn a_strange_cursor_is_refused() {
        for after in ["", "x9", "n-", "n", "é1"] {
            let page = PageRequest { limit: 1, after: Some(after.into()) };
            assert!(PageStart::of(&page).is_err(), "{after}");
        }
    }
}
