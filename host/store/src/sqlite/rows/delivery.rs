//! A delivery's row, as claims, settlements and replays read it.

use std::sync::Arc;

use rusqlite::OptionalExtension;
use weir_core::delivery::{DeliveryState, Fence};
use weir_core::time::Timestamp;

use crate::sqlite::format::num;
use crate::sqlite::memory::due::{DueEntry, QueueKey};

/// A delivery's row.
pub(crate) struct Delivery {
    pub(crate) n: i64,
    pub(crate) event: i64,
    pub(crate) event_at: Timestamp,
    pub(crate) queue_key: QueueKey,
    pub(crate) state: Option<DeliveryState>,
    pub(crate) generation: u32,
    pub(crate) attempts: u32,
    pub(crate) due_at: Option<Timestamp>,
    pub(crate) last_attempt: Option<i64>,
    pub(crate) order_key: Option<Arc<str>>,
    /// Position among the deliveries of its order key.
    pub(crate) turn: i64,
    pub(crate) keyed: Option<i64>,
    pub(crate) id_round: u32,
}

impl Delivery {
    pub(crate) fn read(conn: &rusqlite::Connection, n: i64) -> rusqlite::Result<Option<Self>> {
        conn.prepare_cached(
            "SELECT d.event, e.at, d.target, d.source, d.state, d.generation, d.attempts, d.due_at,
               d.last_attempt, d.order_key, d.keyed, d.id_round, ifnull(d.turn, d.n)
             FROM delivery d JOIN event e ON e.n = d.event WHERE d.n = ?1",
        )?
        .query_row([n], |row| {
            Ok(Self {
                n,
                event: row.get(0)?,
                event_at: num::time(row.get(1)?),
                queue_key: QueueKey { target: row.get(2)?, source: row.get(3)? },
                state: DeliveryState::from_stored(row.get(4)?),
                generation: row.get(5)?,
                attempts: row.get(6)?,
                due_at: row.get::<_, Option<i64>>(7)?.map(num::time),
                last_attempt: row.get(8)?,
                order_key: row.get::<_, Option<String>>(9)?.map(Into::into),
                keyed: row.get(10)?,
                id_round: row.get::<_, Option<u32>>(11)?.unwrap_or(0),
                turn: row.get(12)?,
            })
        })
        .optional()
    }

    /// True if it waits for an attempt.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.state, Some(DeliveryState::Pending | DeliveryState::Retrying))
    }

    /// Its entry in a due queue.
    pub(crate) fn entry(&self) -> DueEntry {
        DueEntry {
            n: self.n,
            due_at: self.due_at,
            fence: self.fence(),
            order_key: self.order_key.clone(),
            handoff: None,
        }
    }

    /// Fence of its next attempt.
    pub(crate) fn fence(&self) -> Fence {
        Fence { generation: self.generation, attempt: self.attempts + 1 }
    }
}
