//! The registry, routing tables and dictionaries: small things by key.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use rustc_hash::FxHashMap;
use tokio::sync::watch;
use weir_core::route::{TableHash, table_text};

use super::group::{JobError, Writing, take};
use super::num;
use crate::error::StoreError;
use crate::registry::{CasOutcome, EntryKind, RegistryEntry};

/// Values longer than this are left out of lists.
const LISTED_BYTES_MAX: i64 = 64 * 1024;

/// Tells whoever watches a kind that something of it changed.
pub(super) struct Watchers(Vec<(EntryKind, watch::Sender<u64>)>);

impl Default for Watchers {
    fn default() -> Self {
        Self(EntryKind::ALL.into_iter().map(|kind| (kind, watch::Sender::new(0))).collect())
    }
}

impl Watchers {
    pub(super) fn changed(&self, kind: EntryKind) {
        for (_, sender) in self.0.iter().filter(|(k, _)| *k == kind) {
            sender.send_modify(|version| *version += 1);
        }
    }

    pub(super) fn subscribe(&self, kind: EntryKind) -> watch::Receiver<u64> {
        match self.0.iter().find(|(k, _)| *k == kind) {
            Some((_, sender)) => sender.subscribe(),
            None => watch::channel(0).1,
        }
    }
}

pub(super) fn get(
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

pub(super) fn list(
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

pub(super) fn cas(
    writing: &mut Writing<'_>,
    kind: EntryKind,
    key: &str,
    expected: Option<u64>,
    value: Option<Vec<u8>>,
) -> Result<CasOutcome, JobError> {
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
            // The row that showed how far versions have come may be the one that goes.
            writing.next.save(writing.conn)?;
            writing
                .conn
                .prepare_cached("DELETE FROM registry WHERE kind = ?1 AND key = ?2")?
                .execute(params![kind.as_str(), key])?
        }
    };
    writing.learned.registry.push(kind);
    Ok(CasOutcome::Written { version: num::count(version) })
}

/// The rows of all routing tables.
pub(super) fn routings(conn: &Connection) -> rusqlite::Result<FxHashMap<TableHash, i64>> {
    let mut statement = conn.prepare("SELECT hash, n FROM routing")?;
    let rows = statement.query_map([], |row| Ok((TableHash(row.get(0)?), row.get(1)?)))?;
    rows.collect()
}

/// The text to keep of a routing table.
pub(super) fn text_of(table: &weir_core::route::RouteTable) -> String {
    table_text(table.rules())
}

pub(super) fn keep_table(
    writing: &mut Writing<'_>,
    hash: TableHash,
    text: &str,
) -> Result<(), JobError> {
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
    writing.learned.then.push(Box::new(move |shared: &super::Shared| {
        shared.routings.write().insert(hash, n);
    }));
    Ok(())
}

pub(super) fn table(conn: &Connection, hash: TableHash) -> rusqlite::Result<Option<String>> {
    conn.prepare_cached("SELECT text FROM routing WHERE hash = ?1")?
        .query_row([hash.0], |row| row.get(0))
        .optional()
}

pub(super) fn keep_dictionary(
    writing: &mut Writing<'_>,
    source: &str,
    data: Vec<u8>,
) -> Result<(), JobError> {
    let name = writing.name(source)?;
    writing
        .conn
        .prepare_cached("INSERT INTO dictionary (source, made_at, data) VALUES (?1, ?2, ?3)")?
        .execute(params![name, num::stored_time(writing.now.wall), data])?;
    let n = writing.conn.last_insert_rowid();
    let source: Arc<str> = source.into();
    writing.learned.then.push(Box::new(move |shared: &super::Shared| {
        shared.packer.publish(n, &source, data);
    }));
    Ok(())
}

/// Registry keys are short words.
pub(super) fn check_key(key: &str) -> Result<(), StoreError> {
    if key.is_empty() || key.len() > 512 {
        return Err(StoreError::Invalid("a registry key has 1 to 512 bytes".into()));
    }
    Ok(())
}
