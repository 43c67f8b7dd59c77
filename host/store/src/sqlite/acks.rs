//! How far the store has acknowledged: the next numbers of its tables, kept outside of the database and its log.
//!
//! SQLite takes a log whose middle is damaged for one that ends there, and says nothing. What was acknowledged after
//! that point would be gone without a word; so the numbers that were given out are written beside it, after each
//! commit and before its answers. No sync is waited for: a mark can only be on the disk when the commit before it
//! is, so it is never ahead of what is durable. After a kill it is exact, after a power cut a little behind.
//!
//! ```text
//! "weirack1", store u64, next request, event, delivery, attempt, registry version i64 each, checksum u64; little endian
//! ```

use std::fs::File;
use std::hash::Hasher as _;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, params};
use siphasher::sip::SipHasher13;
use weir_core::time::Timestamp;

use super::group::Next;
use super::schema::{Keys, Place};
use super::{num, schema};
use crate::condition::LostRows;
use crate::private;

const MAGIC: [u8; 8] = *b"weirack1";
const NUMBERS: usize = 5;
const BYTES: usize = MAGIC.len() + 8 + 8 * NUMBERS + 8;

/// The table of each number.
const WHAT: [&str; NUMBERS] = ["request", "event", "delivery", "attempt", "registry"];

/// The next number of each table that is counted.
type Numbers = [i64; NUMBERS];

/// A mark: the numbers that a store had reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Tells stores apart.
    store: u64,
    numbers: Numbers,
}

fn numbers(next: &Next) -> Numbers {
    [next.request, next.event, next.delivery, next.attempt, next.registry_version]
}

/// The file, open for marks.
pub(super) struct Acks {
    /// None on a simulated disk, or where it cannot be written.
    file: Option<File>,
    store: u64,
    failed: AtomicBool,
}

impl Acks {
    /// Opens the file, making it if it is not there.
    pub(super) fn open(place: &Place, keys: &Keys) -> Self {
        let file = match place.is_simulated() {
            true => None,
            false => match private::file(&place.acks()) {
                Ok(file) => Some(file),
                Err(error) => {
                    tracing::warn!(%error, "the file of acknowledgements cannot be opened: rot in the log would not be noticed");
                    None
                }
            },
        };
        Self { file, store: name_of(keys), failed: AtomicBool::new(false) }
    }

    /// Marks what a commit has reached.
    pub(super) fn mark(&self, next: &Next) {
        let Some(file) = &self.file else { return };
        let mark = Mark { store: self.store, numbers: numbers(next) };
        if let Err(error) = file.write_all_at(&record(&mark), 0)
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "acknowledgements cannot be marked: rot in the log would not be noticed");
        }
    }

    /// Makes the latest mark durable. Not on the way of an answer.
    pub(super) fn sync(&self) {
        if let Some(file) = &self.file
            && let Err(error) = file.sync_data()
        {
            tracing::debug!(%error, "the file of acknowledgements was not synced");
        }
    }
}

fn record(mark: &Mark) -> [u8; BYTES] {
    let mut record = [0; BYTES];
    record[..8].copy_from_slice(&MAGIC);
    record[8..16].copy_from_slice(&mark.store.to_le_bytes());
    for (place, number) in record[16..].chunks_exact_mut(8).zip(mark.numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    let mut sum = SipHasher13::new();
    sum.write(&record[..BYTES - 8]);
    record[BYTES - 8..].copy_from_slice(&sum.finish().to_le_bytes());
    record
}

/// A number that tells stores apart and gives none of their secrets away.
fn name_of(keys: &Keys) -> u64 {
    let mut hash = SipHasher13::new_with_key(&keys.ids);
    hash.write(b"weir acks");
    hash.finish()
}

/// Reads the last mark; none if there is none that makes sense.
pub(super) fn read(place: &Place) -> Option<Mark> {
    if place.is_simulated() {
        return None;
    }
    let file = File::open(place.acks()).ok()?;
    let mut found = [0; BYTES];
    file.read_exact_at(&mut found, 0).ok()?;
    let (words, _) = found[8..].as_chunks::<8>();
    let (store, words) = words.split_first()?;
    let mut mark = Mark { store: u64::from_le_bytes(*store), numbers: [0; NUMBERS] };
    for (number, word) in mark.numbers.iter_mut().zip(words) {
        *number = i64::from_le_bytes(*word);
    }
    (record(&mark) == found).then_some(mark)
}

/// Rows that were acknowledged and are not there: all of them, where another store is in the place of the one that made
/// the mark.
pub(super) fn missing(mark: &Mark, keys: &Keys, next: &Next, now: Timestamp) -> Vec<LostRows> {
    let found = if mark.store == name_of(keys) { numbers(next) } else { [1; NUMBERS] };
    let tables = WHAT.iter().zip(mark.numbers.iter().zip(found));
    let lost = tables.filter(|(_, (marked, found))| **marked > *found);
    lost.map(|(what, (marked, found))| LostRows {
        what,
        first: found,
        last: marked - 1,
        found_at: now,
    })
    .collect()
}

/// Notes losses in the store, and gives none of their numbers out again.
pub(super) fn note(conn: &Connection, mark: &Mark, lost: &[LostRows]) -> rusqlite::Result<()> {
    let tx = conn.unchecked_transaction()?;
    let mut next = Next::load(&tx)?;
    let places = [
        &mut next.request,
        &mut next.event,
        &mut next.delivery,
        &mut next.attempt,
        &mut next.registry_version,
    ];
    for (number, marked) in places.into_iter().zip(mark.numbers) {
        *number = (*number).max(marked);
    }
    next.save(&tx)?;
    for LostRows { what, first, last, found_at } in lost {
        tx.execute(
            "INSERT INTO lost (what, first, last, found_at) VALUES (?1, ?2, ?3, ?4)",
            params![what, first, last, num::stored_time(*found_at)],
        )?;
    }
    tx.commit()
}

/// Losses that were found at earlier starts, a sentence each, and those that the next start would find.
pub(super) fn problems(conn: &Connection, place: &Place) -> rusqlite::Result<Vec<String>> {
    // Read before the store, which only gains.
    let mark = read(place);
    let mut problems = Vec::new();
    let is_there: bool = conn.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'lost'",
        [],
        |row| row.get(0),
    )?;
    if is_there {
        let mut statement =
            conn.prepare("SELECT what, first, last, found_at FROM lost ORDER BY n")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let what: String = row.get(0)?;
            let at = num::time(row.get(3)?);
            problems.push(sentence(&what, row.get(1)?, row.get(2)?, &format!("noticed at {at}")));
        }
    }
    if let (Some(mark), Some(keys)) = (mark, schema::read_keys(conn)?) {
        let lost = missing(&mark, &keys, &Next::load(conn)?, Timestamp::from_millis(0));
        problems
            .extend(lost.iter().map(|l| sentence(l.what, l.first, l.last, "not noticed before")));
    }
    Ok(problems)
}

/// One loss as a sentence.
pub(super) fn sentence(what: &str, first: i64, last: i64, when: &str) -> String {
    let (count, rows) = match last - first + 1 {
        1 => (1, format!("{what} {first}")),
        count => (count, format!("{what} rows {first} to {last}")),
    };
    format!(
        "{rows} ({count}) had been acknowledged and are missing ({when}): the log was damaged or deleted, or an older \
         copy of the store was put in place"
    )
}

/// Removes losses that were found before a time.
pub(super) fn forget(conn: &Connection, before: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM lost WHERE found_at < ?1")?.execute([before])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys { ids: [1; 16], dedup: [2; 16] }
    }

    fn next(event: i64) -> Next {
        Next {
            request: 1,
            event,
            payload: 1,
            delivery: 1,
            attempt: 1,
            state_version: 1,
            registry_version: 1,
        }
    }

    #[test]
    fn what_was_marked_and_is_not_there_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(&dir.path().join("weir.db"), None);
        assert_eq!(read(&place), None, "nothing was marked");
        Acks::open(&place, &keys()).mark(&next(11));
        let mark = read(&place).unwrap();
        let now = Timestamp::from_millis(7);
        assert!(missing(&mark, &keys(), &next(11), now).is_empty());
        assert!(missing(&mark, &keys(), &next(12), now).is_empty(), "a mark may be behind");
        let lost = missing(&mark, &keys(), &next(8), now);
        assert_eq!(lost, [LostRows { what: "event", first: 8, last: 10, found_at: now }]);
        assert_eq!(lost[0].count(), 3);
        let other = Keys { ids: [9; 16], dedup: [2; 16] };
        let lost = missing(&mark, &other, &next(50), now);
        assert_eq!(
            lost,
            [LostRows { what: "event", first: 1, last: 10, found_at: now }],
            "another store"
        );
    }

    #[test]
    fn no_byte_of_a_mark_can_change_unnoticed() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(&dir.path().join("weir.db"), None);
        Acks::open(&place, &keys()).mark(&next(11));
        let whole = std::fs::read(place.acks()).unwrap();
        for at in 0..whole.len() {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            std::fs::write(place.acks(), torn).unwrap();
            assert_eq!(read(&place), None, "byte {at}");
        }
    }
}
