//! Writing a block of events or deliveries when its last row is stored, and those of a store from
//! before there were blocks.

use rusqlite::{Connection, OptionalExtension};

use crate::sqlite::format::block::BLOCK;
use crate::sqlite::format::damage::is_damage;
use crate::sqlite::format::next_numbers::NextNumbers;
use crate::sqlite::rows::blocks;

/// Blocks without rows that are passed at once.
const EMPTY_AT_ONCE: usize = 64;

/// The first blocks that are not written: on disk, and as this group writes them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CompleteBlocks {
    events: [i64; 2],
    deliveries: [i64; 2],
    /// True after a block could not be written because the file is damaged. Lists then read rows.
    stopped: bool,
}

impl CompleteBlocks {
    pub(crate) fn load(conn: &Connection, next: &NextNumbers) -> rusqlite::Result<Self> {
        Ok(Self {
            events: [first_unwritten(conn, "event", next.event)?; 2],
            deliveries: [first_unwritten(conn, "delivery", next.delivery)?; 2],
            stopped: false,
        })
    }

    /// True if a complete block is not written.
    pub(crate) fn behind(&self, next: &NextNumbers) -> bool {
        !self.stopped
            && (self.events[0] < next.event / BLOCK || self.deliveries[0] < next.delivery / BLOCK)
    }

    /// Writes at most one block of each kind, so that no group takes long.
    pub(crate) fn write(&mut self, conn: &Connection, next: &NextNumbers) -> rusqlite::Result<()> {
        if self.stopped {
            return Ok(());
        }
        match self.write_complete(conn, next) {
            Err(e) if is_damage(&e) => {
                tracing::warn!(error = %e, "blocks of rows cannot be written: lists are slower");
                self.stopped = true;
                Ok(())
            }
            written => written,
        }
    }

    fn write_complete(&mut self, conn: &Connection, next: &NextNumbers) -> rusqlite::Result<()> {
        let (events, deliveries) = (next.event / BLOCK, next.delivery / BLOCK);
        write_one(&mut self.events[1], events, |block| blocks::write_events(conn, block))?;
        let write = |block| blocks::write_deliveries(conn, block);
        write_one(&mut self.deliveries[1], deliveries, write)
    }

    /// The commit held.
    pub(crate) fn committed(&mut self) {
        self.events[0] = self.events[1];
        self.deliveries[0] = self.deliveries[1];
    }

    pub(crate) fn rolled_back(&mut self) {
        self.events[1] = self.events[0];
        self.deliveries[1] = self.deliveries[0];
    }
}

/// Writes the first complete block that is not written and has rows.
fn write_one(
    unwritten: &mut i64,
    complete: i64,
    write: impl Fn(i64) -> rusqlite::Result<bool>,
) -> rusqlite::Result<()> {
    let mut empty = 0;
    while *unwritten < complete && empty < EMPTY_AT_ONCE {
        let has_rows = write(*unwritten)?;
        *unwritten += 1;
        if has_rows {
            break;
        }
        empty += 1;
    }
    Ok(())
}

/// The first block of a table that is not written: blocks are written in order, from that of the
/// first row on.
fn first_unwritten(conn: &Connection, table: &str, next: i64) -> rusqlite::Result<i64> {
    let newest: Option<i64> = conn
        .query_row(&format!("SELECT max(block) FROM {table}_block"), [], |row| row.get(0))
        .optional()?
        .flatten();
    let first: Option<i64> =
        conn.query_row(&format!("SELECT min(n) FROM {table}"), [], |row| row.get(0))?;
    Ok(newest.map_or(0, |newest| newest + 1).max(first.unwrap_or(next) / BLOCK))
}
