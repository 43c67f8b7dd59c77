//! Troubles of a store that goes on working: told by health, metrics and alerts.

use std::sync::Arc;

use weir_core::time::Timestamp;

/// Troubles of a store that goes on working.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// Since when the disk is full: requests are refused until there is room.
    pub full_since: Option<Timestamp>,
    /// Rows that could not be read since the start, and were set aside.
    pub unreadable: u64,
    /// Rows that were acknowledged before the start and are not in the store any more.
    pub lost: Vec<LostRows>,
}

/// Rows that cannot be read and were set aside: what needs them is not done, all else goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRows {
    /// `delivery`, `event`, `request` or `payload`.
    pub what: &'static str,
    /// The row's number, or the first of several.
    pub first: i64,
    /// The last of them.
    pub last: i64,
    /// The public id of the delivery, where that can still be told.
    pub id: Option<Arc<str>>,
    /// The target of the delivery, where that can still be told.
    pub target: Option<Arc<str>>,
    /// Why it cannot be read.
    pub reason: Arc<str>,
    /// When that was found.
    pub found_at: Timestamp,
}

/// Rows that were acknowledged and are missing, a gap in the numbers of their table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostRows {
    /// `request`, `event`, `delivery`, `attempt`, `state` or `registry`.
    pub what: &'static str,
    /// The first number that is missing.
    pub first: i64,
    /// The last one.
    pub last: i64,
    /// When that was found.
    pub found_at: Timestamp,
}

impl LostRows {
    /// The number of rows.
    #[must_use]
    pub fn count(&self) -> u64 {
        u64::try_from(self.last - self.first + 1).unwrap_or(0)
    }
}
