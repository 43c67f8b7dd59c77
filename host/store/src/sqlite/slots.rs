//! The slots file: which deliveries are running, and whether the last process ended as it should.
//!
//! It lies beside the database and is never synced: it has to outlive the process, not the machine. A record is 32
//! bytes, so a run costs two small writes to memory that the kernel owns. What is read back is only believed where
//! its checksum holds and the delivery's row still waits for that very attempt.
//!
//! ```text
//! header:  "weirslot", format u32, state u32, zeros
//! record:  delivery i64 (0: free), generation u32, attempt u32, started_at u64 (ms), checksum u64; little endian
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

use super::room;
use super::schema::{Keys, Place};
use crate::RunGuard;
use crate::error::StoreError;
use crate::private;

const RECORD_BYTES: usize = 32;
const MAGIC: [u8; 8] = *b"weirslot";
const FORMAT: u32 = 1;
/// Bytes of a file that are looked at: far more than any number of slots.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Runs at once that can be kept account of.
const SLOTS_MAX: usize = 4_096;

type Record = [u8; RECORD_BYTES];

/// How the process before this one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LastEnd {
    /// It closed the store.
    Clean,
    /// It closed the store, and had not looked over all that an unclean end before it left.
    Unlooked,
    /// It just ended.
    Unclean,
    /// A write or sync of it had failed.
    Poisoned,
}

impl LastEnd {
    /// The worse of the two.
    pub(super) fn at_best(self, best: Self) -> Self {
        self.max(best)
    }

    /// Whether nothing was running.
    pub(super) const fn is_clean(self) -> bool {
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

/// A run that was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) n: i64,
    pub(super) fence: Fence,
    pub(super) started_at: Timestamp,
}

/// The file as the process before this one left it.
pub(super) struct Left {
    file: File,
    records: Vec<Record>,
    pub(super) end: LastEnd,
}

/// Reads the file, making it if it is not there. Nothing is changed until [`Left::take_over`].
pub(super) fn open(place: &Place) -> Result<Left, StoreError> {
    let failed = failed("open the store's slots file");
    let mut file = private::file(&place.slots()).map_err(&failed)?;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).map_err(&failed)?;
    (&mut file).take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(&failed)?;
    let (records, _cut) = bytes.as_chunks::<RECORD_BYTES>();
    let (end, records) = match records.split_first() {
        None => (LastEnd::Clean, &[][..]),
        Some((header, records)) => (last_end(header), records),
    };
    Ok(Left { file, records: records.to_vec(), end })
}

fn failed(doing: &'static str) -> impl Fn(std::io::Error) -> StoreError {
    move |e| match room::is_full(&e) {
        true => StoreError::DiskFull,
        false => StoreError::Engine { doing, cause: e.to_string() },
    }
}

/// What cannot be understood was not left by a clean end.
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

impl Left {
    /// The runs that were under way when the process before this one died.
    pub(super) fn runs(&self, keys: &Keys) -> Vec<Run> {
        if self.end.is_clean() {
            return Vec::new();
        }
        self.records.iter().filter_map(|record| run(record, keys)).collect()
    }

    /// Makes the file this process's own: all slots free, and a clean end still to come.
    pub(super) fn take_over(self, keys: &Keys, slots: usize) -> Result<Slots, StoreError> {
        let slots = slots.clamp(1, SLOTS_MAX);
        let mut bytes = vec![0; RECORD_BYTES * (slots + 1)];
        bytes[..RECORD_BYTES].copy_from_slice(&header(LastEnd::Unclean));
        let written = self.file.write_all_at(&bytes, 0);
        written
            .and_then(|()| self.file.set_len(bytes.len() as u64))
            .map_err(failed("write the store's slots file"))?;
        // The lowest slot is taken first, so that a quiet hub keeps writing to the same place.
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

fn run(record: &Record, keys: &Keys) -> Option<Run> {
    let (body, sum) = record.split_at(RECORD_BYTES - 8);
    if checksum(body, &keys.ids).to_le_bytes() != *sum {
        return None;
    }
    let n = i64::from_le_bytes(body[..8].try_into().ok()?);
    let generation = u32::from_le_bytes(body[8..12].try_into().ok()?);
    let attempt = u32::from_le_bytes(body[12..16].try_into().ok()?);
    let started_at = u64::from_le_bytes(body[16..24].try_into().ok()?);
    let fence = Fence { generation, attempt };
    (n > 0).then_some(Run { n, fence, started_at: Timestamp::from_millis(started_at) })
}

fn record(run: &Run, key: &[u8; 16]) -> Record {
    let mut record = [0; RECORD_BYTES];
    record[..8].copy_from_slice(&run.n.to_le_bytes());
    record[8..12].copy_from_slice(&run.fence.generation.to_le_bytes());
    record[12..16].copy_from_slice(&run.fence.attempt.to_le_bytes());
    record[16..24].copy_from_slice(&run.started_at.as_millis().to_le_bytes());
    let sum = checksum(&record[..RECORD_BYTES - 8], key);
    record[RECORD_BYTES - 8..].copy_from_slice(&sum.to_le_bytes());
    record
}

/// Keyed, so that a file that belongs to another store says nothing here.
fn checksum(bytes: &[u8], key: &[u8; 16]) -> u64 {
    let mut hash = SipHasher13::new_with_key(key);
    hash.write(b"weir slot");
    hash.write(bytes);
    hash.finish()
}

/// The slots of this process.
#[derive(Clone)]
pub(super) struct Slots(Arc<Shared>);

struct Shared {
    file: File,
    key: [u8; 16],
    slots: usize,
    inner: Mutex<Inner>,
}

struct Inner {
    free: Vec<usize>,
    /// The file is somebody else's by now.
    ended: bool,
}

impl Slots {
    /// Writes a run down until what is returned is dropped.
    pub(super) fn begin(&self, run: &Run) -> Result<RunGuard, StoreError> {
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

    /// Says how this process ends. After a clean end nothing more is written: the file may be somebody else's.
    pub(super) fn end(&self, end: LastEnd) {
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
            // The run goes on: what is lost is only the protection from one that kills the host.
            tracing::warn!(%error, "the slots file could not be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys { ids: [1; 16], dedup: [2; 16] }
    }

    fn some_run(n: i64) -> Run {
        let fence = Fence { generation: 3, attempt: 2 };
        Run { n, fence, started_at: Timestamp::from_millis(1_760_000_000_000) }
    }

    #[test]
    fn what_runs_is_read_back_after_an_unclean_end_and_only_then() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(&dir.path().join("weir.db"), None);
        let slots = open(&place).unwrap().take_over(&keys(), 4).unwrap();
        let _kept = slots.begin(&some_run(7)).unwrap();
        drop(slots.begin(&some_run(8)).unwrap());
        let left = open(&place).unwrap();
        assert_eq!((left.end, left.runs(&keys())), (LastEnd::Unclean, vec![some_run(7)]));
        let other = Keys { ids: [9; 16], dedup: [2; 16] };
        assert!(left.runs(&other).is_empty(), "another store's file");
        slots.end(LastEnd::Clean);
        let left = open(&place).unwrap();
        assert_eq!((left.end, left.runs(&keys())), (LastEnd::Clean, vec![]));
    }

    #[test]
    fn no_byte_of_a_record_can_change_unnoticed() {
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
    fn a_process_that_comes_after_is_not_disturbed_by_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(&dir.path().join("weir.db"), None);
        let old = open(&place).unwrap().take_over(&keys(), 1).unwrap();
        let late = old.begin(&some_run(7)).unwrap();
        old.end(LastEnd::Clean);
        let new = open(&place).unwrap().take_over(&keys(), 1).unwrap();
        let _kept = new.begin(&some_run(8)).unwrap();
        drop(late);
        assert_eq!(open(&place).unwrap().runs(&keys()), [some_run(8)]);
    }
}
