//! Health of a store: problems with which it works on, and the failure that ends it.

use std::sync::Arc;

use weir_core::id::DeliveryId;
use weir_core::time::Timestamp;

/// Health of a store at one moment. Asking for it reads nothing from the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// The failure after which the store accepts no more writes. Never unset in one process.
    pub poisoned: Option<String>,
    /// Start of a full disk. Requests are refused until there is space.
    pub full_since: Option<Timestamp>,
    /// Rows that could not be read since the start, and were set aside.
    pub unreadable: u64,
    /// Rows that were acknowledged before the start and are missing.
    pub lost: Vec<LostRows>,
    /// State of the check after an unclean end.
    pub integrity: IntegrityStatus,
}

/// State of the integrity check that a store runs when the process before this one did not close
/// it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum IntegrityStatus {
    /// All of the store was checked, or no check was needed.
    #[default]
    Done,
    /// The newest rows were checked before the start. The rest is checked while the store works.
    InProgress {
        /// Checked part of the rest, 0 to 99.
        percent: u8,
    },
    /// The damage that was found. The store accepts no more writes.
    Damaged(String),
    /// The reason why the rest could not be checked.
    Failed(String),
}

/// Rows that cannot be read and were set aside. Only work that needs them stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRows {
    /// `delivery`, `event`, `request` or `payload`.
    pub what: &'static str,
    /// Number of the first row.
    pub first: i64,
    /// Number of the last row.
    pub last: i64,
    /// Id of the delivery, where it is known.
    pub id: Option<Arc<str>>,
    /// Target of the delivery, where it is known.
    pub target: Option<Arc<str>>,
    /// Reason why they cannot be read.
    pub reason: Arc<str>,
    /// Time at which that was found.
    pub found_at: Timestamp,
}

/// Rows that were acknowledged and are missing: a gap in the numbers of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostRows {
    /// `request`, `event`, `delivery`, `attempt`, `state` or `registry`.
    pub what: &'static str,
    /// First number that is missing.
    pub first: i64,
    /// Last number that is missing.
    pub last: i64,
    /// Time at which that was found.
    pub found_at: Timestamp,
}

impl LostRows {
    /// The number of rows.
    #[must_use]
    pub fn count(&self) -> u64 {
        u64::try_from(self.last - self.first + 1).unwrap_or(0)
    }
}

/// A delivery that was given up because a hub died twice while it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostLost {
    /// The delivery, a dead letter now.
    pub delivery: DeliveryId,
}
