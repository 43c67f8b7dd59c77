//! State of handlers: reading it, validating a run's reads at its settlement, and writing it.

use async_trait::async_trait;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::effect::StateWrite;
use weir_core::name::{HandlerName, Target};
use weir_core::state::{
    RangeRead, ReadSet, StateEntry, StateQuota, StateReader, StateSize, StateUnavailable,
};
use weir_core::time::Timestamp;

use crate::sqlite::engine::group::Writing;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::names::NameId;
use crate::sqlite::format::next_numbers::take;
use crate::sqlite::format::num;
use crate::sqlite::rows::keys;

/// Reader of the committed state of one handler.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    /// Its name as a target.
    handler: String,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, handler: &HandlerName) -> Self {
        Self { shared, handler: Target::Handler(handler.clone()).to_string() }
    }

    /// Runs a query; `empty` is the answer for a handler that never stored anything.
    fn ask<T>(
        &self,
        empty: T,
        question: impl FnOnce(&Connection, NameId) -> rusqlite::Result<T>,
    ) -> Result<T, StateUnavailable> {
        let Some(handler) = self.shared.names.find(&self.handler) else { return Ok(empty) };
        self.shared
            .state_readers
            .with(|conn| question(conn, handler))
            .map_err(|e| StateUnavailable(e.to_string()))
    }
}

#[async_trait]
impl StateReader for Reader {
    async fn get(&self, key: &str) -> Result<Option<StateEntry>, StateUnavailable> {
        self.ask(None, |conn, handler| get(conn, handler, key))
    }

    async fn keys(
        &self,
        prefix: &str,
        after: &str,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Box<str>>, StateUnavailable> {
        let limit = limit as usize;
        self.ask(Vec::new(), |conn, handler| list(conn, handler, prefix, after, limit, now))
    }

    async fn size(&self) -> Result<u64, StateUnavailable> {
        self.ask(0, |conn, handler| Ok(size(conn, handler)?.bytes))
    }

    async fn has_queued(&self, key: &str) -> Result<bool, StateUnavailable> {
        let claimed = |n| self.shared.due.lock().is_claimed(n);
        self.ask(false, |conn, handler| keys::waits_under(conn, handler, key, claimed))
    }
}

fn get(conn: &Connection, handler: NameId, key: &str) -> rusqlite::Result<Option<StateEntry>> {
    conn.prepare_cached(
        "SELECT value, version, expires_at FROM state WHERE handler = ?1 AND key = ?2",
    )?
    .query_row(params![handler, key], |row| {
        Ok(StateEntry {
            value: row.get::<_, String>(0)?.into(),
            version: num::count(row.get(1)?),
            expires_at: row.get::<_, Option<i64>>(2)?.map(num::time),
        })
    })
    .optional()
}

fn list(
    conn: &Connection,
    handler: NameId,
    prefix: &str,
    after: &str,
    limit: usize,
    now: Timestamp,
) -> rusqlite::Result<Vec<Box<str>>> {
    let mut statement = conn.prepare_cached(
        "SELECT key FROM state WHERE handler = ?1 AND key >= ?2 AND key > ?3
           AND (expires_at IS NULL OR expires_at > ?4) ORDER BY key",
    )?;
    let mut rows = statement.query(params![handler, prefix, after, num::stored_time(now)])?;
    let mut keys = Vec::new();
    while keys.len() < limit
        && let Some(row) = rows.next()?
    {
        let key: String = row.get(0)?;
        if !key.starts_with(prefix) {
            break;
        }
        keys.push(key.into());
    }
    Ok(keys)
}

/// Bytes and keys of a handler's state.
pub(crate) fn size(conn: &Connection, handler: NameId) -> rusqlite::Result<StateSize> {
    let size = conn
        .prepare_cached("SELECT bytes, keys FROM state_size WHERE handler = ?1")?
        .query_row([handler], |row| {
            Ok(StateSize { bytes: num::count(row.get(0)?), keys: num::count(row.get(1)?) })
        })
        .optional()?;
    Ok(size.unwrap_or_default())
}

/// The size of the state after these writes; an error is a size above the quota.
pub(crate) fn growth(
    conn: &Connection,
    handler: NameId,
    writes: &[StateWrite],
    quota: StateQuota,
) -> rusqlite::Result<Result<StateSize, StateSize>> {
    if writes.is_empty() {
        return Ok(Ok(StateSize::default()));
    }
    let before = size(conn, handler)?;
    let stored = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let (mut bytes, mut keys) = (stored(before.bytes), stored(before.keys));
    for StateWrite { key, value, .. } in writes {
        let known = entry_bytes(conn, handler, key)?;
        bytes -= known.unwrap_or(0);
        keys -= i64::from(known.is_some());
        if let Some(value) = value {
            bytes += num::column(key.len() + value.len());
            keys += 1;
        }
    }
    let after = StateSize { bytes: num::count(bytes.max(0)), keys: num::count(keys.max(0)) };
    Ok(if quota.permits(before, after) { Ok(after) } else { Err(after) })
}

fn entry_bytes(conn: &Connection, handler: NameId, key: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached(
        "SELECT octet_length(key) + octet_length(value) FROM state WHERE handler = ?1 AND key = ?2",
    )?
    .query_row(params![handler, key], |row| row.get(0))
    .optional()
}

/// The first key or prefix of a run whose read would give another result now.
pub(crate) fn conflict(
    conn: &Connection,
    handler: NameId,
    reads: &ReadSet,
) -> rusqlite::Result<Option<Box<str>>> {
    for (key, seen) in &reads.keys {
        let stored: Option<(i64, Option<i64>)> = conn
            .prepare_cached(
                "SELECT version, expires_at FROM state WHERE handler = ?1 AND key = ?2",
            )?
            .query_row(params![handler, key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let holds = match (seen, stored) {
            (None, None) => true,
            // A value that had expired by the time of the run did not exist for it.
            (None, Some((_, expires_at))) => expires_at.is_some_and(|at| num::time(at) <= reads.at),
            (Some(seen), Some((version, _))) => *seen == num::count(version),
            (Some(_), None) => false,
        };
        if !holds {
            return Ok(Some(key.clone()));
        }
    }
    for RangeRead { prefix, after, limit, keys } in &reads.ranges {
        if list(conn, handler, prefix, after, *limit as usize, reads.at)? != *keys {
            return Ok(Some(prefix.clone()));
        }
    }
    Ok(None)
}

/// Applies the writes of a run, and updates the size of the handler's state.
pub(crate) fn write(
    writing: &mut Writing<'_>,
    handler: NameId,
    writes: &[StateWrite],
) -> rusqlite::Result<()> {
    if writes.is_empty() {
        return Ok(());
    }
    let (mut grown, mut added) = (0_i64, 0_i64);
    for StateWrite { key, value, expires_at } in writes {
        let before = entry_bytes(writing.conn, handler, key)?;
        grown -= before.unwrap_or(0);
        added -= i64::from(before.is_some());
        match value {
            Some(value) => {
                let version = take(&mut writing.next.state_version);
                writing
                    .conn
                    .prepare_cached(
                        "INSERT INTO state (handler, key, value, version, expires_at)
                         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (handler, key)
                         DO UPDATE SET value = ?3, version = ?4, expires_at = ?5",
                    )?
                    .execute(params![
                        handler,
                        key,
                        value,
                        version,
                        expires_at.map(num::stored_time)
                    ])?;
                grown += num::column(key.len() + value.len());
                added += 1;
            }
            None => {
                writing
                    .conn
                    .prepare_cached("DELETE FROM state WHERE handler = ?1 AND key = ?2")?
                    .execute(params![handler, key])?;
            }
        }
    }
    grow(writing.conn, handler, (grown, added))
}

fn grow(conn: &Connection, handler: NameId, (bytes, keys): (i64, i64)) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO state_size (handler, bytes, keys) VALUES (?1, max(?2, 0), max(?3, 0))
         ON CONFLICT (handler) DO UPDATE SET bytes = max(bytes + ?2, 0), keys = max(keys + ?3, 0)",
    )?
    .execute(params![handler, bytes, keys])?;
    Ok(())
}

/// Removes the first keys that start with a prefix, up to `limit`. Returns their number.
pub(crate) fn remove_some(
    writing: &mut Writing<'_>,
    handler: NameId,
    prefix: &str,
    limit: usize,
) -> rusqlite::Result<usize> {
    // Also those that have expired and are still stored.
    let keys = list(writing.conn, handler, prefix, "", limit, Timestamp::from_millis(0))?;
    let removal = |key: Box<str>| StateWrite { key, value: None, expires_at: None };
    let writes: Vec<StateWrite> = keys.into_iter().map(removal).collect();
    write(writing, handler, &writes)?;
    Ok(writes.len())
}

/// Removes up to `limit` values that expired before `before`. Returns their number.
pub(crate) fn remove_expired(conn: &Connection, before: i64, limit: i64) -> rusqlite::Result<u64> {
    let mut statement = conn.prepare_cached(
        "SELECT handler, key, octet_length(key) + octet_length(value) FROM state
         WHERE expires_at IS NOT NULL AND expires_at < ?1 LIMIT ?2",
    )?;
    let expired = statement
        .query_map([before, limit], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<Vec<(NameId, String, i64)>>>()?;
    for (handler, key, bytes) in &expired {
        conn.prepare_cached("DELETE FROM state WHERE handler = ?1 AND key = ?2")?
            .execute(params![handler, key])?;
        grow(conn, *handler, (-bytes, -1))?;
    }
    Ok(expired.len() as u64)
}
