//! Checkpoints: moving pages of the log into the database, on a thread of their own.
//!
//! This thread moves most pages while the writer works. The writer then moves the rest itself, so
//! that the log starts again at its beginning and stays small.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use crate::sqlite::files::store_files::{BUSY, StoreFiles};
use crate::sqlite::format::num;

/// Makes a checkpoint on a connection, if it is allowed, and handles its failure. True if it was
/// made.
pub(crate) type Attempt = Box<dyn Fn(&Connection) -> bool + Send>;

/// Bytes of the log before its first page, and before each page.
const LOG_HEADER: u64 = 32;

const PAGE_HEADER: u64 = 24;

#[derive(Default)]
pub(crate) struct CheckpointState {
    wanted: bool,
    stop: bool,
}

pub(crate) struct Checkpointer {
    shared: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
    pages_wanted: i32,
    page_bytes: u64,
}

#[derive(Default)]
struct Inner {
    state: Mutex<CheckpointState>,
    changed: Condvar,
    /// Pages in the log after the last commit.
    pages: AtomicI32,
    /// True if most pages are moved, and the rest is left to the writer.
    moved: AtomicBool,
}

impl Checkpointer {
    pub(crate) fn start(
        files: &StoreFiles,
        writer: &mut Connection,
        pages: u32,
        attempt: Attempt,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let shared = Arc::new(Inner::default());
        let counted = shared.clone();
        writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            counted.pages.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        let conn = files.writer(1024)?;
        let inner = shared.clone();
        let thread = std::thread::Builder::new()
            .name("weir-checkpoint".into())
            .spawn(move || inner.run(&conn, &*attempt))?;
        let pages_wanted = i32::try_from(pages).unwrap_or(i32::MAX);
        let page_bytes = writer.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let page_bytes = num::count(page_bytes);
        Ok(Self { shared, thread: Some(thread), pages_wanted, page_bytes })
    }

    /// Called by the writer between commits, with its own way to make a checkpoint.
    pub(crate) fn tick(&self, attempt: impl FnOnce() -> bool) {
        if self.shared.moved.swap(false, Ordering::Acquire) {
            self.shared.pages.store(0, Ordering::Relaxed);
            attempt();
        } else if self.shared.pages.load(Ordering::Relaxed) >= self.pages_wanted {
            let mut state = self.shared.state.lock();
            if !state.wanted {
                state.wanted = true;
                drop(state);
                self.shared.changed.notify_one();
            }
        }
    }

    /// Pages in the log.
    pub(crate) fn pages(&self) -> i32 {
        self.shared.pages.load(Ordering::Relaxed)
    }

    /// Bytes that the log must have after the last commit.
    pub(crate) fn log_bytes(&self) -> u64 {
        match u64::try_from(self.pages()) {
            Ok(pages) if pages > 0 => LOG_HEADER + pages * (PAGE_HEADER + self.page_bytes),
            _ => 0,
        }
    }

    /// Notes that the log was emptied.
    pub(crate) fn emptied(&self) {
        self.shared.pages.store(0, Ordering::Relaxed);
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

impl Inner {
    fn run(&self, conn: &Connection, attempt: &(dyn Fn(&Connection) -> bool + Send)) {
        loop {
            {
                let mut state = self.state.lock();
                while !state.wanted && !state.stop {
                    self.changed.wait(&mut state);
                }
                if state.stop {
                    return;
                }
            }
            if attempt(conn) {
                self.moved.store(true, Ordering::Release);
            }
            self.state.lock().wanted = false;
        }
    }
}

/// Moves the pages that no reader needs.
pub(crate) fn checkpoint(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Moves the whole log into the database and empties it, without waiting for readers. False if a
/// reader prevented that.
pub(crate) fn empty_log(conn: &Connection) -> rusqlite::Result<bool> {
    conn.busy_timeout(Duration::ZERO)?;
    let emptied = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        let (pages, moved): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(pages >= 0 && pages == moved)
    });
    conn.busy_timeout(BUSY)?;
    emptied
}
