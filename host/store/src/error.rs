//! What can go wrong with a store, by what the caller can do about it.

use thiserror::Error;

/// A call that did not happen. Nothing of it is stored unless `Unknown` says so.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// The write queue is full. The hub's fault, passing: try again shortly.
    #[error("store is overloaded: {queued} writes are waiting")]
    Overloaded {
        /// Writes in the queue.
        queued: usize,
    },
    /// As many runs as the store keeps account of are under way. Passing: one of them will end.
    #[error("all {slots} slots for runs are taken; end a run first, or open the store with more")]
    SlotsTaken {
        /// How many there are.
        slots: usize,
    },
    /// The disk is full. Passing: the store recovers by itself when there is room.
    #[error("disk is full")]
    DiskFull,
    /// Another write of the same commit met a damaged page, and nothing of the commit is stored. Passing: that write
    /// is set aside.
    #[error("the commit failed for another write in it; try again")]
    CommitFailed,
    /// A write or sync failed in a way that leaves what is on disk unknown. Final for this process.
    #[error("store takes no more writes since an earlier failure: {reason}")]
    Poisoned {
        /// The failure.
        reason: String,
    },
    /// The caller asked for something that makes no sense. Final.
    #[error("{0}")]
    Invalid(String),
    /// What is stored contradicts itself. Needs a person.
    #[error("store is damaged: {0}")]
    Damaged(String),
    /// Another process owns the file. Final until it stops.
    #[error("another process is using {path}")]
    InUse {
        /// The file.
        path: String,
    },
    /// The stored format is newer than this program. Final: update the program.
    #[error("store has format {found}, this program knows up to {known}; update weir")]
    TooNew {
        /// What is on disk.
        found: u32,
        /// What this program knows.
        known: u32,
    },
    /// The store was closed. Final.
    #[error("store is closed")]
    Closed,
    /// Any other failure of the engine.
    #[error("{doing}: {cause}")]
    Engine {
        /// What was being done.
        doing: &'static str,
        /// The engine's own words.
        cause: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later in this process.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Overloaded { .. } | Self::SlotsTaken { .. } | Self::DiskFull | Self::CommitFailed
        )
    }
}
