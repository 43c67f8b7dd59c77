//! Unreadable rows: set aside and counted, so that one damaged page does not stop the rows behind
//! it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::health::UnreadableRows;
use crate::sqlite::format::damage::is_unreadable;

/// Listed ranges of rows. Further ones are only counted.
const TOLD_MAX: usize = 1_000;

/// Failures of the disk after which a row counts as unreadable. A damaged row counts at once.
const FAILURES_MAX: u8 = 3;

/// Rows whose failures are counted.
const FAILING_MAX: usize = 10_000;

/// The rows that were set aside since the start.
#[derive(Default)]
pub(crate) struct UnreadableLog {
    rows: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    told: VecDeque<UnreadableRows>,
    known: FxHashSet<(&'static str, i64)>,
    failures: FxHashMap<i64, u8>,
}

impl UnreadableLog {
    /// Sets rows aside, unless they are set aside already.
    pub(crate) fn put(&self, unreadable: UnreadableRows) {
        let mut inner = self.inner.lock();
        let mut new = 0;
        for n in unreadable.first..=unreadable.last {
            new += u64::from(inner.known.insert((unreadable.what, n)));
        }
        if new == 0 {
            return;
        }
        self.rows.fetch_add(new, Ordering::Relaxed);
        let UnreadableRows { what, first, last, id, target, reason, .. } = &unreadable;
        tracing::error!(
            what,
            first,
            last,
            id = id.as_deref(),
            target = target.as_deref(),
            reason = &**reason,
            "rows of the store cannot be read and are set aside until the next start; see weir unreadable"
        );
        if inner.told.len() < TOLD_MAX {
            inner.told.push_back(unreadable);
        }
    }

    /// True if a row is to be set aside after this error, and not read again.
    pub(crate) fn is_hopeless(&self, n: i64, error: &rusqlite::Error) -> bool {
        if is_unreadable(error) {
            return true;
        }
        let mut inner = self.inner.lock();
        if inner.failures.len() >= FAILING_MAX {
            inner.failures.clear();
        }
        let failures = inner.failures.entry(n).or_insert(0);
        *failures += 1;
        *failures >= FAILURES_MAX
    }

    /// True if a row is set aside.
    pub(crate) fn has(&self, what: &'static str, n: i64) -> bool {
        self.rows() > 0 && self.inner.lock().known.contains(&(what, n))
    }

    /// Rows that were set aside.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// The ranges with their reasons, oldest first.
    pub(crate) fn list(&self) -> Vec<UnreadableRows> {
        self.inner.lock().told.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rusqlite::ffi;
    use weir_core::time::Timestamp;

    use super::*;
    use crate::sqlite::format::damage::read_around_damage;

    fn damage() -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), None)
    }

    fn unreadable(first: i64, last: i64) -> UnreadableRows {
        UnreadableRows {
            what: "delivery",
            first,
            last,
            id: None,
            target: None,
            reason: Arc::from("damaged"),
            found_at: Timestamp::from_millis(7),
        }
    }

    #[test]
    fn all_readable_rows_are_read_in_order() {
        let bad = [3, 40, 41, 42, 100];
        let mut reads = 0;
        let mut read = |first: i64, last: i64| {
            reads += 1;
            match bad.iter().any(|n| (first..=last).contains(n)) {
                true => Err(damage()),
                false => Ok((first..=last).collect::<Vec<i64>>()),
            }
        };
        let mut holes = Vec::new();
        let found = read_around_damage((1, 100), &mut read, &mut holes).unwrap();
        let good: Vec<i64> = (1..=100).filter(|n| !bad.contains(n)).collect();
        assert_eq!(found, good);
        let holes: Vec<_> = holes.iter().map(|hole| (hole.first, hole.last)).collect();
        assert_eq!(holes, [(3, 3), (40, 42), (100, 100)]);
        assert!(reads < 60, "{reads}");
    }

    #[test]
    fn rows_count_once_and_a_failing_disk_is_read_again() {
        let aside = UnreadableLog::default();
        aside.put(unreadable(7, 9));
        aside.put(unreadable(8, 10));
        aside.put(unreadable(9, 9));
        assert_eq!((aside.rows(), aside.list().len()), (4, 2));
        assert!(aside.is_hopeless(1, &damage()));
        let io = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_READ), None);
        let said: Vec<bool> = (0..3).map(|_| aside.is_hopeless(2, &io)).collect();
        assert_eq!(said, [false, false, true]);
    }
}
