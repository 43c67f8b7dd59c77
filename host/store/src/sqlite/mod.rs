//! The SQLite engine: one file, one process, one thread that writes.
//!
//! Callers prepare writes on their own threads and queue them. The writer commits whole groups,
//! then changes memory, then answers. Due deliveries are claimed from memory. Read
//! `format/schema.sql` first, then `write/writer.rs`.
//!
//! The folders form layers, each importing only those before it: `format`, `files`, `memory`,
//! `rows`, `engine`, `write`, `read`, `upkeep`. Not here: business rules, HTTP types. SQL stands in
//! this folder only.

mod engine;
mod files;
mod format;
mod memory;
mod open;
mod read;
mod rows;
mod store;
mod upkeep;
mod url;
mod write;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use weir_core::id::DeliveryId;
use weir_core::time::Clock;

pub use format::failure::SqliteError;
pub use memory::stats::Stats;
pub use open::{check, open};
pub use url::{back_up_url, check_url, format_of_url, parse_url, path_of_url, restore_url};

use crate::StoreOptions;
use crate::claim::Claim;
use crate::error::StoreError;
use engine::shared::Shared;
use format::ids::RowKind;

const MIB: usize = 1024 * 1024;
/// Page cache of the writer. It holds the ends of all tables and the pages that settlements change.
const WRITER_CACHE_KIB: u32 = 16 * 1024;

/// Settings of the engine. The defaults suit a machine with a few cores.
#[derive(Debug, Clone)]
pub struct Options {
    pub clock: Arc<dyn Clock>,
    /// Queued writes. More are refused as overload.
    pub queue_items: usize,
    /// Bytes of queued writes.
    pub queue_bytes: usize,
    /// Requests in one commit.
    pub group_items: usize,
    /// Bytes of requests in one commit.
    pub group_bytes: usize,
    /// Longest wait of a settlement for requests to commit with, while requests arrive.
    pub settle_hold: Duration,
    /// Settlements in one commit. That many are written without waiting.
    pub settle_items: usize,
    /// Waiting deliveries in memory per target and source. The rest waits on disk.
    pub due_window: usize,
    /// Bytes of events in memory that claims take without reading them back.
    pub handoff_bytes: usize,
    /// Dedup keys in memory before they are written as a run.
    pub keys_per_run: usize,
    /// Payloads of a source on which its dictionary is trained; 0 for no dictionaries.
    pub dictionary_after: usize,
    /// Read connections for handlers' state, and as many again for everything else.
    pub readers: usize,
    /// Runs of handlers at once, recorded in case the process dies.
    pub run_slots: usize,
    /// Pages in the log at which a checkpoint starts.
    pub checkpoint_pages: u32,
    /// Largest store, in bytes, that is checked whole before the start after an unclean end. Of a
    /// larger one the newest rows are checked first and the rest while work goes on: a check of all
    /// takes a second per 60 MB that are not in memory.
    pub whole_check_bytes: u64,
    /// Pages of 4 KiB in the database file, beyond which the disk counts as full. None for no
    /// limit.
    pub max_pages: Option<u32>,
    /// Bytes of the reserve file, which is given up when the disk is full. It is smaller on a
    /// smaller disk; 0 for none.
    pub reserve_bytes: u64,
    /// Shortest time between two writes of the totals, by the machine's time and not by `clock`.
    pub marks_every: Duration,
    /// Name of a registered SQLite VFS through which files are used; none for the machine's own.
    /// The simulator sets a disk that fails.
    pub vfs: Option<String>,
}

impl Options {
    /// The defaults, with this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let run_slots = 2 * std::thread::available_parallelism().map_or(2, usize::from);
        Self::with(StoreOptions { clock, run_slots })
    }

    /// The defaults beside the options of every engine.
    #[must_use]
    pub fn with(options: StoreOptions) -> Self {
        let StoreOptions { clock, run_slots } = options;
        Self {
            clock,
            queue_items: 8_192,
            queue_bytes: 128 * MIB,
            group_items: 256,
            group_bytes: MIB,
            settle_hold: Duration::from_millis(20),
            settle_items: 512,
            due_window: 16_384,
            handoff_bytes: 64 * MIB,
            keys_per_run: 131_072,
            dictionary_after: 500,
            readers: 4,
            run_slots,
            checkpoint_pages: 4_000,
            whole_check_bytes: 128 << 20,
            max_pages: None,
            reserve_bytes: 0,
            marks_every: Duration::from_secs(1),
            vfs: None,
        }
    }
}

/// A store in one SQLite file. Dropping it closes it;
/// [`Maintenance::close`](crate::Maintenance::close) also tells whether that succeeded.
pub struct SqliteStore {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    integrity_check: Mutex<Option<JoinHandle<()>>>,
    /// Deliveries that were given up at the start, until they are asked for.
    given_up: Mutex<Vec<DeliveryId>>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("file", &self.shared.files.path())
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Numbers about the writer.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let set_back = self.shared.line.lock().ahead();
        Stats { set_back, ..self.shared.stats.read(self.shared.queue.len()) }
    }

    /// Commits that changed something, since the store was opened.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.stats().commits
    }

    /// True while a claim holds: it was neither settled nor overtaken. For tests.
    #[must_use]
    pub fn is_claimed(&self, claim: &Claim) -> bool {
        let row = self.shared.ids.open(RowKind::Delivery, claim.delivery.bits());
        row.is_some_and(|row| self.shared.due.lock().is_claimed_for(row.n, claim.fence))
    }

    /// Writes a consistent copy of the store to a file that must not exist yet.
    ///
    /// # Errors
    /// `Invalid` if the file exists or its name is not UTF-8, and the engine's own errors.
    pub async fn backup(&self, to: &std::path::Path) -> Result<(), StoreError> {
        upkeep::backup::backup(&self.shared, to).await
    }

    fn stop(&self) {
        self.shared.integrity.stop();
        if let Some(thread) = self.integrity_check.lock().take() {
            let _looked = thread.join();
        }
        self.shared.queue.close();
        self.shared.wake.notify_waiters();
        if let Some(thread) = self.writer.lock().take()
            && thread.join().is_err()
        {
            self.shared.poison("the writer panicked".into());
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.stop();
    }
}
