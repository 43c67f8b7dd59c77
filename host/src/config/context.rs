//! What reading a file needs besides its text, passed in so that tests need neither variables nor a home.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a file stands and what surrounds the process.
#[derive(Clone, Copy)]
pub(super) struct LoadContext<'a> {
    /// The folder that relative paths start from: the file's own.
    pub(super) folder: &'a Path,
    /// Environment variables.
    pub(super) variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// Secrets may stand in the file.
    pub(super) development: bool,
    /// The files and folders that were looked into, for whoever waits for them to change.
    pub(super) paths_read: &'a RefCell<BTreeSet<PathBuf>>,
}

impl LoadContext<'_> {
    /// A path of the file as one that holds wherever the process runs.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// Notes that a file or folder is being looked into.
    pub(super) fn record_read(&self, path: &Path) {
        self.paths_read.borrow_mut().insert(path.to_path_buf());
    }
}

impl fmt::Debug for LoadContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, development, .. } = self;
        f.debug_struct("LoadContext")
            .field("folder", folder)
            .field("development", development)
            .finish_non_exhaustive()
    }
}
