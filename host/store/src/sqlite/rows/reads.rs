//! Records of what runs read, beside their attempts.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use crate::query::RecordedReads;
use crate::settle::NewReads;
use crate::sqlite::format::{num, payloads, schema};

/// A record as it is stored.
pub(crate) struct PackedReads {
    data: Option<Bytes>,
    packed: Option<i64>,
    size: i64,
}

impl PackedReads {
    pub(crate) fn of(reads: &NewReads) -> Self {
        match reads {
            NewReads::Kept(text) => {
                let (data, packed) = payloads::pack_text(text);
                let packed = packed.map(num::column);
                Self { data: Some(data), packed, size: num::column(text.len()) }
            }
            NewReads::TooLarge(size) => Self { data: None, packed: None, size: num::column(*size) },
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.data.as_ref().map_or(0, Bytes::len)
    }

    /// Writes the record of an attempt.
    pub(crate) fn write(&self, conn: &Connection, attempt: i64) -> rusqlite::Result<()> {
        conn.prepare_cached(
            "INSERT INTO attempt_reads (attempt, data, packed, size) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![attempt, self.data.as_deref(), self.packed, self.size])?;
        Ok(())
    }
}

/// Reads the record of an attempt.
pub(crate) fn read(conn: &Connection, attempt: i64) -> rusqlite::Result<RecordedReads> {
    let row: Option<(Option<Vec<u8>>, Option<i64>, i64)> = conn
        .prepare_cached("SELECT data, packed, size FROM attempt_reads WHERE attempt = ?1")?
        .query_row([attempt], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    Ok(match row {
        Some((Some(data), packed, _)) => payloads::unpack_text(&data, packed.map(num::length))
            .map_or(RecordedReads::Unknown, RecordedReads::Kept),
        Some((None, _, size)) => RecordedReads::TooLarge(num::count(size)),
        None => {
            let from: i64 = schema::meta(conn, "reads_from")?.unwrap_or(0);
            if attempt < from { RecordedReads::Unknown } else { RecordedReads::None }
        }
    })
}

/// Removes the record of an attempt.
pub(crate) fn remove(conn: &Connection, attempt: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM attempt_reads WHERE attempt = ?1")?.execute([attempt])?;
    Ok(())
}
