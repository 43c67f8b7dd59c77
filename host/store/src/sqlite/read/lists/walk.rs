//! Walking over the blocks of a table in the direction of a page.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use rusqlite::Connection;

use super::PageStart;
use crate::sqlite::format::block::BLOCK;

/// A table with blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Event,
    Delivery,
}

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Delivery => "delivery",
        }
    }
}

/// The blocks that a page may need, in its direction: those that are written, and those of newer
/// rows; or only these ones.
pub(super) fn blocks(
    conn: &Connection,
    table: Table,
    start: PageStart,
    among: Option<BTreeSet<i64>>,
) -> rusqlite::Result<Vec<i64>> {
    let mut blocks = match among {
        Some(among) => among.into_iter().collect(),
        None => all_blocks(conn, table)?,
    };
    let from = match start {
        PageStart::Newest => None,
        PageStart::Older(n) | PageStart::Newer(n) => Some(n.div_euclid(BLOCK)),
    };
    if start.is_newer() {
        blocks.retain(|block| from.is_none_or(|from| *block >= from));
    } else {
        blocks.retain(|block| from.is_none_or(|from| *block <= from));
        blocks.reverse();
    }
    Ok(blocks)
}

fn all_blocks(conn: &Connection, table: Table) -> rusqlite::Result<Vec<i64>> {
    let name = table.name();
    let sql = format!("SELECT block FROM {name}_block ORDER BY block");
    let mut blocks = conn
        .prepare_cached(&sql)?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    let sql = format!(
        "SELECT min(n), max(n) FROM (SELECT min(n) AS n FROM {name} UNION ALL SELECT max(n) FROM {name})"
    );
    let (first, last): (Option<i64>, Option<i64>) =
        conn.prepare_cached(&sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if let (Some(first), Some(last)) = (first, last) {
        let unwritten = blocks.last().map_or(first / BLOCK, |newest| newest + 1);
        blocks.extend(unwritten.max(first / BLOCK)..=last / BLOCK);
    }
    Ok(blocks)
}

/// The last number of a block in the direction of the page, at which a search can go on.
pub(super) fn end_of(block: i64, start: PageStart) -> i64 {
    block * BLOCK + if start.is_newer() { BLOCK - 1 } else { 0 }
}

/// Calls `each` for the present places of a block, in the direction of the page.
pub(super) fn places(
    block: i64,
    rows: impl DoubleEndedIterator<Item = usize>,
    start: PageStart,
    mut each: impl FnMut(usize, i64) -> rusqlite::Result<ControlFlow<()>>,
) -> rusqlite::Result<ControlFlow<()>> {
    let number = |place: usize| block * BLOCK + i64::try_from(place).unwrap_or(0);
    let mut visit = |place: usize| match start.has(number(place)) {
        true => each(place, number(place)),
        false => Ok(ControlFlow::Continue(())),
    };
    if start.is_newer() {
        for place in rows {
            if visit(place)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    } else {
        for place in rows.rev() {
            if visit(place)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}
