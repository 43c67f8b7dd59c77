//! Identity of the store's files: they must still be those that were opened. A file that is deleted or replaced while
//! the store runs takes everything with it that is written from then on, and no write of SQLite fails.
//!
//! Looked at after each commit and before its answers, and before each checkpoint: a few calls that ask the disk for
//! nothing.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use parking_lot::Mutex;

use super::schema::Place;

/// Device and inode of a file.
type Inode = (u64, u64);

pub(super) struct Identity {
    /// Database, log and the log's index, by their names and inodes. None on a simulated disk.
    files: Vec<(PathBuf, Inode)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Checkpoints that are under way: they alone change the database file.
    checkpoints: u32,
    /// Bytes of the database file since the last of them.
    bytes: u64,
}

/// A file that is not the store's own any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {what} while the store was in use; what was written since may be lost", file.display())]
pub(super) struct Strange {
    file: PathBuf,
    what: &'static str,
}

impl Identity {
    /// Of the files that are open now.
    pub(super) fn of(place: &Place) -> std::io::Result<Self> {
        let mut files = Vec::new();
        if !place.is_simulated() {
            for path in place.files() {
                let inode = inode(&path.metadata()?);
                files.push((path, inode));
            }
        }
        let identity = Self { files, state: Mutex::default() };
        identity.checkpointing(|| {});
        Ok(identity)
    }

    /// Fails if the log is shorter than what was written to it: before more is written behind a hole.
    pub(super) fn check_log(&self, log_bytes: u64) -> Result<(), Strange> {
        match self.files.get(1) {
            Some((file, _)) if file.metadata().is_ok_and(|found| found.len() < log_bytes) => {
                Err(Strange { file: file.clone(), what: "was cut off by another program" })
            }
            _ => Ok(()),
        }
    }

    /// Fails if a file is gone, or another one, or the database was changed outside of a checkpoint.
    pub(super) fn check(&self) -> Result<(), Strange> {
        // No checkpoint begins meanwhile.
        let state = self.state.lock();
        for (index, (file, known)) in self.files.iter().enumerate() {
            let strange = |what| Strange { file: file.clone(), what };
            let found = match file.metadata() {
                Ok(found) => found,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    return Err(strange("was deleted or moved away"));
                }
                Err(_) => return Err(strange("could not be found any more")),
            };
            if inode(&found) != *known {
                return Err(strange("was replaced by another file"));
            }
            if index == 0 && state.checkpoints == 0 && found.len() != state.bytes {
                return Err(strange("was changed by another program"));
            }
        }
        Ok(())
    }

    /// Moves pages from the log into the database.
    pub(super) fn checkpointing<T>(&self, checkpoint: impl FnOnce() -> T) -> T {
        self.state.lock().checkpoints += 1;
        let done = checkpoint();
        let mut state = self.state.lock();
        state.checkpoints -= 1;
        if let Some((file, _)) = self.files.first()
            && let Ok(found) = file.metadata()
        {
            state.bytes = found.len();
        }
        done
    }
}

fn inode(found: &Metadata) -> Inode {
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bed() -> (tempfile::TempDir, Place, Identity) {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(&dir.path().join("weir.db"), None);
        for file in place.files() {
            std::fs::write(file, [7; 4_096]).unwrap();
        }
        let identity = Identity::of(&place).unwrap();
        (dir, place, identity)
    }

    #[test]
    fn a_file_that_is_gone_or_another_one_is_noticed() {
        for index in 0..3 {
            let (_dir, place, identity) = bed();
            assert_eq!(identity.check(), Ok(()));
            let file = &place.files()[index];
            // Kept open, as SQLite does: its number is not given out again.
            let _open = std::fs::File::open(file).unwrap();
            std::fs::remove_file(file).unwrap();
            assert_eq!(identity.check().unwrap_err().what, "was deleted or moved away");
            std::fs::write(file, [7; 4_096]).unwrap();
            assert_eq!(identity.check().unwrap_err().what, "was replaced by another file");
        }
    }

    #[test]
    fn a_file_that_another_program_cut_off_is_noticed() {
        let (_dir, place, identity) = bed();
        std::fs::write(&place.files()[1], [7; 100]).unwrap();
        assert_eq!(identity.check_log(101).unwrap_err().what, "was cut off by another program");
        assert_eq!((identity.check_log(100), identity.check()), (Ok(()), Ok(())));
        std::fs::write(&place.files()[0], [7; 100]).unwrap();
        assert_eq!(identity.check().unwrap_err().what, "was changed by another program");
    }

    #[test]
    fn a_checkpoint_may_change_the_size_of_the_database() {
        let (_dir, place, identity) = bed();
        identity.checkpointing(|| {
            std::fs::write(&place.files()[0], [7; 100]).unwrap();
            assert_eq!(identity.check(), Ok(()));
        });
        assert_eq!(identity.check(), Ok(()));
    }
}
