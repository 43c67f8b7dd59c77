//! A handler's stored state as a run sees it: versioned reads, and what a run must prove when it settles.
//!
//! A run reads the latest committed values, each with its version; absence counts as a read and a listing as a
//! read of its whole range. The set of reads goes into the settlement, and the store refuses it if any of them
//! would answer differently now, so read-then-write is safe without locks.

use async_trait::async_trait;
use thiserror::Error;

use crate::time::Timestamp;

/// A stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateEntry {
    /// The value.
    pub value: Box<str>,
    /// Rises with each write of any key in the store.
    pub version: u64,
    /// When it is forgotten by itself. A read compares this with the run's frozen time.
    pub expires_at: Option<Timestamp>,
}

impl StateEntry {
    /// Whether it is still there at `now`.
    #[must_use]
    pub fn live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }
}

/// Everything a run read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadSet {
    /// The run's frozen time, by which expiry was judged.
    pub at: Timestamp,
    /// Keys with the version seen; none for a key that was not there.
    pub keys: Vec<(Box<str>, Option<u64>)>,
    /// Listings.
    pub ranges: Vec<RangeRead>,
}

impl ReadSet {
    /// Whether there is nothing to validate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ranges.is_empty()
    }
}

/// One listing of stored keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRead {
    /// Keys that start with this.
    pub prefix: Box<str>,
    /// And come after this.
    pub after: Box<str>,
    /// At most so many.
    pub limit: u32,
    /// The stored keys that it returned.
    pub keys: Vec<Box<str>>,
}

/// The store could not be asked. The hub's fault; the run is tried again.
#[derive(Debug, Error)]
#[error("handler state is not available: {0}")]
pub struct StateUnavailable(pub String);

/// Reads one handler's committed state. Each call stands alone: no transaction lives across a guest's run.
#[async_trait]
pub trait StateReader: Send + Sync {
    /// The stored value of a key, expired or not; expiry is the caller's to judge.
    async fn get(&self, key: &str) -> Result<Option<StateEntry>, StateUnavailable>;

    /// Keys, in byte order, that start with `prefix`, come after `after` and are live at `now`.
    async fn keys(
        &self,
        prefix: &str,
        after: &str,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Box<str>>, StateUnavailable>;

    /// Bytes of keys and values that the handler stores.
    async fn size(&self) -> Result<u64, StateUnavailable>;

    /// Whether an effect of this handler waits under `key`.
    async fn waiting(&self, key: &str) -> Result<bool, StateUnavailable>;
}
