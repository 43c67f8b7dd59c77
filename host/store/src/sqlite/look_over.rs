//! Looking over, while work goes on, what was not looked at before anything was taken in: a piece at a time, with
//! pauses, so that nobody waits for it and no reading keeps the log from starting over.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, params};

use super::Shared;
use super::slots::LastEnd;
use super::soundness::{self, TABLES};
use crate::error::StoreError;
use crate::upkeep::IntegrityStatus;

/// Rows of one piece: read in a tenth of a second from a disk that is not quick.
const ROWS: i64 = 4_096;
/// A pause is so many times as long as the piece before it took, so that a quarter of one core and disk is used.
const PAUSE: u32 = 3;
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// How far it is.
pub(super) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    over: IntegrityStatus,
    stop: bool,
}

impl Progress {
    /// For a store that is looked over already, or is not.
    pub(super) fn new(over: IntegrityStatus) -> Self {
        Self { state: Mutex::new(State { over, stop: false }), changed: Condvar::new() }
    }

    pub(super) fn told(&self) -> IntegrityStatus {
        self.state.lock().over.clone()
    }

    /// Ends it before its end.
    pub(super) fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_all();
    }

    fn tell(&self, over: IntegrityStatus) {
        self.state.lock().over = over;
    }

    /// Waits, and says whether to go on.
    fn pause(&self, wait: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.stop {
            self.changed.wait_for(&mut state, wait);
        }
        !state.stop
    }
}

/// Before anything is taken in, after a process that did not close the store: all of a small file, and of a large one
/// what was written last. Says whether there is more to look at. After a failed write or sync it is all of every file,
/// indexes too, however long that takes.
pub(super) fn before_work(
    end: LastEnd,
    conn: &Connection,
    place: &super::schema::Place,
    whole_bytes: u64,
) -> Result<IntegrityStatus, StoreError> {
    let (started, bytes) = (Instant::now(), place.bytes());
    let (over, problems) = match end {
        LastEnd::Clean => return Ok(IntegrityStatus::Done),
        LastEnd::Poisoned => {
            tracing::info!(
                bytes,
                "a write or sync of the process before failed: the whole store is checked"
            );
            (IntegrityStatus::Done, soundness::whole(conn, true))
        }
        LastEnd::Unclean | LastEnd::Unlooked if bytes <= whole_bytes => {
            (IntegrityStatus::Done, soundness::whole(conn, false))
        }
        LastEnd::Unclean | LastEnd::Unlooked => {
            (IntegrityStatus::InProgress { percent: 0 }, soundness::of_newest(conn, place))
        }
    };
    tracing::info!(
        after_failure = end == LastEnd::Poisoned,
        whole = over == IntegrityStatus::Done,
        problems = problems.as_ref().map_or(0, Vec::len),
        took = ?started.elapsed(),
        "the store was not closed by the process before this one, and was checked"
    );
    soundness::refuse(problems)?;
    Ok(over)
}

/// Starts to look at the rest, if there is one.
pub(super) fn start(shared: &Arc<Shared>) -> Option<JoinHandle<()>> {
    if shared.look_over.told() == IntegrityStatus::Done {
        return None;
    }
    let looking = shared.clone();
    let thread = std::thread::Builder::new().name("weir-look-over".into());
    let spawned = thread.spawn(move || {
        let over = match look(&looking) {
            Ok(Some(over)) => over,
            Ok(None) => return,
            Err(e) => IntegrityStatus::Failed(e.to_string()),
        };
        match &over {
            IntegrityStatus::Failed(error) => {
                tracing::warn!(error, "the store could not be looked over; the next start does");
            }
            IntegrityStatus::Damaged(problem) => {
                looking.poison(format!("the store is damaged: {problem}"))
            }
            _ => tracing::info!("the store was looked over while work went on, and is sound"),
        }
        looking.look_over.tell(over);
    });
    match spawned {
        Ok(thread) => Some(thread),
        Err(e) => {
            shared.look_over.tell(IntegrityStatus::Failed(e.to_string()));
            None
        }
    }
}

/// None if it was stopped.
fn look(shared: &Shared) -> rusqlite::Result<Option<IntegrityStatus>> {
    let conn = shared.place.reader()?;
    let mut ends = Vec::new();
    for (table, _) in TABLES {
        ends.push((table, soundness::newest(&conn, table)?));
    }
    let all: i64 = ends.iter().map(|(_, end)| *end).sum();
    let mut done = 0;
    for (table, end) in ends {
        let mut from = 0;
        while from < end {
            let to = from.saturating_add(ROWS).min(end);
            let mut problems = Vec::new();
            let started = Instant::now();
            soundness::of_rows(&conn, table, from..to, &mut problems)?;
            if let Some(problem) = problems.into_iter().next() {
                return Ok(Some(IntegrityStatus::Damaged(problem)));
            }
            done += to - from;
            from = to;
            let percent = u8::try_from(done.saturating_mul(99) / all.max(1)).unwrap_or(99);
            shared.look_over.tell(IntegrityStatus::InProgress { percent });
            if !shared.look_over.pause((started.elapsed() * PAUSE).max(PAUSE_MIN)) {
                return Ok(None);
            }
        }
    }
    others(shared, &conn)
}

/// What is not numbered: runs of dedup keys, and handlers' state.
fn others(shared: &Shared, conn: &Connection) -> rusqlite::Result<Option<IntegrityStatus>> {
    let damaged = |e: rusqlite::Error| match soundness::is_damage(&e) {
        true => Ok(Some(IntegrityStatus::Damaged(e.to_string()))),
        false => Err(e),
    };
    let mut run: i64 = -1;
    loop {
        let started = Instant::now();
        let next = conn.query_row(
            "SELECT run, (SELECT max(event) FROM key_run k WHERE k.run = i.run) FROM key_run_info i
             WHERE run > ?1 ORDER BY run LIMIT 1",
            [run],
            |row| row.get(0),
        );
        match next {
            Ok(found) => run = found,
            Err(rusqlite::Error::QueryReturnedNoRows) => break,
            Err(e) => return damaged(e),
        }
        if !shared.look_over.pause((started.elapsed() * PAUSE).max(PAUSE_MIN)) {
            return Ok(None);
        }
    }
    let mut last: (i64, String) = (-1, String::new());
    loop {
        let started = Instant::now();
        let next = conn.query_row(
            "SELECT handler, key, max(value = x'00') OVER () FROM
               (SELECT handler, key, value FROM state WHERE (handler, key) > (?1, ?2) ORDER BY handler, key LIMIT ?3)
             ORDER BY handler DESC, key DESC LIMIT 1",
            params![last.0, last.1, ROWS],
            |row| Ok((row.get(0)?, row.get(1)?)),
        );
        match next {
            Ok(found) => last = found,
            Err(rusqlite::Error::QueryReturnedNoRows) => return Ok(Some(IntegrityStatus::Done)),
            Err(e) => return damaged(e),
        }
        if !shared.look_over.pause((started.elapsed() * PAUSE).max(PAUSE_MIN)) {
            return Ok(None);
        }
    }
}
