//! A text that the bodies of events have to contain.

use memchr::memmem::Finder;
use rusqlite::{Connection, OptionalExtension};

use crate::query::EventFilter;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::num;

/// Bytes of bodies that one page or count searches: about a tenth of a second.
const BYTES_AT_ONCE: usize = 64 * 1024 * 1024;

/// Bytes that reading one body costs at least, whatever its size.
const BYTES_OF_A_READ: usize = 4 * 1024;

/// The text of a filter, and how much may still be searched for it.
pub(super) struct BodyText<'f> {
    finder: Finder<'f>,
    left: usize,
}

impl<'f> BodyText<'f> {
    /// None if the filter has no text.
    pub(super) fn of(filter: &'f EventFilter) -> Option<Self> {
        let text = filter.text.as_deref().filter(|text| !text.is_empty())?;
        Some(Self { finder: Finder::new(text.as_bytes()), left: BYTES_AT_ONCE })
    }

    /// True if no further body may be searched.
    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// True if the body of an event contains the text. One that cannot be read does not.
    pub(super) fn is_in(
        &mut self,
        shared: &Shared,
        conn: &Connection,
        event: i64,
    ) -> rusqlite::Result<bool> {
        let found: Option<(i64, i64)> = conn
            .prepare_cached("SELECT payload, size FROM event WHERE n = ?1")?
            .query_row([event], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((payload, size)) = found else { return Ok(false) };
        self.left = self.left.saturating_sub(num::length(size).max(BYTES_OF_A_READ));
        let payload = shared.packer.read(conn, payload)?;
        Ok(payload.is_ok_and(|payload| self.finder.find(&payload.body).is_some()))
    }
}
