//! Identity of the store's files: they must still be those that were opened. If a file is deleted
//! or replaced while the store runs, all later writes are lost, and no write of SQLite fails.
//!
//! Checked after each commit and before its answers, and before each checkpoint: a few system calls
//! that do not read from the disk.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use parking_lot::Mutex;

use crate::sqlite::files::store_files::StoreFiles;

/// Device and inode of a file.
type Inode = (u64, u64);

pub(crate) struct FileIdentity {
    /// Paths and inodes of the database, its log and the log's index. Empty on a simulated disk.
    files: Vec<(PathBuf, Inode)>,
    state: Mutex<IdentityState>,
}

#[derive(Default)]
pub(crate) struct IdentityState {
    /// Checkpoints under way. Only they change the database file.
    checkpoints: u32,
    /// Size of the database file after the last one.
    bytes: u64,
}

/// A file that is no longer the one that was opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {what} while the store was in use; what was written since may be lost", file.display())]
pub(crate) struct FileChanged {
    file: PathBuf,
    what: &'static str,
}

impl FileIdentity {
    /// The identity of the files that are open now.
    pub(crate) fn of(store: &StoreFiles) -> std::io::Result<Self> {
        let mut files = Vec::new();
        if !store.is_simulated() {
            for path in store.files() {
                let inode = inode(&path.metadata()?);
                files.push((path, inode));
            }
        }
        let identity = Self { files, state: Mutex::default() };
        identity.checkpointing(|| {});
        Ok(identity)
    }

    /// Fails if the log is shorter than it must be, before more is written behind the missing part.
    pub(crate) fn check_log(&self, log_bytes: u64) -> Result<(), FileChanged> {
        match self.files.get(1) {
            Some((file, _)) if file.metadata().is_ok_and(|found| found.len() < log_bytes) => {
                Err(FileChanged { file: file.clone(), what: "was cut off by another program" })
            }
            _ => Ok(()),
        }
    }

    /// Fails if a file was deleted or replaced, or if the database changed without a checkpoint.
    pub(crate) fn check(&self) -> Result<(), FileChanged> {
        // While this is locked, no checkpoint begins.
        let state = self.state.lock();
        for (index, (file, known)) in self.files.iter().enumerate() {
            let strange = |what| FileChanged { file: file.clone(), what };
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

    /// Runs a checkpoint, during which the database may change.
    pub(crate) fn checkpointing<T>(&self, checkpoint: impl FnOnce() -> T) -> T {
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

    fn bed() -> (tempfile::TempDir, StoreFiles, FileIdentity) {
        let dir = tempfile::tempdir().unwrap();
        let files = StoreFiles::new(&dir.path().join("weir.db"), None);
        for file in files.files() {
            std::fs::write(file, [7; 4_096]).unwrap();
        }
        let identity = FileIdentity::of(&files).unwrap();
        (dir, files, identity)
    }

    #[test]
    fn a_deleted_or_replaced_file_is_noticed() {
        for index in 0..3 {
            let (_dir, files, identity) = bed();
            assert_eq!(identity.check(), Ok(()));
            let file = &files.files()[index];
            // Kept open, as SQLite does, so that its inode is not reused.
            let _open = std::fs::File::open(file).unwrap();
            std::fs::remove_file(file).unwrap();
            assert_eq!(identity.check().unwrap_err().what, "was deleted or moved away");
            std::fs::write(file, [7; 4_096]).unwrap();
            assert_eq!(identity.check().unwrap_err().what, "was replaced by another file");
        }
    }

    #[test]
    fn a_truncated_file_is_noticed() {
        let (_dir, files, identity) = bed();
        std::fs::write(&files.files()[1], [7; 100]).unwrap();
        assert_eq!(identity.check_log(101).unwrap_err().what, "was cut off by another program");
        assert_eq!((identity.check_log(100), identity.check()), (Ok(()), Ok(())));
        std::fs::write(&files.files()[0], [7; 100]).unwrap();
        assert_eq!(identity.check().unwrap_err().what, "was changed by another program");
    }

    #[test]
    fn a_checkpoint_may_change_the_size_of_the_database() {
        let (_dir, files, identity) = bed();
        identity.checkpointing(|| {
            std::fs::write(&files.files()[0], [7; 100]).unwrap();
            assert_eq!(identity.check(), Ok(()));
        });
        assert_eq!(identity.check(), Ok(()));
    }
}
