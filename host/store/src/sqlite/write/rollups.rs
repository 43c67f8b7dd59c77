//! Adding roll-ups to their minute and hour, and removing old ones.

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::time::Timestamp;

use crate::error::StoreError;
use crate::rollup::{
    HOUR, HOURS_KEPT, MINUTE, MINUTES_KEPT, ROLLUP_NUMBERS_MAX, ROLLUP_SERIES_MAX, Rollup,
    RollupBatch, step_start,
};
use crate::sqlite::engine::group::{WriteError, Writing};
use crate::sqlite::format::{num, packed_rollup, schema};

/// Id of the batch that was stored last.
const LAST_BATCH: &str = "rollup_batch";

/// Rows removed in one call.
const ROWS_PER_CALL: i64 = 4_096;

/// Refuses a batch that is beyond the limits.
pub(crate) fn check(batch: &RollupBatch) -> Result<(), StoreError> {
    let long = |rollup: &Rollup| rollup.lists().iter().any(|list| list.len() > ROLLUP_NUMBERS_MAX);
    if batch.rows.len() > ROLLUP_SERIES_MAX || batch.rows.iter().any(|(_, rollup)| long(rollup)) {
        return Err(StoreError::Invalid(format!(
            "a batch of roll-ups has at most {ROLLUP_SERIES_MAX} series of {ROLLUP_NUMBERS_MAX} numbers"
        )));
    }
    Ok(())
}

/// Adds a batch to the rows of its minute and its hour, once.
pub(crate) fn put(writing: &mut Writing<'_>, batch: &RollupBatch) -> Result<(), WriteError> {
    let id = batch.id.cast_signed();
    if schema::meta(writing.conn, LAST_BATCH)? == Some(id) {
        return Ok(());
    }
    for (series, rollup) in &batch.rows {
        let series = writing.name(series)?;
        for span in [MINUTE, HOUR] {
            let at = num::stored_time(step_start(batch.at, span));
            let row = params![num::seconds(span), at, series];
            let stored: Option<Vec<u8>> = writing
                .conn
                .prepare_cached(
                    "SELECT data FROM rollup WHERE span = ?1 AND at = ?2 AND series = ?3",
                )?
                .query_row(row, |row| row.get(0))
                .optional()?;
            let mut sum = stored.and_then(|data| packed_rollup::unpack(&data)).unwrap_or_default();
            sum.merge(rollup);
            writing
                .conn
                .prepare_cached(
                    "INSERT INTO rollup (span, at, series, data) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (span, at, series) DO UPDATE SET data = ?4",
                )?
                .execute(params![num::seconds(span), at, series, packed_rollup::pack(&sum)])?;
        }
    }
    schema::set_meta(writing.conn, LAST_BATCH, &id)?;
    Ok(())
}

/// Removes old rows. True if there are more.
pub(crate) fn forget(conn: &Connection, now: Timestamp) -> rusqlite::Result<bool> {
    let mut more = false;
    for (span, kept) in [(MINUTE, MINUTES_KEPT), (HOUR, HOURS_KEPT)] {
        let old = num::stored_time_before(now, kept);
        // Beyond this time there are more rows than one call removes.
        let enough: Option<i64> = conn
            .prepare_cached(
                "SELECT at FROM rollup WHERE span = ?1 AND at < ?2 ORDER BY at LIMIT 1 OFFSET ?3",
            )?
            .query_row(params![num::seconds(span), old, ROWS_PER_CALL], |row| row.get(0))
            .optional()?;
        more |= enough.is_some();
        conn.prepare_cached("DELETE FROM rollup WHERE span = ?1 AND at < ?2 AND at <= ?3")?
            .execute(params![num::seconds(span), old, enough.unwrap_or(i64::MAX)])?;
    }
    Ok(more)
}
