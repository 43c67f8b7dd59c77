//! State of handlers: reading it, validating a run's reads at its settlement, and writing it.

use async_trait::async_trait;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::effect::StateWrite;
use weir_core::name::{HandlerName, Target};
use weir_core::state::{RangeRead, ReadSet, StateEntry, StateReader, StateUnavailable};
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
        self.ask(Vec::new(), |conn, handler| list(conn, handler, prefix, after, limit, now))
    }

    async fn size(&self) -> Result<u64, StateUnavailable> {
        self.ask(0, size)
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
    limit: u32,
    now: Timestamp,
) -> rusqlite::Result<Vec<Box<str>>> {
    let mut statement = conn.prepare_cached(
        "SELECT key FROM state WHERE handler = ?1 AND key >= ?2 AND key > ?3
           AND (expires_at IS NULL OR expires_at > ?4) ORDER BY key",
    )?;
    let mut rows = statement.query(params![handler, prefix, after, num::stored_time(now)])?;
    let mut keys = Vec::new();
    while keys.len() < limit as usize
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

fn size(conn: &Connection, handler: NameId) -> rusqlite::Result<u64> {
    let bytes: Option<i64> = conn
        .prepare_cached("SELECT bytes FROM state_size WHERE handler = ?1")?
        .query_row([handler], |row| row.get(0))
        .optional()?;
    Ok(num::count(bytes.unwrap_or(0)))
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
        if list(conn, handler, prefix, after, *limit, reads.at)? != *keys {
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
    let mut grown = 0i64;
    for StateWrite { key, value, expires_at } in writes {
        let before: Option<i64> = writing
            .conn
            .prepare_cached(
                "SELECT octet_length(key) + octet_length(value) FROM state WHERE handler = ?1 AND key = ?2",
            )?
            .query_row(params![handler, key], |row| row.get(0))
            .optional()?;
        grown -= before.unwrap_or(0);
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
            }
            None => {
                writing
                    .conn
                    .prepare_cached("DELETE FROM state WHERE handler = ?1 AND key = ?2")?
                    .execute(params![handler, key])?;
            }
        }
    }
    grow(writing.conn, handler, grown)
}

fn grow(conn: &Connection, handler: NameId, by: i64) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO state_size (handler, bytes) VALUES (?1, max(?2, 0))
         ON CONFLICT (handler) DO UPDATE SET bytes = max(bytes + ?2, 0)",
    )?
    .execute(params![handler, by])?;
    Ok(())
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
        grow(conn, *handler, -bytes)?;
    }
    Ok(expired.len() as u64)
}
