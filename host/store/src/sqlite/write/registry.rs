//! The registry and routing tables: entries by kind and key.

use rusqlite::{Connection, OptionalExtension, params};
use rustc_hash::FxHashMap;
use weir_core::route::TableHash;
use weir_core::route::table_text;

use crate::error::StoreError;
use crate::registry::{CasOutcome, EntryKind, RegistryEntry};
use crate::sqlite::engine::group::{WriteError, Writing};
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::next_numbers::take;
use crate::sqlite::format::num;

/// Larger values are left out of lists.
const LISTED_BYTES_MAX: i64 = 64 * 1024;

pub(crate) fn get(
    conn: &Connection,
    kind: EntryKind,
    key: &str,
) -> rusqlite::Result<Option<RegistryEntry>> {
    conn.prepare_cached("SELECT version, value FROM registry WHERE kind = ?1 AND key = ?2")?
        .query_row(params![kind.as_str(), key], |row| {
            Ok(RegistryEntry { version: num::count(row.get(0)?), value: row.get(1)? })
        })
        .optional()
}

pub(crate) fn list(
    conn: &Connection,
    kind: EntryKind,
) -> rusqlite::Result<Vec<(String, RegistryEntry)>> {
    let mut statement = conn.prepare_cached(
        "SELECT key, version, CASE WHEN length(value) <= ?2 THEN value END
         FROM registry WHERE kind = ?1 ORDER BY key",
    )?;
    let entries = statement.query_map(params![kind.as_str(), LISTED_BYTES_MAX], |row| {
        Ok((row.get(0)?, RegistryEntry { version: num::count(row.get(1)?), value: row.get(2)? }))
    })?;
    entries.collect()
}

pub(crate) fn cas(
    writing: &mut Writing<'_>,
    kind: EntryKind,
    key: &str,
    expected: Option<u64>,
    value: Option<Vec<u8>>,
) -> Result<CasOutcome, WriteError> {
    let found: Option<i64> = writing
        .conn
        .prepare_cached("SELECT version FROM registry WHERE kind = ?1 AND key = ?2")?
        .query_row(params![kind.as_str(), key], |row| row.get(0))
        .optional()?;
    let found = found.map(num::count);
    if found != expected {
        return Ok(CasOutcome::Conflict { found });
    }
    let version = take(&mut writing.next.registry_version);
    match value {
        Some(value) => writing
            .conn
            .prepare_cached(
                "INSERT INTO registry (kind, key, version, written_at, value) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (kind, key) DO UPDATE SET version = ?3, written_at = ?4, value = ?5",
            )?
            .execute(params![kind.as_str(), key, version, num::stored_time(writing.now.wall), value])?,
        None => {
            // The removed row may have the highest version, so the next number is stored.
            writing.next.save(writing.conn)?;
            writing
                .conn
                .prepare_cached("DELETE FROM registry WHERE kind = ?1 AND key = ?2")?
                .execute(params![kind.as_str(), key])?
        }
    };
    writing.post_commit.registry.push(kind);
    Ok(CasOutcome::Written { version: num::count(version) })
}

/// Rows of all routing tables, by hash.
pub(crate) fn routings(conn: &Connection) -> rusqlite::Result<FxHashMap<TableHash, i64>> {
    let mut statement = conn.prepare("SELECT hash, n FROM routing")?;
    let rows = statement.query_map([], |row| Ok((TableHash(row.get(0)?), row.get(1)?)))?;
    rows.collect()
}

/// The text of a routing table.
pub(crate) fn text_of(table: &weir_core::route::RouteTable) -> String {
    table_text(table.rules())
}

pub(crate) fn keep_table(
    writing: &mut Writing<'_>,
    hash: TableHash,
    text: &str,
) -> Result<(), WriteError> {
    writing
        .conn
        .prepare_cached(
            "INSERT INTO routing (hash, made_at, text) VALUES (?1, ?2, ?3) ON CONFLICT (hash) DO NOTHING",
        )?
        .execute(params![hash.0, num::stored_time(writing.now.wall), text])?;
    let n: i64 = writing
        .conn
        .prepare_cached("SELECT n FROM routing WHERE hash = ?1")?
        .query_row([hash.0], |row| row.get(0))?;
    writing.post_commit.on_commit.push(Box::new(move |shared: &Shared| {
        shared.routings.write().insert(hash, n);
    }));
    Ok(())
}

pub(crate) fn table(conn: &Connection, hash: TableHash) -> rusqlite::Result<Option<String>> {
    conn.prepare_cached("SELECT text FROM routing WHERE hash = ?1")?
        .query_row([hash.0], |row| row.get(0))
        .optional()
}

/// Checks the length of a key.
pub(crate) fn check_key(key: &str) -> Result<(), StoreError> {
    if key.is_empty() || key.len() > 512 {
        return Err(StoreError::Invalid("a registry key has 1 to 512 bytes".into()));
    }
    Ok(())
}
