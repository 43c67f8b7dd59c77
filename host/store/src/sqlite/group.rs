//! One group of writes on its way through a commit: what the writer needs at hand, and what follows from it.
//!
//! Everything that memory must learn from a group is collected here and applied only when its commit has held,
//! so that nobody is told, handed or counted what is not on disk.

use std::sync::Arc;

use rusqlite::Connection;
use rustc_hash::FxHashMap;
use weir_core::delivery::{DeliveryState, Fence};
use weir_core::name::SourceName;

use super::Shared;
use super::dedup::Dedup;
use super::due::{Entry, Place};
use super::marks::Marks;
use super::names::NameId;
use super::time::Now;
use crate::error::StoreError;
use crate::registry::EntryKind;

/// A write that is neither a request nor a settlement. Runs inside the group's transaction, in a savepoint, and
/// returns how to answer once it is known how the commit ended. Without [`Writing`] it only answers.
pub(super) struct Job {
    pub(super) run: Run,
    /// What it will write, for bounding the queue.
    pub(super) bytes: usize,
}

pub(super) type Run = Box<dyn FnOnce(Option<&mut Writing<'_>>) -> JobEnd + Send>;

/// How a job ended.
pub(super) struct JobEnd {
    /// Whether its savepoint is kept.
    pub(super) keep: bool,
    /// The engine's failure, if that is why it is not kept.
    pub(super) failed: Option<rusqlite::Error>,
    pub(super) answer: Answer,
}

/// Tells the caller, given how the commit ended.
pub(super) type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Why a job did not do what it was asked.
#[derive(Debug)]
pub(super) enum JobError {
    Engine(rusqlite::Error),
    Refused(StoreError),
}

impl From<rusqlite::Error> for JobError {
    fn from(e: rusqlite::Error) -> Self {
        Self::Engine(e)
    }
}

/// The next number of each table that rows are appended to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    pub(super) request: i64,
    pub(super) event: i64,
    pub(super) payload: i64,
    pub(super) delivery: i64,
    pub(super) attempt: i64,
    pub(super) state_version: i64,
    pub(super) registry_version: i64,
}

impl Next {
    pub(super) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        let above = |table: &str, column: &str| {
            let sql = format!("SELECT coalesce(max({column}), 0) + 1 FROM {table}");
            conn.query_row(&sql, [], |row| row.get(0))
        };
        // Rows at the end may have been removed again, and a number must never name two things.
        let kept = |key: &str, found: i64| -> rusqlite::Result<i64> {
            Ok(super::schema::meta::<i64>(conn, key)?.unwrap_or(1).max(found))
        };
        Ok(Self {
            request: kept("next_request", above("request", "n")?)?,
            event: kept("next_event", above("event", "n")?)?,
            payload: above("payload", "n")?,
            delivery: kept("next_delivery", above("delivery", "n")?)?,
            attempt: kept("next_attempt", above("attempt", "n")?)?,
            state_version: kept("next_state_version", above("state", "version")?)?,
            registry_version: kept("next_registry_version", above("registry", "version")?)?,
        })
    }

    /// Writes the marks that survive the removal of rows.
    pub(super) fn save(&self, conn: &Connection) -> rusqlite::Result<()> {
        for (key, value) in [
            ("next_request", self.request),
            ("next_event", self.event),
            ("next_delivery", self.delivery),
            ("next_attempt", self.attempt),
            ("next_state_version", self.state_version),
            ("next_registry_version", self.registry_version),
        ] {
            super::schema::set_meta(conn, key, &value)?;
        }
        Ok(())
    }
}

/// Gives out the next number of a sequence.
pub(super) fn take(next: &mut i64) -> i64 {
    let n = *next;
    *next += 1;
    n
}

/// What an event's totals count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    Stored,
    Duplicate,
    Unrouted,
}

impl Counted {
    pub(super) const ALL: [Self; 3] = [Self::Stored, Self::Duplicate, Self::Unrouted];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Unrouted => "unrouted",
        }
    }
}

/// Something to do once the commit has held.
pub(super) type Then = Box<dyn FnOnce(&Shared) + Send>;

/// What memory learns when the commit has held.
#[derive(Default)]
pub(super) struct Learned {
    /// Deliveries that wait now, in order of their numbers.
    pub(super) fed: Vec<(Place, Entry)>,
    /// Claims that ended by settling, with the claim's fence.
    pub(super) settled: Vec<(i64, Fence)>,
    /// Ordered deliveries that are finished.
    pub(super) turns_ended: Vec<(NameId, Arc<str>, i64)>,
    /// Deliveries that the host did not survive and that are due again.
    pub(super) suspected: Vec<(Place, Entry)>,
    /// Suspects of which an attempt has ended.
    pub(super) cleared: Vec<i64>,
    /// Deliveries that the writer took away from claims.
    pub(super) seized: Vec<(i64, u64)>,
    /// Deliveries that came into (+1) or left (-1) a state.
    pub(super) states: FxHashMap<(Place, DeliveryState), i64>,
    /// Fresh deliveries that came (+1) or went (-1), by number.
    pub(super) fresh: Vec<(i64, i64)>,
    pub(super) events: FxHashMap<(NameId, Counted), u64>,
    /// Unrouted events that came (+1) or went (-1), by source.
    pub(super) unrouted: FxHashMap<NameId, i64>,
    pub(super) registry: Vec<EntryKind>,
    /// What else is to be done, such as taking a dictionary into use.
    pub(super) then: Vec<Then>,
}

impl Learned {
    pub(super) fn moved(
        &mut self,
        place: Place,
        from: Option<DeliveryState>,
        to: Option<DeliveryState>,
    ) {
        for (state, by) in [(from, -1), (to, 1)] {
            if let Some(state) = state {
                *self.states.entry((place, state)).or_insert(0) += by;
            }
        }
    }

    pub(super) fn unrouted(&mut self, source: NameId, by: i64) {
        *self.unrouted.entry(source).or_insert(0) += by;
    }

    pub(super) fn counted(&mut self, source: NameId, what: Counted) {
        *self.events.entry((source, what)).or_insert(0) += 1;
    }
}

/// What a write has at hand.
pub(super) struct Writing<'w> {
    pub(super) conn: &'w Connection,
    pub(super) shared: &'w Arc<Shared>,
    pub(super) dedup: &'w mut Dedup,
    pub(super) next: &'w mut Next,
    pub(super) learned: &'w mut Learned,
    pub(super) marks: &'w mut Marks,
    /// The store's time for everything in this group.
    pub(super) now: Now,
}

impl Writing<'_> {
    pub(super) fn name(&self, text: &str) -> rusqlite::Result<NameId> {
        self.shared.names.intern(self.conn, text)
    }

    pub(super) fn source_name(&self, id: NameId) -> SourceName {
        SourceName::stored(&self.shared.names.text(id))
    }
}
