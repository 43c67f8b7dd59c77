//! Storing the compression dictionary of a source.

use rusqlite::params;
use std::sync::Arc;

use crate::sqlite::engine::group::{WriteError, Writing};
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::num;

pub(crate) fn keep_dictionary(
    writing: &mut Writing<'_>,
    source: &str,
    data: Vec<u8>,
) -> Result<(), WriteError> {
    let name = writing.name(source)?;
    writing
        .conn
        .prepare_cached("INSERT INTO dictionary (source, made_at, data) VALUES (?1, ?2, ?3)")?
        .execute(params![name, num::stored_time(writing.now.wall), data])?;
    let n = writing.conn.last_insert_rowid();
    let source: Arc<str> = source.into();
    writing.post_commit.on_commit.push(Box::new(move |shared: &Shared| {
        shared.packer.publish(n, &source, data);
    }));
    Ok(())
}
