//! A SQLite store whose files the tests look into and damage.

use std::path::PathBuf;
use std::sync::Arc;

use weir_store::sqlite::{Options, SqliteStore};
use weir_store::{Maintenance as _, Store, StoreError};

use crate::common::{ManualClock, StoreTestExt, table};

/// A store in a folder of its own, with its files at hand.
pub(crate) struct TestStore {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) options: Options,
    pub(crate) sqlite: Arc<SqliteStore>,
}

impl TestStore {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let clock = ManualClock::new();
        let mut options = Options::new(clock.clone());
        change(&mut options);
        let dir = tempfile::tempdir().unwrap();
        let sqlite =
            weir_store::sqlite::open(&dir.path().join("weir.db"), options.clone()).unwrap();
        let test = Self { dir, clock, options, sqlite: Arc::new(sqlite) };
        test.store().keep_table(&table()).await.unwrap();
        test
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("weir.db")
    }

    pub(crate) async fn reopen(&mut self) {
        self.sqlite.close().await.unwrap();
        self.open_again();
    }

    /// Opens a store that was closed.
    pub(crate) fn open_again(&mut self) {
        self.sqlite =
            Arc::new(weir_store::sqlite::open(&self.path(), self.options.clone()).unwrap());
    }

    /// Opens the files that a killed process would leave.
    pub(crate) async fn crash(&mut self) {
        self.crash_after(|_| {}).await.unwrap();
    }

    /// The same, with something done to the files first. If they cannot be opened, the store stays
    /// as it was.
    pub(crate) async fn crash_after(
        &mut self,
        meanwhile: impl FnOnce(&std::path::Path),
    ) -> Result<(), StoreError> {
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            // The log's index is memory, and a lock ends with its process.
            if name != "weir.db-shm" && name != "weir.db.lock" {
                std::fs::copy(&path, dir.path().join(name)).unwrap();
            }
        }
        let path = dir.path().join("weir.db");
        meanwhile(&path);
        self.sqlite = Arc::new(weir_store::sqlite::open(&path, self.options.clone())?);
        self.dir = dir;
        Ok(())
    }
}

impl StoreTestExt for TestStore {
    fn store(&self) -> &dyn Store {
        &*self.sqlite
    }
}
