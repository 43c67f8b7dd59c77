//! One group of writes in one commit: the context of its writes, and the changes to memory after
//! it.
//!
//! Changes to memory are collected in [`PostCommit`] and applied only after a successful commit, so
//! that no caller, claim or total sees what is not on disk.

use std::sync::Arc;

use rusqlite::Connection;
use rustc_hash::FxHashMap;
use weir_core::delivery::{DeliveryState, Fence};
use weir_core::name::SourceName;

use crate::error::StoreError;
use crate::registry::EntryKind;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::names::NameId;
use crate::sqlite::format::next_numbers::NextNumbers;
use crate::sqlite::memory::dedup::Dedup;
use crate::sqlite::memory::due::{DueEntry, QueueKey};
use crate::sqlite::memory::time::Now;
use crate::sqlite::memory::watermarks::{EventCounter, Watermarks};

/// A write that is neither a request nor a settlement. It runs in a savepoint of the group's
/// transaction and returns its answer, which is sent after the commit. Without a [`Writing`] it
/// only answers.
pub(crate) struct Job {
    pub(crate) run: JobFn,
    /// Bytes that it will write, for bounding the queue.
    pub(crate) bytes: usize,
}

pub(crate) type JobFn = Box<dyn FnOnce(Option<&mut Writing<'_>>) -> JobEnd + Send>;

/// End of a job.
pub(crate) struct JobEnd {
    /// True if its savepoint is kept.
    pub(crate) keep: bool,
    /// Error of SQLite for which it is not kept.
    pub(crate) failed: Option<rusqlite::Error>,
    pub(crate) answer: GroupAnswer,
}

/// Answers the caller, given the result of the commit.
pub(crate) type GroupAnswer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Reason why a write did not do what it was asked.
#[derive(Debug)]
pub(crate) enum WriteError {
    Engine(rusqlite::Error),
    Refused(StoreError),
}

impl WriteError {
    /// The caller asked for something that cannot be done.
    pub(crate) fn invalid(problem: String) -> Self {
        Self::Refused(StoreError::Invalid(problem))
    }
}

impl From<rusqlite::Error> for WriteError {
    fn from(e: rusqlite::Error) -> Self {
        Self::Engine(e)
    }
}

/// An action after a successful commit.
pub(crate) type OnCommit = Box<dyn FnOnce(&Shared) + Send>;

/// Changes to memory after a successful commit.
#[derive(Default)]
pub(crate) struct PostCommit {
    /// Deliveries that wait now, by number.
    pub(crate) queued: Vec<(QueueKey, DueEntry)>,
    /// Claims that ended by settling, with the claim's fence.
    pub(crate) settled: Vec<(i64, Fence)>,
    /// Finished deliveries with an order key.
    pub(crate) turns_ended: Vec<(NameId, Arc<str>, i64)>,
    /// Replayed deliveries whose last run the hub did not survive.
    pub(crate) suspected: Vec<(QueueKey, DueEntry)>,
    /// Suspects whose attempt has ended.
    pub(crate) cleared: Vec<i64>,
    /// Deliveries that the writer took out of their queues.
    pub(crate) seized: Vec<(i64, u64)>,
    /// Deliveries that entered (+1) or left (-1) a state.
    pub(crate) states: FxHashMap<(QueueKey, DeliveryState), i64>,
    /// Fresh deliveries that were added (+1) or ended (-1), by number.
    pub(crate) fresh: Vec<(i64, i64)>,
    pub(crate) events: FxHashMap<(NameId, EventCounter), u64>,
    /// Deliveries with the state that they left and the one that they entered.
    pub(crate) moves: Vec<(i64, Option<DeliveryState>, Option<DeliveryState>)>,
    /// Unrouted events that were added (+1) or ended (-1), by source.
    pub(crate) unrouted: FxHashMap<NameId, i64>,
    /// The numbers of those events.
    pub(crate) unrouted_events: Vec<(i64, i64)>,
    pub(crate) registry: Vec<EntryKind>,
    /// Other actions, such as using a new dictionary.
    pub(crate) on_commit: Vec<OnCommit>,
}

impl PostCommit {
    pub(crate) fn moved(
        &mut self,
        (queue_key, n): (QueueKey, i64),
        from: Option<DeliveryState>,
        to: Option<DeliveryState>,
    ) {
        self.moves.push((n, from, to));
        for (state, by) in [(from, -1), (to, 1)] {
            if let Some(state) = state {
                *self.states.entry((queue_key, state)).or_insert(0) += by;
            }
        }
    }

    pub(crate) fn unrouted(&mut self, source: NameId, n: i64, by: i64) {
        self.unrouted_events.push((n, by));
        *self.unrouted.entry(source).or_insert(0) += by;
    }

    /// Counts a new event.
    pub(crate) fn event_stored(&mut self, source: NameId, n: i64, unrouted: bool) {
        self.counted(source, EventCounter::Stored);
        if unrouted {
            self.counted(source, EventCounter::Unrouted);
            self.unrouted(source, n, 1);
        }
    }

    pub(crate) fn counted(&mut self, source: NameId, what: EventCounter) {
        *self.events.entry((source, what)).or_insert(0) += 1;
    }
}

/// Context of a write in the transaction of its group.
pub(crate) struct Writing<'w> {
    pub(crate) conn: &'w Connection,
    pub(crate) shared: &'w Arc<Shared>,
    pub(crate) dedup: &'w mut Dedup,
    pub(crate) next: &'w mut NextNumbers,
    pub(crate) post_commit: &'w mut PostCommit,
    pub(crate) watermarks: &'w mut Watermarks,
    /// Time of everything in this group.
    pub(crate) now: Now,
}

impl Writing<'_> {
    pub(crate) fn name(&self, text: &str) -> rusqlite::Result<NameId> {
        self.shared.names.intern(self.conn, text)
    }

    pub(crate) fn source_name(&self, id: NameId) -> SourceName {
        SourceName::stored(&self.shared.names.text(id))
    }
}
