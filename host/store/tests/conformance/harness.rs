//! The harness that an engine provides for the suite, and the store that the tests use.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use weir_store::{Store, StoreError};

use crate::common::{ManualClock, StoreTestExt, table};

/// An engine under test. Its data is in one folder.
pub(crate) trait Harness {
    type Engine: Store + 'static;

    /// Opens the store in a folder, or creates it.
    fn open(
        folder: &Path,
        clock: Arc<ManualClock>,
        limits: &Limits,
    ) -> Result<Self::Engine, StoreError>;

    /// Copies the files that a process would leave in a folder if it were killed now.
    fn copy_after_kill(from: &Path, to: &Path);

    /// The number of rows of a table, if the engine has such a table.
    fn rows(folder: &Path, table: &str) -> Option<u64>;

    /// The number of commits so far, if the engine counts them.
    fn commits(engine: &Self::Engine) -> Option<u64>;
}

/// Limits of an engine that tests make small, so that a few rows reach what only many would. An
/// engine without such a limit ignores it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    /// Deliveries per target and source that wait in memory.
    pub(crate) due_window: Option<usize>,
    /// Bytes of events that are given to claims without being read back.
    pub(crate) handoff_bytes: Option<usize>,
    /// Dedup keys in memory.
    pub(crate) keys_per_run: Option<usize>,
    /// Longest wait of a settlement for others to commit with.
    pub(crate) settle_hold: Option<Duration>,
    /// Time between two writes of the totals.
    pub(crate) marks_every: Option<Duration>,
    /// Runs at once.
    pub(crate) run_slots: Option<usize>,
}

/// A store in a folder of its own.
pub(crate) struct EngineStore<H: Harness> {
    pub(crate) clock: Arc<ManualClock>,
    folder: tempfile::TempDir,
    limits: Limits,
    engine: Arc<H::Engine>,
}

impl<H: Harness> EngineStore<H> {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Limits)) -> Self {
        let clock = ManualClock::new();
        let mut limits = Limits::default();
        change(&mut limits);
        let folder = tempfile::tempdir().unwrap();
        let engine = H::open(folder.path(), clock.clone(), &limits).unwrap();
        let test = Self { clock, folder, limits, engine: Arc::new(engine) };
        test.store().keep_table(&table()).await.unwrap();
        test
    }

    /// The store, for tasks that use it side by side.
    pub(crate) fn shared(&self) -> Arc<dyn Store> {
        self.engine.clone()
    }

    /// The number of rows of a table, if the engine has such a table.
    pub(crate) fn rows(&self, table: &str) -> Option<u64> {
        H::rows(self.folder.path(), table)
    }

    /// True if one of the store's files has these bytes in a row.
    pub(crate) fn files_hold(&self, bytes: &[u8]) -> bool {
        std::fs::read_dir(self.folder.path()).unwrap().any(|entry| {
            let file = std::fs::read(entry.unwrap().path()).unwrap_or_default();
            file.windows(bytes.len()).any(|window| window == bytes)
        })
    }

    /// The number of commits so far, if the engine counts them.
    pub(crate) fn commits(&self) -> Option<u64> {
        H::commits(&self.engine)
    }

    /// Closes the store and opens it again.
    pub(crate) async fn reopen(&mut self) {
        self.store().close().await.unwrap();
        self.open_again();
    }

    /// Opens a store that was closed.
    pub(crate) fn open_again(&mut self) {
        let engine = H::open(self.folder.path(), self.clock.clone(), &self.limits).unwrap();
        self.engine = Arc::new(engine);
    }

    /// Opens the files that a killed process would leave.
    pub(crate) async fn crash(&mut self) {
        let folder = tempfile::tempdir().unwrap();
        H::copy_after_kill(self.folder.path(), folder.path());
        let engine = H::open(folder.path(), self.clock.clone(), &self.limits).unwrap();
        self.engine = Arc::new(engine);
        self.folder = folder;
    }
}

impl<H: Harness> StoreTestExt for EngineStore<H> {
    fn store(&self) -> &dyn Store {
        &*self.engine
    }
}
