//! The rows in states that few rows are in, so that lists find them without a search: unfinished
//! and dead deliveries, cancelled ones, and unrouted events. All other deliveries are processed.

use rusqlite::Connection;
use weir_core::delivery::DeliveryState;

use crate::sqlite::memory::number_set::NumberSet;

/// Rows by state, for readers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listed {
    pub(crate) pending: NumberSet,
    pub(crate) retrying: NumberSet,
    pub(crate) dead: NumberSet,
    pub(crate) cancelled: NumberSet,
    /// Events without a delivery.
    pub(crate) unrouted: NumberSet,
}

impl Listed {
    /// Loads what is over. What waits is added with the due queues.
    pub(crate) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        let read = |sql: &str| -> rusqlite::Result<NumberSet> {
            let mut set = NumberSet::default();
            let mut statement = conn.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                set.insert(row.get(0)?);
            }
            Ok(set)
        };
        Ok(Self {
            dead: read("SELECT n FROM delivery WHERE state = 4")?,
            cancelled: read("SELECT n FROM delivery WHERE state = 5")?,
            unrouted: read("SELECT n FROM event WHERE deliveries = 0")?,
            ..Self::default()
        })
    }

    /// Moves a delivery from one state to another; none is a delivery that is new or removed.
    pub(crate) fn moved(&mut self, n: i64, from: Option<DeliveryState>, to: Option<DeliveryState>) {
        if let Some(set) = from.and_then(|state| self.of(state)) {
            set.remove(n);
        }
        if let Some(set) = to.and_then(|state| self.of(state)) {
            set.insert(n);
        }
    }

    fn of(&mut self, state: DeliveryState) -> Option<&mut NumberSet> {
        match state {
            DeliveryState::Pending => Some(&mut self.pending),
            DeliveryState::Retrying => Some(&mut self.retrying),
            DeliveryState::DeadLetter => Some(&mut self.dead),
            DeliveryState::Cancelled => Some(&mut self.cancelled),
            DeliveryState::Processing | DeliveryState::Processed => None,
        }
    }
}
