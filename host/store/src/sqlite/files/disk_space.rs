//! Disk space, and a reserve file that lets the store go on when the disk is full.
//!
//! When a write finds the disk full, the reserve file is shrunk, and requests are refused until the
//! log is in the database and the reserve file could be filled again. Settlements, checkpoints,
//! retention and alerts use its space meanwhile. A last part is kept for the next start, which
//! needs space to open.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use weir_core::time::Timestamp;

use crate::private;
use crate::sqlite::files::store_files::StoreFiles;

/// Part of the reserve that only a start uses.
const FOR_START: u64 = 1024 * 1024;

/// Free space beside a full reserve at which requests are accepted again. Beside a smaller reserve,
/// as much as its size.
const LEFT_FREE: u64 = 4 * 1024 * 1024;

/// Number of times that the reserve is halved on a small disk.
const HALVED_MAX: u32 = 4;

const CHUNK: usize = 64 * 1024;

const PAGE: u64 = 4_096;

/// Space that a start needs: the log's index and a few pages.
const ENOUGH_TO_START: u64 = 256 * 1024;

/// State of the disk, full or not, and the reserve.
pub(crate) struct DiskSpace {
    reserve: Reserve,
    /// Size of the reserve when it was last filled.
    reserved: AtomicU64,
    full: AtomicBool,
    since: Mutex<Option<Timestamp>>,
}

impl DiskSpace {
    pub(crate) fn new(reserve: Reserve) -> Self {
        let reserved = AtomicU64::new(reserve.was_made());
        Self { reserve, reserved, full: AtomicBool::new(false), since: Mutex::new(None) }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Start of a full disk.
    pub(crate) fn full_since(&self) -> Option<Timestamp> {
        *self.since.lock()
    }

    /// Notes a write that did not fit. True if the disk was not full before.
    pub(crate) fn ran_out(&self, now: Timestamp) -> bool {
        let mut since = self.since.lock();
        let new = since.is_none();
        if new {
            *since = Some(now);
            self.full.store(true, Ordering::Relaxed);
            self.reserve.release();
        }
        new
    }

    /// Fills the reserve again, after the log was emptied. True if the disk is not full any more.
    pub(crate) fn refill(&self) -> bool {
        // At least as large as before: the space it gave up is for settlements and retention.
        let Some(made) = self.reserve.make(self.reserved.load(Ordering::Relaxed)) else {
            return false;
        };
        self.reserved.store(made, Ordering::Relaxed);
        *self.since.lock() = None;
        self.full.store(false, Ordering::Relaxed);
        true
    }

    /// On a full disk, reserves some of the space that an emptied log freed for the next start.
    pub(crate) fn keep_for_start(&self) {
        if self.is_full() {
            self.reserve.keep_for_start(self.reserved.load(Ordering::Relaxed));
        }
    }
}

/// A file that occupies space, so that some can be freed on a full disk.
#[derive(Debug, Clone)]
pub(crate) struct Reserve {
    path: PathBuf,
    /// 0 for none.
    bytes: u64,
}

impl Reserve {
    pub(crate) fn new(files: &StoreFiles, bytes: u64) -> Self {
        // A simulated disk has no place for the file.
        let bytes = if files.is_simulated() { 0 } else { bytes };
        Self { path: files.reserve(), bytes }
    }

    /// Fills the reserve file to at least `at_least` bytes, as large as the disk allows with some
    /// space left free. Returns its size; `None` if there is too little space, and then the file is
    /// unchanged.
    fn make(&self, at_least: u64) -> Option<u64> {
        if self.bytes == 0 {
            return Some(0);
        }
        self.try_make(at_least).unwrap_or_else(|error| {
            // The store works without a reserve.
            tracing::warn!(file = %self.path.display(), %error, "the reserve file for a full disk cannot be created");
            Some(0)
        })
    }

    fn try_make(&self, at_least: u64) -> std::io::Result<Option<u64>> {
        let file = match private::file(&self.path) {
            Err(e) if is_full(&e) => return Ok(None),
            opened => opened?,
        };
        let before = file.metadata()?.len();
        let at_least = at_least.max(before).min(self.bytes);
        for halved in 0..=HALVED_MAX {
            let bytes = self.bytes >> halved;
            if bytes <= FOR_START || bytes < at_least {
                break;
            }
            let wanted = bytes + LEFT_FREE.min(bytes);
            let missing = wanted.saturating_sub(before);
            if available(&self.path).is_some_and(|free| free < missing) {
                continue;
            }
            match fill(&file, before, wanted) {
                Ok(()) => {
                    file.set_len(bytes)?;
                    note(&file, bytes)?;
                    return Ok(Some(bytes));
                }
                Err(e) => {
                    file.set_len(before)?;
                    if !is_full(&e) {
                        return Err(e);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Its size when it was last filled, by this process or one before.
    fn was_made(&self) -> u64 {
        let mut noted = [0; 8];
        let read = File::open(&self.path).and_then(|file| file.read_exact_at(&mut noted, 0));
        read.map_or(0, |()| u64::from_le_bytes(noted).min(self.bytes))
    }

    /// Its size now.
    fn bytes(&self) -> u64 {
        self.path.metadata().map_or(0, |found| found.len())
    }

    /// Shrinks it to the last part. False if it was not larger.
    pub(crate) fn release(&self) -> bool {
        self.shrink(FOR_START)
    }

    /// Empties it. False if it was empty.
    pub(crate) fn give_up(&self) -> bool {
        self.shrink(0)
    }

    fn shrink(&self, to: u64) -> bool {
        if self.bytes == 0 || self.bytes() <= to {
            return false;
        }
        let cut = File::options().write(true).open(&self.path).and_then(|file| file.set_len(to));
        if let Err(error) = &cut {
            tracing::warn!(file = %self.path.display(), %error, "the reserve file for a full disk cannot be shrunk");
        }
        cut.is_ok()
    }

    fn keep_for_start(&self, made: u64) {
        if self.bytes == 0 {
            return;
        }
        let kept = private::file(&self.path).and_then(|file| {
            let mut at = file.metadata()?.len();
            while at < ENOUGH_TO_START && fill(&file, at, at + PAGE).is_ok() {
                at += PAGE;
            }
            note(&file, made)
        });
        if let Err(error) = kept {
            tracing::debug!(%error, "no space is reserved for the next start");
        }
    }
}

/// Writes the filled size at the beginning of the file.
fn note(file: &File, bytes: u64) -> std::io::Result<()> {
    file.write_all_at(&bytes.to_le_bytes(), 0)
}

/// Writes bytes that a file system cannot compress.
fn fill(file: &File, from: u64, to: u64) -> std::io::Result<()> {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chunk = vec![0; CHUNK];
    let (words, _) = chunk.as_chunks_mut::<8>();
    for chunk in words {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        *chunk = word.to_le_bytes();
    }
    let mut at = from;
    while at < to {
        let length = usize::try_from(to - at).unwrap_or(CHUNK).min(CHUNK);
        file.write_all_at(&chunk[..length], at)?;
        at += length as u64;
    }
    Ok(())
}

/// Free bytes of the file system for this process, if known.
fn available(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// True if a call failed because the disk or a quota is full.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(error.kind(), Kind::StorageFull | Kind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn reserve(dir: &tempfile::TempDir) -> Reserve {
        Reserve::new(&StoreFiles::new(&dir.path().join("weir.db"), None), 4 * MIB)
    }

    #[test]
    fn a_full_disk_shrinks_the_reserve_to_the_part_of_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = reserve(&dir);
        let room = DiskSpace::new(reserve.clone());
        assert!(room.refill() && reserve.bytes() == 4 * MIB);
        let now = Timestamp::from_millis(7);
        assert!(room.ran_out(now) && !room.ran_out(Timestamp::from_millis(8)), "new once");
        assert_eq!(
            (room.is_full(), room.full_since(), reserve.bytes()),
            (true, Some(now), FOR_START)
        );
        assert_eq!(DiskSpace::new(reserve.clone()).reserved.load(Ordering::Relaxed), 4 * MIB);
        assert!(reserve.give_up() && !reserve.give_up());
        room.keep_for_start();
        assert_eq!(reserve.bytes(), ENOUGH_TO_START);
        assert!(room.refill() && reserve.bytes() == 4 * MIB);
        assert_eq!((room.is_full(), room.full_since()), (false, None));
    }

    #[test]
    fn a_reserve_occupies_blocks() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let reserve = reserve(&dir);
        assert_eq!(reserve.make(0), Some(4 * MIB));
        assert!(reserve.path.metadata().unwrap().blocks() * 512 >= 4 * MIB);
    }
}
