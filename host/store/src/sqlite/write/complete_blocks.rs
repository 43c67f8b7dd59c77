//! Writing a block of events or deliveries when its last row is stored, and those of a store from
//! before there were blocks.

use rusqlite::{Connection, OptionalExtension};

use crate::sqlite::format::block::BLOCK;
use crate::sqlite::format::next_numbers::NextNumbers;
use crate::sqlite::rows::blocks;

/// The first blocks that are not written: on disk, and as this group writes them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CompleteBlocks {
    events: [i64; 2],
    deliveries: [i64; 2],
}

impl CompleteBlocks {
    pub(crate) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            events: [first_unwritten(conn, "event")?; 2],
            deliveries: [first_unwritten(conn, "delivery")?; 2],
        })
    }

    /// True if a complete block is not written.
    pub(crate) fn behind(&self, next: &NextNumbers) -> bool {
        self.events[0] < next.event / BLOCK || self.deliveries[0] < next.delivery / BLOCK
    }

    /// Writes at most one block of each kind, so that no group takes long.
    pub(crate) fn write(&mut self, conn: &Connection, next: &NextNumbers) -> rusqlite::Result<()> {
        if self.events[1] < next.event / BLOCK {
            blocks::write_events(conn, self.events[1])?;
            self.events[1] += 1;
        }
        if self.deliveries[1] < next.delivery / BLOCK {
            blocks::write_deliveries(conn, self.deliveries[1])?;
            self.deliveries[1] += 1;
        }
        Ok(())
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

/// The first block of a table that is not written: blocks are written in order, from that of the
/// first row on.
fn first_unwritten(conn: &Connection, table: &str) -> rusqlite::Result<i64> {
    let newest: Option<i64> = conn
        .query_row(&format!("SELECT max(block) FROM {table}_block"), [], |row| row.get(0))
        .optional()?
        .flatten();
    let first: Option<i64> =
        conn.query_row(&format!("SELECT min(n) FROM {table}"), [], |row| row.get(0))?;
    Ok(newest.map_or(0, |newest| newest + 1).max(first.map_or(0, |n| n / BLOCK)))
}
