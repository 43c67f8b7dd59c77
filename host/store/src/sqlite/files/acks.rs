//! The acknowledgement mark: the next numbers of the tables, kept outside of the database and its
//! log.
//!
//! SQLite treats a log that is damaged in the middle as one that ends there, and reports nothing.
//! So that acknowledged rows after that point are not lost unnoticed, the next numbers are written
//! beside the log, after each commit and before its answers. The mark is not synced: it is written
//! only after a durable commit, so it is never ahead. After a kill it is exact, after a power
//! failure a little behind.
//!
//! ```text
//! "weirack1", store u64, next request, event, delivery, attempt, registry version i64 each,
//! checksum u64; little endian
//! ```

use std::fs::File;
use std::hash::Hasher as _;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, params};
use siphasher::sip::SipHasher13;
use weir_core::time::Timestamp;

use crate::health::LostRows;
use crate::private;
use crate::sqlite::files::store_files::StoreFiles;
use crate::sqlite::format::next_numbers::NextNumbers;
use crate::sqlite::format::schema::Keys;
use crate::sqlite::format::{num, schema};

const MAGIC: [u8; 8] = *b"weirack1";

const NUMBERS: usize = 5;

const BYTES: usize = MAGIC.len() + 8 + 8 * NUMBERS + 8;

/// The table of each number.
const WHAT: [&str; NUMBERS] = ["request", "event", "delivery", "attempt", "registry"];

/// The next number of each table that is counted.
type Numbers = [i64; NUMBERS];

/// The numbers that a store had reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AckMark {
    /// Identifies the store.
    store: u64,
    numbers: Numbers,
}

fn numbers(next: &NextNumbers) -> Numbers {
    [next.request, next.event, next.delivery, next.attempt, next.registry_version]
}

/// The file, open for marks.
pub(crate) struct Acks {
    /// None on a simulated disk, or if it cannot be written.
    file: Option<File>,
    store: u64,
    failed: AtomicBool,
}

impl Acks {
    /// Opens the file, or creates it.
    pub(crate) fn open(files: &StoreFiles, keys: &Keys) -> Self {
        let file = match files.is_simulated() {
            true => None,
            false => match private::file(&files.acks()) {
                Ok(file) => Some(file),
                Err(error) => {
                    tracing::warn!(%error, "the acknowledgement mark cannot be opened: damage in the log would not be noticed");
                    None
                }
            },
        };
        Self { file, store: name_of(keys), failed: AtomicBool::new(false) }
    }

    /// Writes the numbers that a commit has reached.
    pub(crate) fn mark(&self, next: &NextNumbers) {
        let Some(file) = &self.file else { return };
        let mark = AckMark { store: self.store, numbers: numbers(next) };
        if let Err(error) = file.write_all_at(&record(&mark), 0)
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "the acknowledgement mark cannot be written: damage in the log would not be noticed");
        }
    }

    /// Makes the latest mark durable. No answer waits for it.
    pub(crate) fn sync(&self) {
        if let Some(file) = &self.file
            && let Err(error) = file.sync_data()
        {
            tracing::debug!(%error, "the acknowledgement mark was not synced");
        }
    }
}

fn record(mark: &AckMark) -> [u8; BYTES] {
    let mut record = [0; BYTES];
    record[..8].copy_from_slice(&MAGIC);
    record[8..16].copy_from_slice(&mark.store.to_le_bytes());
    for (chunk, number) in record[16..].chunks_exact_mut(8).zip(mark.numbers) {
        chunk.copy_from_slice(&number.to_le_bytes());
    }
    let mut sum = SipHasher13::new();
    sum.write(&record[..BYTES - 8]);
    record[BYTES - 8..].copy_from_slice(&sum.finish().to_le_bytes());
    record
}

/// A number that identifies a store and reveals none of its secrets.
pub(crate) fn name_of(keys: &Keys) -> u64 {
    let mut hash = SipHasher13::new_with_key(&keys.ids);
    hash.write(b"weir acks");
    hash.finish()
}

/// Reads the last mark; none if it is missing or damaged.
pub(crate) fn read(files: &StoreFiles) -> Option<AckMark> {
    if files.is_simulated() {
        return None;
    }
    let file = File::open(files.acks()).ok()?;
    let mut found = [0; BYTES];
    file.read_exact_at(&mut found, 0).ok()?;
    let (words, _) = found[8..].as_chunks::<8>();
    let (store, words) = words.split_first()?;
    let mut mark = AckMark { store: u64::from_le_bytes(*store), numbers: [0; NUMBERS] };
    for (number, word) in mark.numbers.iter_mut().zip(words) {
        *number = i64::from_le_bytes(*word);
    }
    (record(&mark) == found).then_some(mark)
}

/// Rows that were acknowledged and are missing. If another store replaced the one of the mark, all
/// its rows are.
pub(crate) fn missing(
    mark: &AckMark,
    keys: &Keys,
    next: &NextNumbers,
    now: Timestamp,
) -> Vec<LostRows> {
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

/// Stores the losses, and skips their numbers so that none is used again.
pub(crate) fn note(conn: &Connection, mark: &AckMark, lost: &[LostRows]) -> rusqlite::Result<()> {
    let tx = conn.unchecked_transaction()?;
    let mut next = NextNumbers::load(&tx)?;
    let numbers = [
        &mut next.request,
        &mut next.event,
        &mut next.delivery,
        &mut next.attempt,
        &mut next.registry_version,
    ];
    for (number, marked) in numbers.into_iter().zip(mark.numbers) {
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

/// The losses that earlier starts found, and those that the next start would find, a sentence each.
pub(crate) fn problems(conn: &Connection, files: &StoreFiles) -> rusqlite::Result<Vec<String>> {
    // Read before the store, whose numbers only rise.
    let mark = read(files);
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
        let lost = missing(&mark, &keys, &NextNumbers::load(conn)?, Timestamp::from_millis(0));
        problems
            .extend(lost.iter().map(|l| sentence(l.what, l.first, l.last, "not noticed before")));
    }
    Ok(problems)
}

/// One loss as a sentence.
pub(crate) fn sentence(what: &str, first: i64, last: i64, when: &str) -> String {
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
pub(crate) fn forget(conn: &Connection, before: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM lost WHERE found_at < ?1")?.execute([before])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys { ids: [1; 16], dedup: [2; 16] }
    }

    fn next(event: i64) -> NextNumbers {
        NextNumbers {
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
    fn rows_below_the_mark_that_are_absent_are_missing() {
        let dir = tempfile::tempdir().unwrap();
        let files = StoreFiles::new(&dir.path().join("weir.db"), None);
        assert_eq!(read(&files), None, "nothing was marked");
        Acks::open(&files, &keys()).mark(&next(11));
        let mark = read(&files).unwrap();
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
    fn a_change_of_any_byte_of_a_mark_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let files = StoreFiles::new(&dir.path().join("weir.db"), None);
        Acks::open(&files, &keys()).mark(&next(11));
        let whole = std::fs::read(files.acks()).unwrap();
        for at in 0..whole.len() {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            std::fs::write(files.acks(), torn).unwrap();
            assert_eq!(read(&files), None, "byte {at}");
        }
    }
}
