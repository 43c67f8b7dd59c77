//! The environment in which a file is read, passed in so that tests need no variables and no home
//! folder.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::Mode;

/// The folder of the file, the variables and the mode.
#[derive(Clone, Copy)]
pub(super) struct LoadContext<'a> {
    /// The folder of the file, the base of relative paths.
    pub(super) folder: &'a Path,
    /// Environment variables.
    pub(super) variable: &'a dyn Fn(&str) -> Option<OsString>,
    pub(super) mode: Mode,
    /// The files and folders that were read, so that the reload can watch them.
    pub(super) paths_read: &'a RefCell<BTreeSet<PathBuf>>,
}

impl LoadContext<'_> {
    /// A path of the file, relative to the working directory.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// Records that a file or folder is read.
    pub(super) fn record_read(&self, path: &Path) {
        self.paths_read.borrow_mut().insert(path.to_path_buf());
    }
}

impl fmt::Debug for LoadContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, mode, .. } = self;
        f.debug_struct("LoadContext")
            .field("folder", folder)
            .field("mode", mode)
            .finish_non_exhaustive()
    }
}
