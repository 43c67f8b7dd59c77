//! Order keys: the head of each line, and queueing a delivery only when it is the head.

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::delivery::Fence;

use crate::sqlite::format::names::NameId;
use crate::sqlite::format::num;
use crate::sqlite::memory::due::{Due, DueEntry, QueueKey};
use crate::sqlite::rows::delivery::Delivery;

/// Fresh deliveries looked at for one refill, however few of them are wanted.
pub(crate) const ROWS_AT_ONCE: i64 = 65_536;

/// Queues a delivery if it is the head of its order key.
pub(crate) fn enqueue(
    conn: &Connection,
    due: &mut Due,
    queue_key: QueueKey,
    entry: DueEntry,
) -> bool {
    if let Some(key) = &entry.order_key {
        match due.head(queue_key.target, key) {
            Some(head) if head != entry.n => return false,
            Some(_) => {}
            None => match head_on_disk(conn, queue_key.target, key) {
                Ok(head) if head == Some(entry.n) => {}
                Ok(_) => return false,
                Err(e) => {
                    tracing::warn!(error = %e, "could not look for the head of an order key");
                    return false;
                }
            },
        }
    }
    due.feed(queue_key, entry)
}

/// The head of an order key: its first waiting delivery. A replayed delivery goes to the end.
pub(crate) fn head_on_disk(
    conn: &Connection,
    target: NameId,
    key: &str,
) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached(
        "SELECT n FROM delivery WHERE target = ?1 AND order_key = ?2 AND state IN (0, 2)
         ORDER BY ifnull(turn, n) LIMIT 1",
    )?
    .query_row(params![target, key], |row| row.get(0))
    .optional()
}

pub(crate) fn next_in_order(
    conn: &Connection,
    target: NameId,
    key: &str,
) -> rusqlite::Result<Option<(QueueKey, DueEntry)>> {
    let Some(n) = head_on_disk(conn, target, key)? else { return Ok(None) };
    let delivery = Delivery::read(conn, n)?;
    Ok(delivery.map(|d| (d.queue_key, d.entry())))
}

/// A queue entry from the columns n, due_at, generation, attempts, order_key.
pub(crate) fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<DueEntry> {
    let (generation, attempts): (u32, u32) = (row.get(2)?, row.get(3)?);
    Ok(DueEntry {
        n: row.get(0)?,
        due_at: row.get::<_, Option<i64>>(1)?.map(num::time),
        fence: Fence { generation, attempt: attempts + 1 },
        order_key: row.get::<_, Option<String>>(4)?.map(Into::into),
        handoff: None,
    })
}
