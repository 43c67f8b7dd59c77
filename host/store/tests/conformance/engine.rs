//! The engine that this run of the suite tests: SQLite.

use std::path::Path;
use std::sync::Arc;

use weir_store::StoreError;
use weir_store::sqlite::{self, Options, SqliteStore};

use crate::common::ManualClock;
use crate::harness::{EngineStore, Harness, Limits};

pub(crate) type TestStore = EngineStore<Sqlite>;

pub(crate) struct Sqlite;

impl Harness for Sqlite {
    type Engine = SqliteStore;

    fn open(
        folder: &Path,
        clock: Arc<ManualClock>,
        limits: &Limits,
    ) -> Result<SqliteStore, StoreError> {
        let defaults = Options::new(clock);
        let options = Options {
            due_window: limits.due_window.unwrap_or(defaults.due_window),
            handoff_bytes: limits.handoff_bytes.unwrap_or(defaults.handoff_bytes),
            keys_per_run: limits.keys_per_run.unwrap_or(defaults.keys_per_run),
            settle_hold: limits.settle_hold.unwrap_or(defaults.settle_hold),
            marks_every: limits.marks_every.unwrap_or(defaults.marks_every),
            run_slots: limits.run_slots.unwrap_or(defaults.run_slots),
            ..defaults
        };
        sqlite::open(&folder.join("weir.db"), options)
    }

    fn copy_after_kill(from: &Path, to: &Path) {
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            // The log's index is memory, and a lock ends with its process.
            if name != "weir.db-shm" && name != "weir.db.lock" {
                std::fs::copy(&path, to.join(name)).unwrap();
            }
        }
    }

    fn rows(folder: &Path, table: &str) -> Option<u64> {
        let conn = rusqlite::Connection::open(folder.join("weir.db")).unwrap();
        let sql = format!("SELECT count(*) FROM {table}");
        let rows: i64 = conn.query_row(&sql, [], |row| row.get(0)).unwrap();
        u64::try_from(rows).ok()
    }

    fn commits(engine: &SqliteStore) -> Option<u64> {
        Some(engine.commits())
    }
}
