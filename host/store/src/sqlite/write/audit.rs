//! Adding rows to the audit log, and removing old ones.

use rusqlite::{Connection, params};
use weir_core::time::Timestamp;

use crate::audit::NewAudit;
use crate::sqlite::engine::group::{WriteError, Writing};
use crate::sqlite::format::num;
use crate::upkeep::Retention;

/// Rows removed in one call.
const ROWS_PER_CALL: i64 = 4_096;

pub(crate) fn append(writing: &mut Writing<'_>, entry: &NewAudit) -> Result<(), WriteError> {
    writing
        .conn
        .prepare_cached(
            "INSERT INTO audit (at, who, role, act, subject, detail, outcome) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            num::stored_time(writing.now.wall),
            entry.who,
            entry.role,
            entry.act,
            entry.subject,
            entry.detail,
            entry.outcome.as_str()
        ])?;
    Ok(())
}

/// Removes the oldest rows beyond the limits of age and number. True if there are more.
pub(crate) fn forget(
    conn: &Connection,
    retention: &Retention,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let rows = i64::try_from(retention.audit_rows).unwrap_or(i64::MAX);
    let gone = conn
        .prepare_cached(
            "DELETE FROM audit WHERE n IN (SELECT n FROM audit ORDER BY n LIMIT ?3)
               AND (at < ?1 OR n <= (SELECT max(n) FROM audit) - ?2)",
        )?
        .execute(params![
            num::stored_time_before(now, retention.audit_life),
            rows,
            ROWS_PER_CALL
        ])?;
    Ok(num::column(gone) >= ROWS_PER_CALL)
}
