//! Failures of a store, each with what the caller can do about it.

use std::error::Error;
use std::sync::Arc;

/// Cause of a failure. Shared, because one failed commit answers every caller whose write was in
/// it.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Reason why a call did not succeed.
///
/// Unless a variant says otherwise, nothing of the call is stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The write queue is full. Transient: try again shortly.
    #[error("store is overloaded: {queued} writes are waiting")]
    Overloaded {
        /// Writes in the queue.
        queued: usize,
    },
    /// Every slot for a run is in use. Transient: one of the runs will end.
    #[error("all {slots} slots for runs are in use; end a run first, or open the store with more")]
    SlotsTaken {
        /// Slots that the store was opened with.
        slots: usize,
    },
    /// The disk is full. Transient: the store recovers by itself when there is space.
    #[error("disk is full")]
    DiskFull,
    /// The engine could not do the work now, and nothing is stored: a connection was lost, or the
    /// commit failed because of another write in it. Transient: try again.
    #[error("{during}: {source}; try again")]
    Unavailable {
        during: &'static str,
        /// Cause in the engine.
        source: Cause,
    },
    /// The outcome of the commit is not known: the write may be stored or not. Transient: repeat
    /// the same call. A repeated request is recognised by its dedup keys, a repeated settlement by
    /// its fence, so neither is stored twice.
    #[error("{during}: the outcome is not known: {source}")]
    Unknown {
        during: &'static str,
        /// Cause in the engine.
        source: Cause,
    },
    /// A write or sync failed, and the files may not hold what was written. Permanent for this
    /// process. A write that was under way may be stored or not.
    #[error("store accepts no more writes since an earlier failure: {reason}")]
    Poisoned { reason: String },
    /// The call itself is wrong. Permanent.
    #[error("{0}")]
    Invalid(String),
    /// Stored data contradicts itself. An operator has to act.
    #[error("store is damaged: {0}")]
    Damaged(String),
    /// Another process uses the store. Permanent until that process ends.
    #[error("another process is using {path}")]
    InUse { path: String },
    /// The stored format is newer than this program. Permanent: update the program.
    #[error("store has format {found}, this program knows up to {known}; update weir")]
    TooNew {
        /// Format of the store.
        found: u32,
        /// Newest format that this program knows.
        known: u32,
    },
    /// The store was closed. Permanent.
    #[error("store is closed")]
    Closed,
    /// Any other failure of the engine.
    #[error("{during}: {source}")]
    Engine {
        during: &'static str,
        /// Cause in the engine.
        source: Cause,
    },
}

impl StoreError {
    /// A failure of the engine that fits no other variant.
    pub fn engine(during: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Engine { during, source: source.into().into() }
    }

    /// True if the same call may succeed later in this process.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Overloaded { .. }
                | Self::SlotsTaken { .. }
                | Self::DiskFull
                | Self::Unavailable { .. }
                | Self::Unknown { .. }
        )
    }
}
