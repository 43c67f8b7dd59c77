//! Business keys of events.

use rusqlite::{Connection, params};
use weir_core::business_key::{BusinessKey, KeyName};

use crate::sqlite::format::names::{NameId, Names};
use crate::sqlite::memory::number_set::NumberSet;

/// Most events that one look-up finds: the newest.
const EVENTS_MAX: u32 = 1_000_000;

/// The name of a key as the table of names has it.
pub(crate) fn stored_name(name: &KeyName) -> String {
    format!("key:{name}")
}

/// Writes a key of an event.
pub(crate) fn write(
    conn: &Connection,
    event: i64,
    name: NameId,
    value: &str,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT OR IGNORE INTO event_key (event, name, value) VALUES (?1, ?2, ?3)",
    )?
    .execute(params![event, name, value])?;
    Ok(())
}

/// Reads the keys of an event.
pub(crate) fn read(
    names: &Names,
    conn: &Connection,
    event: i64,
) -> rusqlite::Result<Vec<BusinessKey>> {
    let mut statement =
        conn.prepare_cached("SELECT name, value FROM event_key WHERE event = ?1 ORDER BY name")?;
    let rows = statement.query_map([event], |row| {
        let stored = names.text(row.get(0)?);
        let value: String = row.get(1)?;
        let name = stored.strip_prefix("key:").and_then(|name| KeyName::new(name).ok());
        Ok(name.map(|name| BusinessKey { name, value: value.into() }))
    })?;
    rows.filter_map(Result::transpose).collect()
}

/// The events that have one of these keys. The store may know none of the names.
pub(crate) fn events_with(
    names: &Names,
    conn: &Connection,
    keys: &[BusinessKey],
) -> rusqlite::Result<NumberSet> {
    let mut found = NumberSet::default();
    for key in keys {
        let Some(name) = names.find(&stored_name(&key.name)) else { continue };
        let mut statement = conn.prepare_cached(
            "SELECT event FROM event_key WHERE name = ?1 AND value = ?2 ORDER BY event DESC
             LIMIT ?3",
        )?;
        let mut rows = statement.query(params![name, key.value, EVENTS_MAX])?;
        while let Some(row) = rows.next()? {
            found.insert(row.get(0)?);
        }
    }
    Ok(found)
}

/// Removes the keys of an event.
pub(crate) fn remove(conn: &Connection, event: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM event_key WHERE event = ?1")?.execute([event])?;
    Ok(())
}
