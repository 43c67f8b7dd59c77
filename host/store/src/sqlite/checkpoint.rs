//! Checkpoints: moving what is in the log into the database file, on a thread of their own.
//!
//! The bulk is moved here while the writer goes on; the writer then moves the rest itself, which lets the log
//! start again at its beginning and so stay small.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::schema::Place;

/// What to do about a checkpoint that failed.
pub(super) type OnFailure = Box<dyn Fn(&rusqlite::Error) + Send>;

#[derive(Default)]
struct State {
    wanted: bool,
    stop: bool,
}

pub(super) struct Checkpointer {
    shared: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
    pages_wanted: i32,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    /// Pages in the log, as the last commit said.
    pages: AtomicI32,
    /// The bulk is moved: the rest is the writer's.
    moved: AtomicBool,
}

impl Checkpointer {
    pub(super) fn start(
        place: &Place,
        writer: &mut Connection,
        pages: u32,
        failed: OnFailure,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let shared = Arc::new(Inner::default());
        let counted = shared.clone();
        writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            counted.pages.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        let conn = place.writer(1024)?;
        let inner = shared.clone();
        let thread = std::thread::Builder::new()
            .name("weir-checkpoint".into())
            .spawn(move || inner.run(&conn, &*failed))?;
        let pages_wanted = i32::try_from(pages).unwrap_or(i32::MAX);
        Ok(Self { shared, thread: Some(thread), pages_wanted })
    }

    /// Called by the writer between commits.
    pub(super) fn tick(&self, writer: &Connection) -> rusqlite::Result<()> {
        if self.shared.moved.swap(false, Ordering::Acquire) {
            self.shared.pages.store(0, Ordering::Relaxed);
            checkpoint(writer)?;
        } else if self.shared.pages.load(Ordering::Relaxed) >= self.pages_wanted {
            let mut state = self.shared.state.lock();
            if !state.wanted {
                state.wanted = true;
                drop(state);
                self.shared.changed.notify_one();
            }
        }
        Ok(())
    }

    /// Pages in the log.
    pub(super) fn pages(&self) -> i32 {
        self.shared.pages.load(Ordering::Relaxed)
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
    fn run(&self, conn: &Connection, failed: &(dyn Fn(&rusqlite::Error) + Send)) {
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
            match checkpoint(conn) {
                Ok(()) => self.moved.store(true, Ordering::Release),
                Err(e) => failed(&e),
            }
            self.state.lock().wanted = false;
        }
    }
}

fn checkpoint(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}
