//! Integrity checks of the file: its structure, and rows that must agree.
//!
//! A check of all reads every page, which takes a second per 60 MB that are not in memory (measured
//! on a cloud disk; 470 MB if they are). So only a small store is checked whole before the start.

use std::ops::Range;

use rusqlite::{Connection, ffi};

use crate::error::StoreError;
use crate::sqlite::files::acks;
use crate::sqlite::files::store_files::StoreFiles;
use crate::sqlite::format::damage::is_damage;
use crate::sqlite::format::failure::reader_error;
use crate::sqlite::format::num;
use crate::sqlite::format::payloads::Packer;
use crate::upkeep::CheckReport;

/// Listed problems of one kind.
const PROBLEMS_MAX: i64 = 10;

/// Newest rows of each table that are checked before the start of a large store: more than many
/// commits.
const NEWEST: i64 = 20_000;

/// A query for rows that must not exist.
pub(crate) struct IntegrityRule {
    /// Problem of such a row.
    problem: &'static str,
    /// Table of the number in the problem.
    pub(crate) table: &'static str,
    /// Query for rows of the table above ?1 and up to ?2.
    sql: &'static str,
}

const fn rule(problem: &'static str, table: &'static str, sql: &'static str) -> IntegrityRule {
    IntegrityRule { problem, table, sql }
}

const RULES: [IntegrityRule; 8] = [
    rule(
        "delivery {n} belongs to an event that is missing",
        "delivery",
        "SELECT d.n FROM delivery d LEFT JOIN event e ON e.n = d.event WHERE d.n > ?1 AND d.n <= ?2 AND e.n IS NULL",
    ),
    rule(
        "event {n} has a payload that is missing",
        "event",
        "SELECT e.n FROM event e LEFT JOIN payload p ON p.n = e.payload WHERE e.n > ?1 AND e.n <= ?2 AND p.n IS NULL",
    ),
    rule(
        "event {n} does not have the deliveries that it says",
        "event",
        "SELECT e.n FROM event e WHERE e.n > ?1 AND e.n <= ?2 AND e.deliveries > 0 AND e.deliveries !=
           (SELECT count(*) FROM delivery d WHERE d.n >= e.first_delivery AND d.n < e.first_delivery + e.deliveries
              AND d.event = e.n)",
    ),
    rule(
        "delivery {n} has an unknown state",
        "delivery",
        "SELECT n FROM delivery WHERE n > ?1 AND n <= ?2 AND state NOT IN (0, 2, 3, 4, 5)",
    ),
    rule(
        "delivery {n} is finished and still has a due time",
        "delivery",
        "SELECT n FROM delivery NOT INDEXED WHERE n > ?1 AND n <= ?2 AND state IN (3, 4, 5) AND due_at IS NOT NULL",
    ),
    rule(
        "delivery {n} waits for a retry and has no due time",
        "delivery",
        "SELECT n FROM delivery NOT INDEXED WHERE n > ?1 AND n <= ?2 AND state = 2 AND due_at IS NULL",
    ),
    rule(
        "payload {n} needs a dictionary that is missing",
        "payload",
        "SELECT p.n FROM payload p LEFT JOIN dictionary d ON d.n = p.dictionary
           WHERE p.n > ?1 AND p.n <= ?2 AND p.dictionary IS NOT NULL AND d.n IS NULL",
    ),
    rule(
        "delivery {n} has a last attempt of another delivery's",
        "delivery",
        "SELECT d.n FROM delivery d JOIN attempt a ON a.n = d.last_attempt
           WHERE d.n > ?1 AND d.n <= ?2 AND a.delivery != d.n",
    ),
];

/// Tables on the path of an event, with an expression that reads whole rows, long values too.
pub(crate) const TABLES: [(&str, &str); 5] = [
    ("request", "max(remote = x'00')"),
    ("event", "max(type = x'00' OR delivery_id = x'00')"),
    ("delivery", "max(state = x'00' OR headers = x'00')"),
    ("payload", "max(data = x'00')"),
    ("attempt", "max(log = x'00' OR reason = x'00' OR snippet = x'00')"),
];

/// The number of a table's newest row.
pub(crate) fn newest(conn: &Connection, table: &str) -> rusqlite::Result<i64> {
    conn.query_row(&format!("SELECT coalesce(max(n), 0) FROM {table}"), [], |row| row.get(0))
}

/// Checks everything: structure, every index against its table, and rows that must agree.
pub(crate) fn report(conn: &Connection, files: &StoreFiles) -> rusqlite::Result<CheckReport> {
    let mut report = CheckReport::default();
    structure(conn, "integrity_check", &mut report.problems)?;
    obey(conn, &mut report.problems)?;
    report.problems.extend(acks::problems(conn, files)?);
    of_payloads(conn, &mut report.problems)?;
    let deliveries: i64 = conn.query_row("SELECT count(*) FROM delivery", [], |row| row.get(0))?;
    report.deliveries = num::count(deliveries);
    report.bytes = files.bytes();
    Ok(report)
}

/// Checks that payloads can be unpacked and were not changed.
fn of_payloads(conn: &Connection, problems: &mut Vec<String>) -> rusqlite::Result<()> {
    let packer = Packer::load(conn, |_| "".into(), 0)?;
    let mut statement = conn.prepare("SELECT n FROM payload ORDER BY n")?;
    let mut rows = statement.query([])?;
    let mut found = 0;
    while let Some(row) = rows.next()? {
        if let Err(damaged) = packer.read(conn, row.get(0)?)? {
            problems.push(damaged.to_string());
            found += 1;
            if found == PROBLEMS_MAX {
                break;
            }
        }
    }
    Ok(())
}

/// Checks the whole file before the start. With `indexes`, each is compared with its table too.
pub(crate) fn whole(conn: &Connection, indexes: bool) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    let pragma = if indexes { "integrity_check" } else { "quick_check" };
    structure(conn, pragma, &mut problems)?;
    obey(conn, &mut problems)?;
    Ok(problems)
}

/// Checks the length of the file and the newest rows, which takes the same time for any size.
/// SQLite has checked each page of the log already.
pub(crate) fn of_newest(conn: &Connection, files: &StoreFiles) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    let page: i64 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    if num::count(pages).saturating_mul(num::count(page)) > files.bytes() {
        problems.push(format!("the file says {pages} pages and is shorter"));
    }
    for (table, _) in TABLES {
        let end = newest(conn, table)?;
        of_rows(conn, table, end.saturating_sub(NEWEST)..end, &mut problems)?;
    }
    Ok(problems)
}

/// Checks rows of a table, above the start of the range and up to its end. A damaged page is a
/// problem, not an error.
pub(crate) fn of_rows(
    conn: &Connection,
    table: &str,
    rows: Range<i64>,
    problems: &mut Vec<String>,
) -> rusqlite::Result<()> {
    let mut look = || -> rusqlite::Result<()> {
        for (_, read) in TABLES.iter().filter(|(of, _)| *of == table) {
            let sql = format!("SELECT {read} FROM {table} NOT INDEXED WHERE n > ?1 AND n <= ?2");
            let range = [rows.start, rows.end];
            conn.prepare_cached(&sql)?.query_row(range, |_| Ok(()))?;
        }
        let mut of_table = RULES.iter().filter(|rule| rule.table == table);
        of_table.try_for_each(|rule| find(conn, rule, &rows, problems))
    };
    match look() {
        Err(e) if is_damage(&e) => {
            problems.push(format!("rows {} to {} of {table}: {e}", rows.start + 1, rows.end));
            Ok(())
        }
        looked => looked,
    }
}

/// Refuses a file with problems.
pub(crate) fn refuse(looked: rusqlite::Result<Vec<String>>) -> Result<(), StoreError> {
    let problems = looked.map_err(|e| reader_error("check the store", &e))?;
    let Some(first) = problems.first() else { return Ok(()) };
    let more = match problems.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Err(StoreError::Damaged(format!(
        "{first}{more}; move its files aside and put a backup in their place, or repair them with sqlite3"
    )))
}

fn obey(conn: &Connection, problems: &mut Vec<String>) -> rusqlite::Result<()> {
    RULES.iter().try_for_each(|rule| find(conn, rule, &(0..i64::MAX), problems))
}

fn find(
    conn: &Connection,
    rule: &IntegrityRule,
    rows: &Range<i64>,
    problems: &mut Vec<String>,
) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(&format!("{} LIMIT {PROBLEMS_MAX}", rule.sql))?;
    let mut found = statement.query([rows.start, rows.end])?;
    while let Some(row) = found.next()? {
        problems.push(rule.problem.replace("{n}", &row.get::<_, i64>(0)?.to_string()));
    }
    Ok(())
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

/// The error of a page that could not be read: the disk failed, and the file may be sound.
fn unread(line: &str) -> Option<rusqlite::Error> {
    let (_, code) = line.rsplit_once("unable to get the page. error code=")?;
    let digits = code.find(|c: char| !c.is_ascii_digit()).map_or(code, |end| &code[..end]);
    let error = ffi::Error::new(digits.parse().ok()?);
    let failed = rusqlite::Error::SqliteFailure(error, Some(line.to_owned()));
    (!is_damage(&failed)).then_some(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_page_is_a_failure_of_the_disk_and_not_damage() {
        let line = |code: i32| {
            unread(&format!("Tree 26 page 26: unable to get the page. error code={code}"))
        };
        assert!(line(ffi::SQLITE_IOERR_READ).is_some() && line(ffi::SQLITE_FULL).is_some());
        assert!(line(ffi::SQLITE_CORRUPT).is_none());
        assert!(unread("row 7 missing from index delivery_due").is_none());
    }
}
