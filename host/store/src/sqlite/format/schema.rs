//! The schema: creating and expanding the tables, the store's secrets, and its facts in `meta`.

use rand::TryRng;
use rand::rngs::SysRng;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;
use crate::sqlite::format::failure::reader_error;
use crate::sqlite::format::num;
use crate::upkeep::StoreFormat;

/// The format that this program writes, kept in `user_version`.
pub(crate) const FORMAT: u32 = 1;

/// Oldest program that may write to a store of this one.
const MINIMUM_HOST: &str = "0.1.0";

const SCHEMA: &str = include_str!("schema.sql");

/// Additions to the format, in order. Each is applied once, to a new store too; `meta.expansions`
/// counts them. An older program ignores them.
const EXPANSIONS: [&str; 11] = [
    include_str!("expansion-1.sql"),
    include_str!("expansion-2.sql"),
    include_str!("expansion-3.sql"),
    include_str!("expansion-4.sql"),
    include_str!("expansion-5.sql"),
    include_str!("expansion-6.sql"),
    include_str!("expansion-7.sql"),
    include_str!("expansion-8.sql"),
    include_str!("expansion-9.sql"),
    include_str!("expansion-10.sql"),
    include_str!("expansion-11.sql"),
];

/// `WEIR` as a number, by which `file` recognises the database.
const APPLICATION_ID: i64 = 0x5745_4952;

/// Secrets of a store, made when it is created.
#[derive(Clone)]
pub(crate) struct Keys {
    /// Mixes row numbers into public ids.
    pub(crate) ids: [u8; 16],
    /// Hashes dedup material.
    pub(crate) dedup: [u8; 16],
}

/// Refuses a file that is not a store, or one that a newer program wrote.
pub(crate) fn refuse_other(conn: &Connection) -> Result<(), StoreError> {
    let failed = |cause: rusqlite::Error| reader_error("open the file", &cause);
    let id: i64 = conn.query_row("PRAGMA application_id", [], |r| r.get(0)).map_err(failed)?;
    let format: u32 = conn.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(failed)?;
    match format {
        _ if id != APPLICATION_ID => Err(StoreError::Invalid("it is not a store of weir".into())),
        format if format > FORMAT => Err(StoreError::TooNew { found: format, known: FORMAT }),
        _ => Ok(()),
    }
}

/// The format of a store, and the additions that the next start makes.
pub(crate) fn compare(conn: &Connection) -> Result<StoreFormat, StoreError> {
    refuse_other(conn)?;
    let failed = |cause: rusqlite::Error| reader_error("read the format of the store", &cause);
    let found: u32 = conn.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(failed)?;
    let done = meta::<i64>(conn, "expansions").map_err(failed)?.map_or(0, num::length);
    let pending = EXPANSIONS.iter().skip(done).map(|expansion| purpose(expansion)).collect();
    Ok(StoreFormat { found, known: FORMAT, pending })
}

/// The comment of an expansion that says what its first addition is for.
fn purpose(expansion: &str) -> String {
    let after_title = expansion.lines().skip_while(|line| !line.is_empty());
    let comment = after_title.skip_while(|line| !line.starts_with("-- "));
    let comment = comment.map_while(|line| line.strip_prefix("-- "));
    comment.collect::<Vec<_>>().join(" ")
}

/// Creates the tables in a new file, refuses a newer format, and returns the store's secrets.
pub(crate) fn prepare(conn: &Connection) -> Result<Keys, StoreError> {
    let failed = |cause: rusqlite::Error| reader_error("open the store", &cause);
    let format: u32 = conn.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(failed)?;
    if format > FORMAT {
        return Err(StoreError::TooNew { found: format, known: FORMAT });
    }
    if format == 0 {
        let strangers: i64 = conn
            .query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))
            .map_err(failed)?;
        if strangers > 0 {
            return Err(StoreError::Invalid("the file is the database of another program".into()));
        }
        create(conn, &new_keys()?).map_err(failed)?;
    }
    expand(conn).map_err(failed)?;
    read_keys(conn)
        .map_err(failed)?
        .ok_or_else(|| StoreError::Damaged("its secrets are missing".into()))
}

fn expand(conn: &Connection) -> rusqlite::Result<()> {
    let done: usize = meta::<i64>(conn, "expansions")?.map_or(0, num::length);
    for (index, expansion) in EXPANSIONS.iter().enumerate().skip(done) {
        let tx = conn.unchecked_transaction()?;
        tx.execute_batch(expansion)?;
        set_meta(&tx, "expansions", &num::column(index + 1))?;
        tx.commit()?;
    }
    Ok(())
}

fn new_keys() -> Result<Keys, StoreError> {
    let mut keys = Keys { ids: [0; 16], dedup: [0; 16] };
    for key in [&mut keys.ids, &mut keys.dedup] {
        SysRng
            .try_fill_bytes(key)
            .map_err(|e| StoreError::engine("make the store's secrets", e))?;
    }
    Ok(keys)
}

fn create(conn: &Connection, keys: &Keys) -> rusqlite::Result<()> {
    let tx = conn.unchecked_transaction()?;
    tx.execute_batch(SCHEMA)?;
    set_meta(&tx, "minimum_host", &MINIMUM_HOST)?;
    set_meta(&tx, "id_key", &keys.ids)?;
    set_meta(&tx, "dedup_key", &keys.dedup)?;
    tx.execute_batch(&format!(
        "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"
    ))?;
    tx.commit()
}

pub(crate) fn read_keys(conn: &Connection) -> rusqlite::Result<Option<Keys>> {
    let key = |name: &str| -> rusqlite::Result<Option<[u8; 16]>> {
        let stored: Option<Vec<u8>> = meta(conn, name)?;
        Ok(stored.and_then(|bytes| bytes.try_into().ok()))
    };
    let (Some(ids), Some(dedup)) = (key("id_key")?, key("dedup_key")?) else { return Ok(None) };
    Ok(Some(Keys { ids, dedup }))
}

/// One fact about the store.
pub(crate) fn meta<T: rusqlite::types::FromSql>(
    conn: &Connection,
    key: &str,
) -> rusqlite::Result<Option<T>> {
    conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()
}

/// Writes one fact about the store.
pub(crate) fn set_meta(
    conn: &Connection,
    key: &str,
    value: &dyn rusqlite::ToSql,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
    )?
    .execute(params![key, value])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expansion_says_what_it_is_for() {
        for expansion in EXPANSIONS {
            assert!(purpose(expansion).ends_with('.'), "{expansion}");
        }
        assert!(purpose(EXPANSIONS[1]).starts_with("Answers of responders"));
    }
}
