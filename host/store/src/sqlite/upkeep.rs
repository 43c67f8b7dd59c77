//! Looking the store over, and copying it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rusqlite::{Connection, ErrorCode, ffi};
use weir_core::delivery::DeliveryState;

use super::schema::private_file;
use super::slots::LastEnd;
use super::{Shared, engine, failure, num};
use crate::error::StoreError;
use crate::upkeep::CheckReport;

/// Problems listed of one kind.
const PROBLEMS_MAX: i64 = 10;

/// Rows that must not exist, with what is wrong with them.
const CONTRADICTIONS: [(&str, &str); 8] = [
    (
        "delivery {n} belongs to an event that is missing",
        "SELECT d.n FROM delivery d LEFT JOIN event e ON e.n = d.event WHERE e.n IS NULL",
    ),
    (
        "event {n} has a payload that is missing",
        "SELECT e.n FROM event e LEFT JOIN payload p ON p.n = e.payload WHERE p.n IS NULL",
    ),
    (
        "event {n} does not have the deliveries that it says",
        "SELECT e.n FROM event e WHERE e.deliveries > 0 AND e.deliveries != (SELECT count(*) FROM delivery d
           WHERE d.n >= e.first_delivery AND d.n < e.first_delivery + e.deliveries AND d.event = e.n)",
    ),
    (
        "delivery {n} is in no state that exists",
        "SELECT n FROM delivery WHERE state NOT IN (0, 2, 3, 4, 5)",
    ),
    (
        "delivery {n} is finished and still has a time to be due",
        "SELECT n FROM delivery WHERE state IN (3, 4, 5) AND due_at IS NOT NULL",
    ),
    ("delivery {n} is to be retried and has no time", "SELECT n FROM delivery WHERE state = 2 AND due_at IS NULL"),
    (
        "payload {n} needs a dictionary that is missing",
        "SELECT p.n FROM payload p LEFT JOIN dictionary d ON d.n = p.dictionary
           WHERE p.dictionary IS NOT NULL AND d.n IS NULL",
    ),
    (
        "delivery {n} says a last attempt that is another delivery's",
        "SELECT d.n FROM delivery d JOIN attempt a ON a.n = d.last_attempt WHERE a.delivery != d.n",
    ),
];

/// Looks the whole store over.
pub(super) async fn check(shared: &Arc<Shared>) -> Result<CheckReport, StoreError> {
    let settings = shared
        .job("check the store", 0, |writing| {
            let mut problems = durability(writing.conn)?;
            problems.extend(totals(writing.shared, writing.conn)?);
            Ok(problems)
        })
        .await?;
    let mut report = shared
        .blocking("check the store", |shared| {
            shared.readers.with(|conn| {
                let mut report = CheckReport::default();
                structure(conn, "integrity_check", &mut report.problems)?;
                for (problem, sql) in CONTRADICTIONS {
                    contradictions(conn, problem, sql, &mut report.problems)?;
                }
                let deliveries: i64 =
                    conn.query_row("SELECT count(*) FROM delivery", [], |row| row.get(0))?;
                report.deliveries = num::count(deliveries);
                report.bytes = shared.place.bytes();
                Ok(report)
            })
        })
        .await?;
    report.problems.splice(0..0, settings);
    Ok(report)
}

/// Looks the file over before anything is taken in, when the process before this one did not close it: a file that
/// contradicts itself is refused rather than written to. After a failed write or sync every index is compared with
/// its table too, which takes several times as long.
pub(super) fn check_after(end: LastEnd, conn: &Connection) -> Result<(), StoreError> {
    let started = Instant::now();
    let looked = || -> rusqlite::Result<Vec<String>> {
        let mut problems = Vec::new();
        let pragma = if end == LastEnd::Poisoned { "integrity_check" } else { "quick_check" };
        structure(conn, pragma, &mut problems)?;
        for (problem, sql) in CONTRADICTIONS {
            contradictions(conn, problem, sql, &mut problems)?;
        }
        Ok(problems)
    };
    let problems = looked().map_err(|e| failure::told_reader("check the store", &e))?;
    tracing::info!(
        after_failure = end == LastEnd::Poisoned,
        problems = problems.len(),
        took = ?started.elapsed(),
        "the store was not closed by the process before this one, and was checked"
    );
    let Some(first) = problems.first() else { return Ok(()) };
    let more = match problems.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Err(StoreError::Damaged(format!(
        "{first}{more}; move its files aside and put a backup in their place, or repair them with sqlite3"
    )))
}

/// What makes `Ok` mean durable.
fn durability(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    if mode != "wal" {
        problems.push(format!("the journal mode is {mode} instead of wal"));
    }
    let synchronous: i64 = conn.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
    if synchronous < 2 {
        problems.push("commits are not synced: synchronous is below FULL".into());
    }
    Ok(problems)
}

/// Whether what is counted in memory is what is stored. Asked on the writer, so nothing is on its way.
fn totals(shared: &Shared, conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    let totals = shared.totals.lock();
    for state in [DeliveryState::Pending, DeliveryState::Retrying, DeliveryState::DeadLetter] {
        let stored: i64 =
            conn.query_row("SELECT count(*) FROM delivery WHERE state = ?1", [state as u8], |r| {
                r.get(0)
            })?;
        let of_state = totals.states.iter().filter(|((_, s), _)| *s == state);
        let counted: i64 = of_state.map(|(_, count)| *count).sum();
        if stored != counted {
            problems.push(format!("{stored} deliveries are {state}, but {counted} are counted"));
        }
    }
    Ok(problems)
}

fn structure(conn: &Connection, pragma: &str, problems: &mut Vec<String>) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(&format!("PRAGMA {pragma}({PROBLEMS_MAX})"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let line: String = row.get(0)?;
        if let Some(failed) = unread(&line) {
            return Err(failed);
        }
        if line != "ok" {
            problems.push(line);
        }
    }
    Ok(())
}

/// A page that could not be read says nothing about the file: the disk failed, and may not the next time.
fn unread(line: &str) -> Option<rusqlite::Error> {
    let (_, code) = line.rsplit_once("unable to get the page. error code=")?;
    let digits = code.find(|c: char| !c.is_ascii_digit()).map_or(code, |end| &code[..end]);
    let error = ffi::Error::new(digits.parse().ok()?);
    let damaged = matches!(error.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase);
    (!damaged).then(|| rusqlite::Error::SqliteFailure(error, Some(line.to_owned())))
}

fn contradictions(
    conn: &Connection,
    problem: &str,
    sql: &str,
    problems: &mut Vec<String>,
) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(&format!("{sql} LIMIT {PROBLEMS_MAX}"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        problems.push(problem.replace("{n}", &row.get::<_, i64>(0)?.to_string()));
    }
    Ok(())
}

/// Copies the store as of now into a new file, for its owner's eyes only.
pub(super) async fn backup(shared: &Arc<Shared>, to: &Path) -> Result<(), StoreError> {
    if to.exists() {
        return Err(StoreError::Invalid(format!("{} exists already", to.display())));
    }
    let Some(target) = to.to_str().map(str::to_owned) else {
        return Err(StoreError::Invalid("the name of a backup must be UTF-8".into()));
    };
    let io =
        |e: std::io::Error| StoreError::Engine { doing: "write the backup", cause: e.to_string() };
    // Made before SQLite would make it with a wider mode.
    private_file(to).map_err(io)?;
    let path: PathBuf = to.into();
    let place = shared.place.clone();
    let copied = tokio::task::spawn_blocking(move || {
        let conn = place.writer(1024).map_err(engine("copy the store"))?;
        conn.execute("VACUUM INTO ?1", [&target]).map_err(engine("copy the store"))?;
        std::fs::File::open(&target).and_then(|file| file.sync_all()).map_err(io)
    })
    .await;
    match copied {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => {
            let _left_behind = std::fs::remove_file(path);
            Err(e)
        }
        Err(e) => Err(StoreError::Engine { doing: "copy the store", cause: e.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_could_not_be_read_is_a_failure_of_the_disk_and_no_damage() {
        let line = |code: i32| {
            unread(&format!("Tree 26 page 26: unable to get the page. error code={code}"))
        };
        assert!(line(ffi::SQLITE_IOERR_READ).is_some() && line(ffi::SQLITE_FULL).is_some());
        assert!(line(ffi::SQLITE_CORRUPT).is_none());
        assert!(unread("row 7 missing from index delivery_due").is_none());
    }
}
