//! Room on the disk, and a reserve that lets the store go on when there is none.
//!
//! When a write finds the disk full, the reserve is given up and requests are refused until the log has been moved
//! into the database and the reserve could be made again. Settlements, checkpoints, retention and alerts use the
//! room that the reserve had. A last part of it is kept for the next start, which needs some to open the files.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use weir_core::time::Timestamp;

use super::schema::Place;
use crate::private;

/// The part of the reserve that only a start gives up.
const FOR_START: u64 = 1024 * 1024;
/// Room that must be left beside a full reserve before requests are accepted again; beside a smaller one, as much as
/// it has.
const LEFT_FREE: u64 = 4 * 1024 * 1024;
/// The reserve is halved so often where there is no room for all of it.
const HALVED_MAX: u32 = 4;
const CHUNK: usize = 64 * 1024;
const PAGE: u64 = 4_096;
/// The least that a start needs: the index of the log and a few pages.
const ENOUGH_TO_START: u64 = 256 * 1024;

/// The state of the disk, full or not, and the reserve.
pub(super) struct Room {
    reserve: Reserve,
    /// Bytes of the reserve when it was made last.
    reserved: AtomicU64,
    full: AtomicBool,
    since: Mutex<Option<Timestamp>>,
}

impl Room {
    pub(super) fn new(reserve: Reserve) -> Self {
        let reserved = AtomicU64::new(reserve.was_made());
        Self { reserve, reserved, full: AtomicBool::new(false), since: Mutex::new(None) }
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Since when the disk is full, if it is.
    pub(super) fn full_since(&self) -> Option<Timestamp> {
        *self.since.lock()
    }

    /// A write did not fit. Returns whether that is new.
    pub(super) fn ran_out(&self, now: Timestamp) -> bool {
        let mut since = self.since.lock();
        let new = since.is_none();
        if new {
            *since = Some(now);
            self.full.store(true, Ordering::Relaxed);
            self.reserve.release();
        }
        new
    }

    /// The log is in the database: makes the reserve again. Returns whether the disk is not full any more.
    pub(super) fn refill(&self) -> bool {
        // Not with what the reserve gave up: that is for what must go on while the disk is full.
        let Some(made) = self.reserve.make(self.reserved.load(Ordering::Relaxed)) else {
            return false;
        };
        self.reserved.store(made, Ordering::Relaxed);
        *self.since.lock() = None;
        self.full.store(false, Ordering::Relaxed);
        true
    }

    /// On a full disk: of what emptying or closing the log has freed, some is kept for the next start.
    pub(super) fn keep_for_start(&self) {
        if self.is_full() {
            self.reserve.keep_for_start(self.reserved.load(Ordering::Relaxed));
        }
    }
}

/// A file that takes room, so that there is some when the disk is full.
#[derive(Debug, Clone)]
pub(super) struct Reserve {
    path: PathBuf,
    /// 0 for none.
    bytes: u64,
}

impl Reserve {
    pub(super) fn new(place: &Place, bytes: u64) -> Self {
        // A simulated disk has no files that this could lie beside.
        let bytes = if place.is_simulated() { 0 } else { bytes };
        Self { path: place.reserve(), bytes }
    }

    /// Makes the reserve file, of at least `at_least` bytes and as large as the room allows, and leaves some room free
    /// beside it. Returns its size; `None` if there is too little room, and then the file is unchanged.
    fn make(&self, at_least: u64) -> Option<u64> {
        if self.bytes == 0 {
            return Some(0);
        }
        self.try_make(at_least).unwrap_or_else(|error| {
            // A reserve is a precaution: without it a full disk is found by the write that does not fit.
            tracing::warn!(file = %self.path.display(), %error, "the reserve for a full disk cannot be made");
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

    /// Bytes that it had when it was made, by this process or one before, whatever was given up since.
    fn was_made(&self) -> u64 {
        let mut noted = [0; 8];
        let read = File::open(&self.path).and_then(|file| file.read_exact_at(&mut noted, 0));
        read.map_or(0, |()| u64::from_le_bytes(noted).min(self.bytes))
    }

    /// Bytes that it has.
    fn bytes(&self) -> u64 {
        self.path.metadata().map_or(0, |found| found.len())
    }

    /// Gives up all but the last part. False if there was nothing more to give up.
    pub(super) fn release(&self) -> bool {
        self.shrink(FOR_START)
    }

    /// Gives up all of it. False if there was nothing to give up.
    pub(super) fn give_up(&self) -> bool {
        self.shrink(0)
    }

    fn shrink(&self, to: u64) -> bool {
        if self.bytes == 0 || self.bytes() <= to {
            return false;
        }
        let cut = File::options().write(true).open(&self.path).and_then(|file| file.set_len(to));
        if let Err(error) = &cut {
            tracing::warn!(file = %self.path.display(), %error, "the reserve for a full disk cannot be given up");
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
            tracing::debug!(%error, "no room is kept for the next start");
        }
    }
}

/// Notes in the file how large it was made, over what it begins with.
fn note(file: &File, bytes: u64) -> std::io::Result<()> {
    file.write_all_at(&bytes.to_le_bytes(), 0)
}

/// Writes bytes that no file system makes smaller.
fn fill(file: &File, from: u64, to: u64) -> std::io::Result<()> {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chunk = vec![0; CHUNK];
    let (words, _) = chunk.as_chunks_mut::<8>();
    for place in words {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        *place = word.to_le_bytes();
    }
    let mut at = from;
    while at < to {
        let length = usize::try_from(to - at).unwrap_or(CHUNK).min(CHUNK);
        file.write_all_at(&chunk[..length], at)?;
        at += length as u64;
    }
    Ok(())
}

/// Bytes that this process may still use of the file system, if it tells.
fn available(path: &Path) -> Option<u64> {
    let told = rustix::fs::statvfs(path).ok()?;
    told.f_bavail.checked_mul(told.f_frsize)
}

/// True if a call failed for want of room, on the disk or in a quota.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(error.kind(), Kind::StorageFull | Kind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn reserve(dir: &tempfile::TempDir) -> Reserve {
        Reserve::new(&Place::new(&dir.path().join("weir.db"), None), 4 * MIB)
    }

    #[test]
    fn a_full_disk_gives_the_reserve_up_but_for_the_part_of_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = reserve(&dir);
        let room = Room::new(reserve.clone());
        assert!(room.refill() && reserve.bytes() == 4 * MIB);
        let now = Timestamp::from_millis(7);
        assert!(room.ran_out(now) && !room.ran_out(Timestamp::from_millis(8)), "new once");
        assert_eq!(
            (room.is_full(), room.full_since(), reserve.bytes()),
            (true, Some(now), FOR_START)
        );
        assert_eq!(Room::new(reserve.clone()).reserved.load(Ordering::Relaxed), 4 * MIB);
        assert!(reserve.give_up() && !reserve.give_up());
        room.keep_for_start();
        assert_eq!(reserve.bytes(), ENOUGH_TO_START);
        assert!(room.refill() && reserve.bytes() == 4 * MIB);
        assert_eq!((room.is_full(), room.full_since()), (false, None));
    }

    #[test]
    fn a_reserve_takes_blocks_and_not_only_a_length() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let reserve = reserve(&dir);
        assert_eq!(reserve.make(0), Some(4 * MIB));
        assert!(reserve.path.metadata().unwrap().blocks() * 512 >= 4 * MIB);
    }
}
