//! Reading the audit log, newest first.

use rusqlite::types::Type;
use rusqlite::{Row, params};

use crate::audit::{AuditEntry, AuditFilter, AuditOutcome};
use crate::query::PageOf;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::num;
use crate::sqlite::read::cursor::cursor_text;
use crate::sqlite::read::lists::PAGE_MAX;

pub(crate) fn list(
    shared: &Shared,
    filter: &AuditFilter,
    limit: usize,
    below: i64,
) -> rusqlite::Result<PageOf<AuditEntry>> {
    let limit = limit.clamp(1, PAGE_MAX);
    shared.readers.with(|conn| {
        let mut statement = conn.prepare_cached(
            "SELECT n, at, who, role, act, subject, detail, outcome FROM audit
             WHERE n < ?1 AND (?2 IS NULL OR who = ?2) AND (?3 IS NULL OR act = ?3)
               AND (?4 IS NULL OR subject = ?4) AND (?5 IS NULL OR outcome = ?5)
               AND (?6 IS NULL OR at >= ?6) AND (?7 IS NULL OR at < ?7)
             ORDER BY n DESC LIMIT ?8",
        )?;
        let items = statement
            .query_map(
                params![
                    below,
                    filter.who,
                    filter.act,
                    filter.subject,
                    filter.outcome.map(AuditOutcome::as_str),
                    filter.since.map(num::stored_time),
                    filter.until.map(num::stored_time),
                    num::column(limit + 1)
                ],
                entry,
            )?
            .collect::<rusqlite::Result<Vec<AuditEntry>>>()?;
        Ok(page(items, limit))
    })
}

fn page(mut items: Vec<AuditEntry>, limit: usize) -> PageOf<AuditEntry> {
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more);
    let next = last.map(|entry| cursor_text(i64::try_from(entry.n).unwrap_or(i64::MAX)));
    PageOf { next, ..PageOf::only(items) }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    let word: String = row.get(7)?;
    let unknown = || {
        let problem = format!("unknown outcome `{word}`");
        rusqlite::Error::FromSqlConversionFailure(7, Type::Text, problem.into())
    };
    Ok(AuditEntry {
        n: num::count(row.get(0)?),
        at: num::time(row.get(1)?),
        who: row.get(2)?,
        role: row.get(3)?,
        act: row.get(4)?,
        subject: row.get(5)?,
        detail: row.get(6)?,
        outcome: AuditOutcome::parse(&word).ok_or_else(unknown)?,
    })
}
