//! The integrity check after an unclean end: some before the start, the rest while work goes on, in
//! pieces with pauses, so that no caller waits and no read keeps the log from starting again.

use crate::sqlite::format::damage::is_damage;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use crate::error::StoreError;
use crate::health::IntegrityStatus;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::files::slots::LastEnd;
use crate::sqlite::files::store_files::StoreFiles;
use crate::sqlite::upkeep::integrity_checks;
use crate::sqlite::upkeep::integrity_checks::TABLES;

/// Rows of one piece, which a slow disk reads in a tenth of a second.
const ROWS: i64 = 4_096;

/// Length of a pause by the time of the piece before it: a quarter of one core and disk is used.
const PAUSE: u32 = 3;

const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Checks the store before the start, if the process before did not close it: all of a small store,
/// and the newest rows of a large one. After a failed write or sync it checks every store whole,
/// with its indexes.
pub(crate) fn before_work(
    end: LastEnd,
    conn: &Connection,
    files: &StoreFiles,
    whole_bytes: u64,
) -> Result<IntegrityStatus, StoreError> {
    let (started, bytes) = (Instant::now(), files.bytes());
    let (over, problems) = match end {
        LastEnd::Clean => return Ok(IntegrityStatus::Done),
        LastEnd::Poisoned => {
            tracing::info!(
                bytes,
                "a write or sync of the process before failed: the whole store is checked"
            );
            (IntegrityStatus::Done, integrity_checks::whole(conn, true))
        }
        LastEnd::Unclean | LastEnd::Unlooked if bytes <= whole_bytes => {
            (IntegrityStatus::Done, integrity_checks::whole(conn, false))
        }
        LastEnd::Unclean | LastEnd::Unlooked => {
            (IntegrityStatus::InProgress { percent: 0 }, integrity_checks::of_newest(conn, files))
        }
    };
    tracing::info!(
        after_failure = end == LastEnd::Poisoned,
        whole = over == IntegrityStatus::Done,
        problems = problems.as_ref().map_or(0, Vec::len),
        took = ?started.elapsed(),
        "the store was not closed by the process before this one, and was checked"
    );
    integrity_checks::refuse(problems)?;
    Ok(over)
}

/// Starts to look at the rest, if there is one.
pub(crate) fn start(shared: &Arc<Shared>) -> Option<JoinHandle<()>> {
    if shared.integrity.told() == IntegrityStatus::Done {
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
                tracing::warn!(error, "the store could not be checked; the next start checks it");
            }
            IntegrityStatus::Damaged(problem) => {
                looking.poison(format!("the store is damaged: {problem}"))
            }
            _ => tracing::info!("the store was checked while it worked, and is sound"),
        }
        looking.integrity.tell(over);
    });
    match spawned {
        Ok(thread) => Some(thread),
        Err(e) => {
            shared.integrity.tell(IntegrityStatus::Failed(e.to_string()));
            None
        }
    }
}

/// Checks the rest. None if it was stopped.
fn look(shared: &Shared) -> rusqlite::Result<Option<IntegrityStatus>> {
    let conn = shared.files.reader()?;
    let mut ends = Vec::new();
    for (table, _) in TABLES {
        ends.push((table, integrity_checks::newest(&conn, table)?));
    }
    let all: i64 = ends.iter().map(|(_, end)| *end).sum();
    let mut done = 0;
    for (table, end) in ends {
        let mut from = 0;
        while from < end {
            let to = from.saturating_add(ROWS).min(end);
            let mut problems = Vec::new();
            let started = Instant::now();
            integrity_checks::of_rows(&conn, table, from..to, &mut problems)?;
            if let Some(problem) = problems.into_iter().next() {
                return Ok(Some(IntegrityStatus::Damaged(problem)));
            }
            done += to - from;
            from = to;
            let percent = u8::try_from(done.saturating_mul(99) / all.max(1)).unwrap_or(99);
            shared.integrity.tell(IntegrityStatus::InProgress { percent });
            if !shared.integrity.pause((started.elapsed() * PAUSE).max(PAUSE_MIN)) {
                return Ok(None);
            }
        }
    }
    others(shared, &conn)
}

/// Checks tables without numbers: runs of dedup keys, and handlers' state.
fn others(shared: &Shared, conn: &Connection) -> rusqlite::Result<Option<IntegrityStatus>> {
    let damaged = |e: rusqlite::Error| match is_damage(&e) {
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
        if !shared.integrity.pause((started.elapsed() * PAUSE).max(PAUSE_MIN)) {
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
        if !shared.integrity.pause((started.elapsed() * PAUSE).max(PAUSE_MIN)) {
            return Ok(None);
        }
    }
}
