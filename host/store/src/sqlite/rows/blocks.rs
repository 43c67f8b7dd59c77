//! Blocks of events and deliveries: reading one from its row or from the rows that it stands for,
//! writing it, and removing rows from it.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::event::Category;

use crate::sqlite::format::block::{BLOCK, Block, Class, DeliveryClass, EventClass};
use crate::sqlite::format::damage::{is_unreadable, read_around_damage};

/// Writes a block of events. False if it has none.
pub(crate) fn write_events(conn: &Connection, block: i64) -> rusqlite::Result<bool> {
    let rows = events_of_rows(conn, block)?;
    let has_rows = rows.present().next().is_some();
    if has_rows {
        store_events(conn, block, &rows)?;
    }
    Ok(has_rows)
}

/// Writes a block of deliveries. False if it has none.
pub(crate) fn write_deliveries(conn: &Connection, block: i64) -> rusqlite::Result<bool> {
    let rows = deliveries_of_rows(conn, block)?;
    let has_rows = rows.present().next().is_some();
    if has_rows {
        store_deliveries(conn, block, &rows)?;
    }
    Ok(has_rows)
}

fn store_events(conn: &Connection, n: i64, block: &Block<EventClass>) -> rusqlite::Result<()> {
    let times = || block.present().map(|(_, row)| row.number);
    let times = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    conn.prepare_cached(
        "INSERT OR REPLACE INTO event_block (block, first_at, last_at, data) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![n, times.0, times.1, block.pack()])?;
    Ok(())
}

fn store_deliveries(
    conn: &Connection,
    n: i64,
    block: &Block<DeliveryClass>,
) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO delivery_block (block, data) VALUES (?1, ?2)")?
        .execute(params![n, block.pack()])?;
    Ok(())
}

/// A block of events from its row; from the rows of the events if there is none, or if it cannot be
/// read.
pub(crate) fn events(conn: &Connection, block: i64) -> rusqlite::Result<Block<EventClass>> {
    let data = stored(conn, "SELECT data FROM event_block WHERE block = ?1", block)?;
    match data.and_then(|data| Block::unpack(&data)) {
        Some(block) => Ok(block),
        None => events_of_rows(conn, block),
    }
}

/// A block of deliveries, in the same way.
pub(crate) fn deliveries(conn: &Connection, block: i64) -> rusqlite::Result<Block<DeliveryClass>> {
    let data = stored(conn, "SELECT data FROM delivery_block WHERE block = ?1", block)?;
    match data.and_then(|data| Block::unpack(&data)) {
        Some(block) => Ok(block),
        None => deliveries_of_rows(conn, block),
    }
}

fn stored(conn: &Connection, sql: &str, block: i64) -> rusqlite::Result<Option<Vec<u8>>> {
    match conn.prepare_cached(sql)?.query_row([block], |row| row.get(0)).optional() {
        Err(e) if is_unreadable(&e) => Ok(None),
        read => read,
    }
}

fn events_of_rows(conn: &Connection, block: i64) -> rusqlite::Result<Block<EventClass>> {
    let sql =
        "SELECT n, source, type, category, at FROM event WHERE n >= ?1 AND n <= ?2 ORDER BY n";
    of_rows(conn, block, sql, |row| {
        let category = row.get_ref(3)?.as_str_or_null().ok().flatten();
        let class = EventClass {
            source: row.get(1)?,
            kind: row.get(2)?,
            category: category.and_then(Category::parse),
        };
        Ok((row.get(0)?, class, row.get(4)?))
    })
}

fn deliveries_of_rows(conn: &Connection, block: i64) -> rusqlite::Result<Block<DeliveryClass>> {
    let sql = "SELECT n, target, source, event FROM delivery WHERE n >= ?1 AND n <= ?2 ORDER BY n";
    of_rows(conn, block, sql, |row| {
        let class = DeliveryClass { target: row.get(1)?, source: row.get(2)? };
        Ok((row.get(0)?, class, row.get(3)?))
    })
}

/// Reads the rows of a block, except those that are damaged.
fn of_rows<C: Class>(
    conn: &Connection,
    block: i64,
    sql: &str,
    read: fn(&rusqlite::Row<'_>) -> rusqlite::Result<(i64, C, i64)>,
) -> rusqlite::Result<Block<C>> {
    let first = block.saturating_mul(BLOCK);
    let mut rows = |first: i64, last: i64| -> rusqlite::Result<Vec<(i64, C, i64)>> {
        conn.prepare_cached(sql)?.query_map([first, last], read)?.collect()
    };
    let mut holes = Vec::new();
    let found = read_around_damage((first, first + BLOCK - 1), &mut rows, &mut holes)?;
    let placed = |(n, class, number)| Some((place(n)?, class, number));
    Ok(Block::of(found.into_iter().filter_map(placed)))
}

/// The place of a row in its block.
fn place(n: i64) -> Option<usize> {
    usize::try_from(n.rem_euclid(BLOCK)).ok()
}

/// Removes the events and deliveries with these numbers from their blocks, and blocks without rows.
pub(crate) fn remove(
    conn: &Connection,
    gone_events: &[i64],
    gone_deliveries: &[i64],
) -> rusqlite::Result<()> {
    for (block, places) in by_block(gone_events) {
        let data = stored(conn, "SELECT data FROM event_block WHERE block = ?1", block)?;
        let Some(mut rows) = data.and_then(|data| Block::<EventClass>::unpack(&data)) else {
            continue;
        };
        if rows.remove(places) {
            conn.prepare_cached("DELETE FROM event_block WHERE block = ?1")?.execute([block])?;
        } else {
            store_events(conn, block, &rows)?;
        }
    }
    for (block, places) in by_block(gone_deliveries) {
        let data = stored(conn, "SELECT data FROM delivery_block WHERE block = ?1", block)?;
        let Some(mut rows) = data.and_then(|data| Block::<DeliveryClass>::unpack(&data)) else {
            continue;
        };
        if rows.remove(places) {
            conn.prepare_cached("DELETE FROM delivery_block WHERE block = ?1")?.execute([block])?;
        } else {
            store_deliveries(conn, block, &rows)?;
        }
    }
    Ok(())
}

fn by_block(numbers: &[i64]) -> BTreeMap<i64, Vec<usize>> {
    let mut blocks: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for n in numbers {
        blocks.entry(n.div_euclid(BLOCK)).or_default().extend(place(*n));
    }
    blocks
}
