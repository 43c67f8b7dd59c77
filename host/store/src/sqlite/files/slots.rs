//! The slots file: the running deliveries, and whether the last process ended cleanly.
//!
//! It is beside the database and never synced: it must outlive the process, not the machine. A
//! record has 32 bytes, so a run costs two small writes to memory of the kernel. A record counts
//! only if its checksum is right and the delivery still waits for that attempt.
//!
//! ```text
//! header:  "weirslot", format u32, state u32, zeros
//! record:  delivery i64 (0: free), generation u32, attempt u32, started_at u64 (ms), checksum u64
//! all little endian
//! ```

use std::fs::File;
use std::hash::Hasher as _;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use parking_lot::Mutex;
use siphasher::sip::SipHasher13;
use weir_core::delivery::Fence;
use weir_core::time::Timestamp;

use crate::error::StoreError;
use crate::sqlite::files::disk_space;
use crate::sqlite::files::store_files::StoreFiles;
use crate::sqlite::format::schema::Keys;
use crate::{RunGuard, private};

const RECORD_BYTES: usize = 32;

const MAGIC: [u8; 8] = *b"weirslot";

const FORMAT: u32 = 1;

/// Bytes of the file that are read: more than any number of slots needs.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Largest number of slots.
const SLOTS_MAX: usize = 4_096;

type Record = [u8; RECORD_BYTES];

/// End of the process before this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LastEnd {
    /// It closed the store.
    Clean,
    /// It closed the store before the integrity check of an earlier unclean end was done.
    Unlooked,
    /// It ended without closing the store.
    Unclean,
    /// One of its writes or syncs had failed.
    Poisoned,
}

impl LastEnd {
    /// The worse of the two.
    pub(crate) fn at_best(self, best: Self) -> Self {
        self.max(best)
    }

    /// True if nothing was running.
    pub(crate) const fn is_clean(self) -> bool {
        matches!(self, Self::Clean | Self::Unlooked)
    }

    const fn stored(self) -> u32 {
        match self {
            Self::Clean => 0,
            Self::Unclean => 1,
            Self::Poisoned => 2,
            Self::Unlooked => 3,
        }
    }
}

/// A recorded run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunRecord {
    pub(crate) n: i64,
    pub(crate) fence: Fence,
    pub(crate) started_at: Timestamp,
}

/// The file as the process before left it.
pub(crate) struct PreviousRuns {
    file: File,
    records: Vec<Record>,
    pub(crate) end: LastEnd,
}

/// Reads the file, or creates it. Nothing is changed until [`PreviousRuns::take_over`].
pub(crate) fn open(files: &StoreFiles) -> Result<PreviousRuns, StoreError> {
    let failed = failed("open the store's slots file");
    let mut file = private::file(&files.slots()).map_err(&failed)?;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).map_err(&failed)?;
    (&mut file).take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(&failed)?;
    let (records, _cut) = bytes.as_chunks::<RECORD_BYTES>();
    let (end, records) = match records.split_first() {
        None => (LastEnd::Clean, &[][..]),
        Some((header, records)) => (last_end(header), records),
    };
    Ok(PreviousRuns { file, records: records.to_vec(), end })
}

fn failed(during: &'static str) -> impl Fn(std::io::Error) -> StoreError {
    move |e| match disk_space::is_full(&e) {
        true => StoreError::DiskFull,
        false => StoreError::engine(during, e),
    }
}

/// The end that a header records. A damaged header counts as an unclean end.
fn last_end(header: &Record) -> LastEnd {
    if header[..8] != MAGIC || header[8..12] != FORMAT.to_le_bytes() {
        return LastEnd::Unclean;
    }
    let state = &header[12..16];
    [LastEnd::Clean, LastEnd::Poisoned, LastEnd::Unlooked]
        .into_iter()
        .find(|end| state == end.stored().to_le_bytes())
        .unwrap_or(LastEnd::Unclean)
}

fn header(end: LastEnd) -> Record {
    let mut header = [0; RECORD_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[12..16].copy_from_slice(&end.stored().to_le_bytes());
    header
}

impl PreviousRuns {
    /// The runs that were under way when the process before died.
    pub(crate) fn runs(&self, keys: &Keys) -> Vec<RunRecord> {
        if self.end.is_clean() {
            return Vec::new();
        }
        self.records.iter().filter_map(|record| run(record, keys)).collect()
    }

    /// Starts using the file: all slots are free, and the end counts as unclean until
    /// [`Slots::end`].
    pub(crate) fn take_over(self, keys: &Keys, slots: usize) -> Result<Slots, StoreError> {
        let slots = slots.clamp(1, SLOTS_MAX);
        let mut bytes = vec![0; RECORD_BYTES * (slots + 1)];
        bytes[..RECORD_BYTES].copy_from_slice(&header(LastEnd::Unclean));
        let written = self.file.write_all_at(&bytes, 0);
        written
            .and_then(|()| self.file.set_len(bytes.len() as u64))
            .map_err(failed("write the store's slots file"))?;
        // The lowest slot is used first, so that a quiet hub writes to the same place.
        let free = (1..=slots).rev().collect();
        let inner = Inner { free, ended: false };
        Ok(Slots(Arc::new(Shared {
            file: self.file,
            key: keys.ids,
            slots,
            inner: Mutex::new(inner),
        })))
    }
}

fn run(record: &Record, keys: &Keys) -> Option<RunRecord> {
    let (body, sum) = record.split_at(RECORD_BYTES - 8);
    if checksum(body, &keys.ids).to_le_bytes() != *sum {
        return None;
    }
    let n = i64::from_le_bytes(body[..8].try_into().ok()?);
    let generation = u32::from_le_bytes(body[8..12].try_into().ok()?);
    let attempt = u32::from_le_bytes(body[12..16].try_into().ok()?);
    let started_at = u64::from_le_bytes(body[16..24].try_into().ok()?);
    let fence = Fence { generation, attempt };
    (n > 0).then_some(RunRecord { n, fence, started_at: Timestamp::from_millis(started_at) })
}

fn record(run: &RunRecord, key: &[u8; 16]) -> Record {
    let mut record = [0; RECORD_BYTES];
    record[..8].copy_from_slice(&run.n.to_le_bytes());
    record[8..12].copy_from_slice(&run.fence.generation.to_le_bytes());
    record[12..16].copy_from_slice(&run.fence.attempt.to_le_bytes());
    record[16..24].copy_from_slice(&run.started_at.as_millis().to_le_bytes());
    let sum = checksum(&record[..RECORD_BYTES - 8], key);
    record[RECORD_BYTES - 8..].copy_from_slice(&sum.to_le_bytes());
    record
}

/// A keyed checksum, so that the file of another store is ignored.
fn checksum(bytes: &[u8], key: &[u8; 16]) -> u64 {
    let mut hash = SipHasher13::new_with_key(key);
    hash.write(b"weir slot");
    hash.write(bytes);
    hash.finish()
}

/// The slots of this process.
#[derive(Clone)]
pub(crate) struct Slots(Arc<Shared>);

struct Shared {
    pub(crate) file: File,
    pub(crate) key: [u8; 16],
    pub(crate) slots: usize,
    pub(crate) inner: Mutex<Inner>,
}

struct Inner {
    free: Vec<usize>,
    /// True after a clean end: another process may use the file now.
    ended: bool,
}

impl Slots {
    /// Records a run until the guard is dropped.
    pub(crate) fn begin(&self, run: &RunRecord) -> Result<RunGuard, StoreError> {
        let shared = self.0.clone();
        let slot = shared.inner.lock().free.pop();
        let Some(slot) = slot else {
            return Err(StoreError::SlotsTaken { slots: shared.slots });
        };
        shared.write(slot, &record(run, &shared.key));
        Ok(RunGuard::new(move || {
            shared.write(slot, &[0; RECORD_BYTES]);
            shared.inner.lock().free.push(slot);
        }))
    }

    /// Records the end of this process. After a clean end nothing more is written, because another
    /// process may use the file.
    pub(crate) fn end(&self, end: LastEnd) {
        self.0.write(0, &header(end));
        self.0.inner.lock().ended = end.is_clean();
    }
}

impl Shared {
    fn write(&self, slot: usize, record: &Record) {
        if self.inner.lock().ended {
            return;
        }
        let at = (slot * RECORD_BYTES) as u64;
        if let Err(error) = self.file.write_all_at(record, at) {
            // The run goes on. Only the record for a crash is missing.
            tracing::warn!(%error, "the slots file could not be written: a crash during this run will not be noticed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys { ids: [1; 16], dedup: [2; 16] }
    }

    fn some_run(n: i64) -> RunRecord {
        let fence = Fence { generation: 3, attempt: 2 };
        RunRecord { n, fence, started_at: Timestamp::from_millis(1_760_000_000_000) }
    }

    #[test]
    fn runs_are_read_back_only_after_an_unclean_end() {
        let dir = tempfile::tempdir().unwrap();
        let files = StoreFiles::new(&dir.path().join("weir.db"), None);
        let slots = open(&files).unwrap().take_over(&keys(), 4).unwrap();
        let _kept = slots.begin(&some_run(7)).unwrap();
        drop(slots.begin(&some_run(8)).unwrap());
        let left = open(&files).unwrap();
        assert_eq!((left.end, left.runs(&keys())), (LastEnd::Unclean, vec![some_run(7)]));
        let other = Keys { ids: [9; 16], dedup: [2; 16] };
        assert!(left.runs(&other).is_empty(), "another store's file");
        slots.end(LastEnd::Clean);
        let left = open(&files).unwrap();
        assert_eq!((left.end, left.runs(&keys())), (LastEnd::Clean, vec![]));
    }

    #[test]
    fn a_change_of_any_byte_of_a_record_is_noticed() {
        let whole = record(&some_run(7), &keys().ids);
        assert_eq!(run(&whole, &keys()), Some(some_run(7)));
        for at in 0..RECORD_BYTES {
            let mut torn = whole;
            torn[at] ^= 1;
            assert_eq!(run(&torn, &keys()), None, "byte {at}");
        }
        assert_eq!(run(&[0; RECORD_BYTES], &keys()), None);
    }

    #[test]
    fn a_late_write_of_an_earlier_process_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let files = StoreFiles::new(&dir.path().join("weir.db"), None);
        let old = open(&files).unwrap().take_over(&keys(), 1).unwrap();
        let late = old.begin(&some_run(7)).unwrap();
        old.end(LastEnd::Clean);
        let new = open(&files).unwrap().take_over(&keys(), 1).unwrap();
        let _kept = new.begin(&some_run(8)).unwrap();
        drop(late);
        assert_eq!(open(&files).unwrap().runs(&keys()), [some_run(8)]);
    }
}
