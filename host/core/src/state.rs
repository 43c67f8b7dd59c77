//! A handler's stored state as a run reads it, and the set of reads that settling validates.
//!
//! A run reads the latest committed values, each with its version. A missing key counts as a read,
//! and a listing as a read of its whole range. The store refuses a settlement if one of its reads
//! would give another answer now, so that read-then-write is safe without locks.

use async_trait::async_trait;
use thiserror::Error;

use crate::time::Timestamp;

/// A stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateEntry {
    pub value: Box<str>,
    /// Rises with each write of any key in the store.
    pub version: u64,
    /// A read compares this with the frozen time of its run.
    pub expires_at: Option<Timestamp>,
}

impl StateEntry {
    /// True if it has not expired at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }
}

/// The most state that a handler may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateQuota {
    /// Bytes of keys and values.
    pub bytes: u64,
    pub keys: u64,
}

/// The size of a handler's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateSize {
    /// Bytes of keys and values.
    pub bytes: u64,
    pub keys: u64,
}

impl StateQuota {
    /// A quota that permits everything.
    pub const NONE: Self = Self { bytes: u64::MAX, keys: u64::MAX };

    /// True if a change from one size to another is permitted. State that is above the quota, since
    /// the quota was lowered, may only shrink.
    #[must_use]
    pub const fn permits(&self, before: StateSize, after: StateSize) -> bool {
        (after.bytes <= self.bytes || after.bytes <= before.bytes)
            && (after.keys <= self.keys || after.keys <= before.keys)
    }
}

/// The reads of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadSet {
    /// The frozen time of the run, by which expiry was decided.
    pub at: Timestamp,
    /// Keys with the version that was read; none for a missing key.
    pub keys: Vec<(Box<str>, Option<u64>)>,
    pub ranges: Vec<RangeRead>,
}

impl ReadSet {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ranges.is_empty()
    }
}

/// A listing of stored keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRead {
    pub prefix: Box<str>,
    /// Only keys after this one, in byte order.
    pub after: Box<str>,
    pub limit: u32,
    /// The stored keys that were returned.
    pub keys: Vec<Box<str>>,
}

/// The store could not be read. The hub's fault; the run is retried.
#[derive(Debug, Error)]
#[error("handler state is not available: {0}")]
pub struct StateUnavailable(pub String);

/// Reads the committed state of one handler. No transaction spans the calls of a run.
#[async_trait]
pub trait StateReader: Send + Sync {
    /// The stored value of a key. The caller checks its expiry.
    async fn get(&self, key: &str) -> Result<Option<StateEntry>, StateUnavailable>;

    /// The keys live at `now` that start with `prefix` and come after `after`, in byte order.
    async fn keys(
        &self,
        prefix: &str,
        after: &str,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Box<str>>, StateUnavailable>;

    /// Bytes of the handler's keys and values.
    async fn size(&self) -> Result<u64, StateUnavailable>;

    /// True if an effect of this handler with this key is queued.
    async fn has_queued(&self, key: &str) -> Result<bool, StateUnavailable>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_above_its_quota_may_only_shrink() {
        let quota = StateQuota { bytes: 10, keys: 2 };
        let size = |bytes, keys| StateSize { bytes, keys };
        assert!(quota.permits(size(0, 0), size(10, 2)));
        assert!(!quota.permits(size(0, 0), size(11, 1)) && !quota.permits(size(9, 2), size(9, 3)));
        assert!(quota.permits(size(50, 9), size(40, 9)) && quota.permits(size(50, 9), size(50, 8)));
        assert!(!quota.permits(size(50, 9), size(51, 8)));
    }
}
