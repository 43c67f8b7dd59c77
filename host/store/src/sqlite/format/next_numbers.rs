//! The next number of each table that rows are appended to.

use rusqlite::Connection;

use crate::sqlite::format::schema;

#[derive(Debug, Clone, Copy)]
pub(crate) struct NextNumbers {
    pub(crate) request: i64,
    pub(crate) event: i64,
    pub(crate) payload: i64,
    pub(crate) delivery: i64,
    pub(crate) attempt: i64,
    pub(crate) state_version: i64,
    pub(crate) registry_version: i64,
}

impl NextNumbers {
    pub(crate) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        let above = |table: &str, column: &str| {
            let sql = format!("SELECT coalesce(max({column}), 0) + 1 FROM {table}");
            conn.query_row(&sql, [], |row| row.get(0))
        };
        // The last rows may have been removed, and a number must never be used twice.
        let kept = |key: &str, found: i64| -> rusqlite::Result<i64> {
            Ok(schema::meta::<i64>(conn, key)?.unwrap_or(1).max(found))
        };
        Ok(Self {
            request: kept("next_request", above("request", "n")?)?,
            event: kept("next_event", above("event", "n")?)?,
            payload: above("payload", "n")?,
            delivery: kept("next_delivery", above("delivery", "n")?)?,
            attempt: kept("next_attempt", above("attempt", "n")?)?,
            state_version: kept("next_state_version", above("state", "version")?)?,
            registry_version: kept("next_registry_version", above("registry", "version")?)?,
        })
    }

    /// Stores the numbers, so that removed rows cannot lower them.
    pub(crate) fn save(&self, conn: &Connection) -> rusqlite::Result<()> {
        for (key, value) in [
            ("next_request", self.request),
            ("next_event", self.event),
            ("next_delivery", self.delivery),
            ("next_attempt", self.attempt),
            ("next_state_version", self.state_version),
            ("next_registry_version", self.registry_version),
        ] {
            schema::set_meta(conn, key, &value)?;
        }
        Ok(())
    }
}

/// Takes the next number.
pub(crate) fn take(next: &mut i64) -> i64 {
    let n = *next;
    *next += 1;
    n
}
