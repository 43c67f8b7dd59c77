//! Reading a page of a handler's state.

use rusqlite::params;
use weir_core::name::Target;
use weir_core::state::StateEntry;

use crate::handler_state::{StatePage, StateQuery, StoredStateValue};
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::num;
use crate::sqlite::write::state;

/// Bytes of the values of one page.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// The values of a page that have not expired. A page ends early before it is too large.
pub(crate) fn page(shared: &Shared, query: &StateQuery) -> rusqlite::Result<StatePage> {
    let StateQuery { handler, prefix, after, limit } = query;
    let name = Target::Handler(handler.clone()).to_string();
    let Some(handler) = shared.names.find(&name) else { return Ok(StatePage::default()) };
    let now = num::stored_time(shared.clock.now());
    shared.readers.with(|conn| {
        let mut page = StatePage { size: state::size(conn, handler)?, ..StatePage::default() };
        let mut statement = conn.prepare_cached(
            "SELECT key, value, version, expires_at FROM state
             WHERE handler = ?1 AND key >= ?2 AND key > ?3
               AND (expires_at IS NULL OR expires_at > ?4) ORDER BY key",
        )?;
        let mut rows = statement.query(params![handler, prefix, after, now])?;
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let key: String = row.get(0)?;
            if !key.starts_with(&**prefix) {
                break;
            }
            if page.values.len() >= *limit || bytes >= PAGE_BYTES_MAX {
                page.more = true;
                break;
            }
            let value: String = row.get(1)?;
            bytes += value.len();
            let entry = StateEntry {
                value: value.into(),
                version: num::count(row.get(2)?),
                expires_at: row.get::<_, Option<i64>>(3)?.map(num::time),
            };
            page.values.push(StoredStateValue { key: key.into(), entry });
        }
        Ok(page)
    })
}
