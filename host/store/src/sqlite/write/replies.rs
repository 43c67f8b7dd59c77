//! Replies of responders: written with the settlement of their run, read when a sender repeats its
//! request, and removed when they expire.

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::id::EventId;
use weir_core::time::Timestamp;

use crate::NewReply;
use crate::query::StoredReply;
use crate::sqlite::engine::group::Writing;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::failure::LoadedRow;
use crate::sqlite::format::ids::RowKind;
use crate::sqlite::format::next_numbers::take;
use crate::sqlite::format::num;
use crate::sqlite::format::payloads::Packed;

/// Replies removed in one call.
const REPLIES_PER_CALL: i64 = 4_096;

/// Stores the reply of an event, and replaces the one of an earlier run.
pub(crate) fn keep(
    writing: &mut Writing<'_>,
    event: i64,
    reply: &NewReply,
    packed: &Packed,
) -> rusqlite::Result<()> {
    let payload = take(&mut writing.next.payload);
    packed.insert(writing.conn, payload)?;
    writing
        .conn
        .prepare_cached(
            "DELETE FROM payload WHERE n = (SELECT payload FROM reply WHERE event = ?1)",
        )?
        .execute([event])?;
    let until = writing.now.wall.after(reply.keep);
    writing
        .conn
        .prepare_cached(
            "INSERT OR REPLACE INTO reply (event, status, payload, until) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![event, reply.status, payload, num::stored_time(until)])?;
    Ok(())
}

/// Reads the reply of an event, unless it has expired.
pub(crate) fn find(shared: &Shared, event: EventId) -> rusqlite::Result<LoadedRow<StoredReply>> {
    let Some(row) = shared.ids.open(RowKind::Event, event.bits()) else {
        return Ok(LoadedRow::Missing);
    };
    let now = shared.clock.now();
    shared.readers.with(|conn| {
        let found: Option<(u16, i64, i64)> = conn
            .prepare_cached(
                "SELECT status, payload, until FROM reply WHERE event = ?1 AND until > ?2",
            )?
            .query_row([row.n, num::stored_time(now)], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
            .optional()?;
        let Some((status, payload, until)) = found else { return Ok(LoadedRow::Missing) };
        let until = num::time(until);
        Ok(match shared.packer.read(conn, payload)? {
            Ok(payload) => LoadedRow::Found(StoredReply { status, payload, until }),
            Err(damaged) => LoadedRow::Damaged(damaged.to_string()),
        })
    })
}

/// Removes expired replies. True if there may be more.
pub(crate) fn forget(conn: &Connection, now: Timestamp) -> rusqlite::Result<bool> {
    let now = num::stored_time(now);
    let mut old = conn.prepare_cached(
        "SELECT event, payload FROM reply WHERE until <= ?1 ORDER BY until LIMIT ?2",
    )?;
    let old = old
        .query_map([now, REPLIES_PER_CALL], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(i64, i64)>>>()?;
    for (event, payload) in &old {
        conn.prepare_cached("DELETE FROM reply WHERE event = ?1")?.execute([event])?;
        conn.prepare_cached("DELETE FROM payload WHERE n = ?1")?.execute([payload])?;
    }
    Ok(num::column(old.len()) >= REPLIES_PER_CALL)
}
