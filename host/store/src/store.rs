//! The traits of a store, one per kind of caller. [`Store`] is all of them together.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use weir_core::id::{AttemptId, DeliveryId, EventId, RequestId};
use weir_core::name::{HandlerName, Target};
use weir_core::payload::Payload;
use weir_core::route::{RouteTable, TableHash};
use weir_core::state::StateReader;

use crate::audit::{AuditEntry, AuditFilter, NewAudit};
use crate::claim::{Claim, ClaimRequest, RunGuard};
use crate::error::StoreError;
use crate::handler_state::{
    HandlerRename, HandlerRenamed, StateChange, StateChanged, StatePage, StateQuery,
};
use crate::health::{HostLost, StoreHealth, UnreadableRows};
use crate::hold::{Hold, HoldId, NewHold};
use crate::ingest::{Ingested, NewRequest};
use crate::query::{
    AttemptInput, BoundedCount, CountRow, CountsFilter, DeliveryDetail, DeliveryFilter,
    EventDetail, EventFilter, EventsInOrder, IdLookup, IdMatches, InOrderFilter, OldestWaiting,
    PageOf, PageRequest, StoredReply, StoredRequest,
};
use crate::registry::{CasOutcome, EntryKind, RegistryEntry};
use crate::rollup::{RollupBatch, RollupQuery, Rollups};
use crate::settle::{Settled, Settlement};
use crate::upkeep::{
    CancelOutcome, CancelSelection, CheckReport, Erased, Pruned, ReplayOutcome, ReplayRequest,
    Retention, RetriedNow, RetryNow,
};

/// A whole store.
pub trait Store:
    Ingest + Dispatch + Registry + Queries + Operations + Maintenance + std::fmt::Debug
{
}

impl<S> Store for S where
    S: Ingest + Dispatch + Registry + Queries + Operations + Maintenance + std::fmt::Debug
{
}

/// Storing requests with their events: the side of the senders.
#[async_trait]
pub trait Ingest: Send + Sync {
    /// Stores requests with their events, dedup keys and deliveries, each request whole or not at
    /// all. Answers each request, in order, once it is durable. A duplicate is answered only after
    /// the first one is durable.
    async fn ingest(&self, batch: Vec<NewRequest>) -> Vec<Result<Ingested, StoreError>>;

    /// Stores one request with one event, as [`Ingest::ingest`] does, and claims the event's
    /// delivery to `target` in the same step, so that no other worker gets it first.
    ///
    /// There is no claim if nothing of the request was new, if the delivery is on hold, or while a
    /// suspect waits. The delivery is due then like any other.
    async fn ingest_claiming(
        &self,
        request: NewRequest,
        target: &Target,
    ) -> Result<(Ingested, Option<Claim>), StoreError>;

    /// Stores a routing table under its hash, so that events can refer to it. Idempotent.
    async fn keep_table(&self, table: &RouteTable) -> Result<(), StoreError>;
}

/// Claiming deliveries, running them and settling their attempts: the side of the workers.
#[async_trait]
pub trait Dispatch: Send + Sync {
    /// Claims up to `limit` due deliveries per request. Of an order key only the head is claimed,
    /// and no delivery that is on hold.
    ///
    /// A claim ends when it is settled or dropped. A dropped claim's delivery is due again at once,
    /// and no attempt is counted.
    async fn claim(&self, wanted: &[ClaimRequest]) -> Result<Vec<Claim>, StoreError>;

    /// Claims deliveries of a target in spite of holds and due times, so that they can be given up
    /// when their handler or destination was removed.
    async fn claim_abandoned(
        &self,
        target: &Target,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError>;

    /// Records that a handler's run of a claimed delivery begins, until the guard is dropped.
    ///
    /// The record outlives the process, not a power failure. After a crash each recorded run is
    /// charged an attempt `host_lost`; its delivery is then claimed alone and before other work,
    /// and becomes a dead letter if it happens again. Call it when the guest starts. It is cheap,
    /// and an engine whose claims are leases may do nothing here.
    ///
    /// # Errors
    /// [`StoreError::SlotsTaken`] beyond `run_slots`, and `Invalid` for a destination's delivery:
    /// an interrupted send is simply sent again.
    fn begin_run(&self, claim: &Claim) -> Result<RunGuard, StoreError>;

    /// Records the end of attempts with their effects and state, each whole or not at all. The
    /// fence is compared with the stored row and every read is validated, whatever the outcome.
    ///
    /// The settlements are shared, so that repeating a call copies none of them.
    async fn settle(&self, batch: &[Arc<Settlement>]) -> Vec<Result<Settled, StoreError>>;

    /// Returns when something may be due, or after `at_most`. A hint: it may return early.
    async fn wait_due(&self, at_most: Duration);

    /// Deliveries that were given up because a hub died while it ran them, those found at the start
    /// first. For one consumer: a later call gets only later ones.
    fn host_lost(&self) -> mpsc::UnboundedReceiver<HostLost>;

    /// Reader of the committed state of one handler.
    fn state(&self, handler: &HandlerName) -> Arc<dyn StateReader>;
}

/// Small versioned entries by kind and key, for everything that is not an event.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Reads an entry.
    async fn get(&self, kind: EntryKind, key: &str) -> Result<Option<RegistryEntry>, StoreError>;

    /// Writes (`Some`) or removes (`None`) an entry if its version is still `expected`; an
    /// `expected` of `None` means that there must be no entry.
    async fn cas(
        &self,
        kind: EntryKind,
        key: &str,
        expected: Option<u64>,
        value: Option<Vec<u8>>,
    ) -> Result<CasOutcome, StoreError>;

    /// Lists the entries of a kind by key. A `value` larger than 64 KiB is left out.
    async fn list(&self, kind: EntryKind) -> Result<Vec<(String, RegistryEntry)>, StoreError>;

    /// A number that rises whenever an entry of the kind changes: at once for a change by this hub,
    /// and when the engine learns of it for a change by another.
    fn watch(&self, kind: EntryKind) -> watch::Receiver<u64>;
}

/// Questions about what is stored.
#[async_trait]
pub trait Queries: Send + Sync {
    /// Lists events, newest first.
    async fn events(
        &self,
        filter: EventFilter,
        page: PageRequest,
    ) -> Result<PageOf<EventDetail>, StoreError>;

    /// Reads one event with its deliveries and their attempts, by row id or outward id.
    async fn event(&self, id: EventId) -> Result<Option<EventDetail>, StoreError>;

    /// Reads the request that carried an event, as it was received.
    async fn request(&self, id: RequestId) -> Result<Option<StoredRequest>, StoreError>;

    /// Lists deliveries, newest first.
    async fn deliveries(
        &self,
        filter: DeliveryFilter,
        page: PageRequest,
    ) -> Result<PageOf<DeliveryDetail>, StoreError>;

    /// Counts the events that match a filter, up to a limit.
    async fn count_events(
        &self,
        filter: EventFilter,
        at_most: u64,
    ) -> Result<BoundedCount, StoreError>;

    /// Counts the deliveries that match a filter, up to a limit.
    async fn count_deliveries(
        &self,
        filter: DeliveryFilter,
        at_most: u64,
    ) -> Result<BoundedCount, StoreError>;

    /// Reads one delivery with its attempts.
    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryDetail>, StoreError>;

    /// Finds events and deliveries by another id. Messages and senders' ids have no index: only the
    /// newest million rows are searched.
    async fn find(&self, lookup: IdLookup) -> Result<IdMatches, StoreError>;

    /// Reads whole events, oldest first, with a limit of events and of their bytes together. A page
    /// may have fewer, also none, and a cursor. One event is read whatever its size.
    async fn events_in_order(
        &self,
        filter: InOrderFilter,
        page: PageRequest,
        bytes_max: usize,
    ) -> Result<EventsInOrder, StoreError>;

    /// Reads the input of a past attempt. None after retention.
    async fn attempt_input(&self, id: AttemptId) -> Result<Option<AttemptInput>, StoreError>;

    /// Reads the headers and body of a message. None for other deliveries, and after retention.
    async fn message(&self, id: DeliveryId) -> Result<Option<Payload>, StoreError>;

    /// Reads the responder's answer to the sender of an event, while it is kept.
    async fn reply(&self, event: EventId) -> Result<Option<StoredReply>, StoreError>;

    /// Reads the text of a routing table.
    async fn table(&self, hash: TableHash) -> Result<Option<String>, StoreError>;

    /// Totals of deliveries by target and state, and of events by source. Cheap enough for every
    /// scrape.
    async fn counts(&self, filter: CountsFilter) -> Result<Vec<CountRow>, StoreError>;

    /// The oldest waiting delivery of each target that has one. Cheap enough for every scrape.
    async fn oldest_waiting(&self) -> Result<Vec<OldestWaiting>, StoreError>;

    /// Lists the audit log, newest first.
    async fn audit(
        &self,
        filter: AuditFilter,
        page: PageRequest,
    ) -> Result<PageOf<AuditEntry>, StoreError>;

    /// Reads roll-ups, merged into steps.
    ///
    /// # Errors
    /// `Invalid` if the step is not whole minutes or hours, or the answer would have too many
    /// steps.
    async fn rollups(&self, query: RollupQuery) -> Result<Rollups, StoreError>;

    /// Reads a page of a handler's state.
    async fn state_page(&self, query: StateQuery) -> Result<StatePage, StoreError>;

    /// Rows that could not be read since the store was opened, and were set aside.
    fn unreadable(&self) -> Vec<UnreadableRows>;
}

/// Changes to stored deliveries: replays, retries and holds, for operators and the hub.
#[async_trait]
pub trait Operations: Send + Sync {
    /// Makes finished or dead deliveries due again, in a new generation. Idempotent by its request.
    async fn replay(&self, replay: ReplayRequest) -> Result<ReplayOutcome, StoreError>;

    /// Makes deliveries that wait for a retry due at once. Attempts and generation do not change.
    async fn retry_now(&self, what: RetryNow) -> Result<RetriedNow, StoreError>;

    /// Cancels the dead letters among these deliveries. Returns them.
    async fn discard(&self, ids: Vec<DeliveryId>) -> Result<Vec<DeliveryId>, StoreError>;

    /// Cancels deliveries that are not finished. The settlement of an attempt that is running then
    /// is refused.
    async fn cancel(&self, what: CancelSelection) -> Result<CancelOutcome, StoreError>;

    /// Erases the contents of events: headers, body, keys, the messages and logs of their runs, and
    /// the events that those emitted. The rows stay, with times, types and outcomes. Deliveries
    /// that are not finished, and dead letters, are cancelled. Ids that are not stored are passed
    /// over.
    async fn erase(&self, events: Vec<EventId>) -> Result<Erased, StoreError>;

    /// Places a hold. Deliveries under it keep their state, time and attempts.
    async fn hold(&self, hold: NewHold) -> Result<HoldId, StoreError>;

    /// Places a hold again that has ended, or changes the end of one that has not. It keeps its
    /// number and the time at which it was first placed.
    async fn restore_hold(&self, hold: Hold) -> Result<(), StoreError>;

    /// Ends a hold. False if there is none by that number.
    async fn release(&self, id: HoldId) -> Result<bool, StoreError>;

    /// Lists the holds that are in force.
    async fn holds(&self) -> Result<Vec<Hold>, StoreError>;

    /// Adds an entry to the audit log. Retention bounds the log.
    async fn audit_append(&self, entry: NewAudit) -> Result<(), StoreError>;

    /// Writes a handler's state, whole or not at all.
    async fn change_state(&self, change: StateChange) -> Result<StateChanged, StoreError>;

    /// Removes the first keys of a handler's state that start with a prefix, up to `limit`. Returns
    /// their number.
    async fn clear_state(
        &self,
        handler: &HandlerName,
        prefix: &str,
        limit: usize,
    ) -> Result<usize, StoreError>;

    /// Renames a handler. No delivery of it may be claimed meanwhile. The old name still finds it,
    /// for events that were routed before, until [`Operations::end_rename`].
    async fn rename_handler(&self, rename: HandlerRename) -> Result<HandlerRenamed, StoreError>;

    /// Makes the old name of a renamed handler a name like any other.
    fn end_rename(&self, from: &HandlerName);

    /// Confirms that the clock is right, so that retention may use it again.
    async fn confirm_time(&self) -> Result<(), StoreError>;
}

/// Retention, checks and the life of the store itself.
#[async_trait]
pub trait Maintenance: Send + Sync {
    /// Removes one chunk of old data, and never unfinished work. Call it again while `more`.
    ///
    /// # Errors
    /// `Invalid` while the clock is more than a day from the latest time that the store has seen:
    /// see [`Operations::confirm_time`].
    async fn prune(&self, retention: &Retention) -> Result<Pruned, StoreError>;

    /// Adds roll-ups to those of their minute and hour. A repeat of the batch that was stored last
    /// does nothing.
    async fn rollups_put(&self, batch: RollupBatch) -> Result<(), StoreError>;

    /// Verifies the store: structure, durability settings, and rows that must agree.
    async fn check(&self) -> Result<CheckReport, StoreError>;

    /// Returns when the writer has come to this call, and so has finished what was queued before.
    ///
    /// # Errors
    /// As for any write: `Overloaded` says nothing about the writer.
    async fn writer_answers(&self) -> Result<(), StoreError>;

    /// The store's health now. Reads nothing from the disk.
    fn health(&self) -> StoreHealth;

    /// Resolves with the failure after which the store accepts no more writes.
    async fn poisoned(&self) -> String;

    /// Commits what is queued and closes the engine. Later calls answer [`StoreError::Closed`].
    async fn close(&self) -> Result<(), StoreError>;
}
