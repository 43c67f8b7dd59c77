//! What responders answered: written with the settlement of the run that said it, read by whoever repeats the request,
//! and let go of when its time is over.

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::id::EventId;
use weir_core::time::Timestamp;

use super::group::{Writing, take};
use super::ids::RowKind;
use super::payloads::{Packed, Packer};
use super::{Shared, num};
use crate::NewReply;
use crate::query::StoredReply;

/// Replies removed in one call.
const REPLIES_PER_CALL: i64 = 4_096;

/// A reply, packed.
pub(super) struct PreparedReply {
    reply: NewReply,
    packed: Packed,
}

impl PreparedReply {
    pub(super) fn new(reply: NewReply) -> Self {
        let packed = Packer::pack_plain(&reply.payload);
        Self { reply, packed }
    }

    pub(super) fn bytes(&self) -> usize {
        self.packed.stored_bytes() + 256
    }
}

/// Keeps the reply of an event, in place of the one of an earlier run.
pub(super) fn keep(
    writing: &mut Writing<'_>,
    event: i64,
    prepared: &PreparedReply,
) -> rusqlite::Result<()> {
    let payload = take(&mut writing.next.payload);
    prepared.packed.insert(writing.conn, payload)?;
    writing
        .conn
        .prepare_cached(
            "DELETE FROM payload WHERE n = (SELECT payload FROM reply WHERE event = ?1)",
        )?
        .execute([event])?;
    let until = writing.now.wall.after(prepared.reply.keep);
    writing
        .conn
        .prepare_cached(
            "INSERT OR REPLACE INTO reply (event, status, payload, until) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![event, prepared.reply.status, payload, num::stored_time(until)])?;
    Ok(())
}

/// The reply of an event, unless its time is over; an error says what cannot be read.
pub(super) fn find(
    shared: &Shared,
    event: EventId,
) -> rusqlite::Result<Option<Result<StoredReply, String>>> {
    let Some(row) = shared.ids.open(RowKind::Event, event.bits()) else { return Ok(None) };
    let now = shared.clock.now();
    shared.readers.with(|conn| {
        let found: Option<(u16, i64, i64)> = conn
            .prepare_cached(
                "SELECT status, payload, until FROM reply WHERE event = ?1 AND until > ?2",
            )?
            .query_row([row.n, num::stored_time(now)], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
            .optional()?;
        let Some((status, payload, until)) = found else { return Ok(None) };
        let until = num::time(until);
        let payload = shared.packer.read(conn, payload)?;
        let payload = payload.map_err(|damaged| damaged.to_string());
        Ok(Some(payload.map(|payload| StoredReply { status, payload, until })))
    })
}

/// Removes replies whose time is over. Returns whether there may be more.
pub(super) fn forget(conn: &Connection, now: Timestamp) -> rusqlite::Result<bool> {
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
