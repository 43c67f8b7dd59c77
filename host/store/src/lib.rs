//! Weir's store: what must survive, behind one trait that engines implement.
//!
//! Rules that keep an engine from leaking:
//! - `Ok` means durable. A batch is a hint for group commit; atomicity is per item.
//! - The store owns time: it stamps what it stores, `claim` returns its `now`, settling passes waits.
//! - Conflicts are values, not errors. Errors say whose fault and whether to try again.
//! - Wake-ups and in-memory hand-offs are hints that pass the same checks as anything else.
//! - Cursors are opaque. No engine types, no transactions that a caller could hold.
//!
//! What may not live here: business rules, HTTP, routing, retry decisions.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use weir_core::name::{HandlerName, Target};
use weir_core::payload::Payload;
use weir_core::route::{RouteTable, TableHash};
use weir_core::state::StateReader;

pub mod claim;
pub mod condition;
pub mod error;
pub mod hold;
pub mod ingest;
mod private;
pub mod quarantine;
pub mod query;
pub mod registry;
pub mod settle;
pub mod upkeep;

pub mod sqlite;

pub use claim::{Claim, ClaimGuard, ClaimRequest, ClaimedMessage, Lane, RunGuard};
pub use error::StoreError;
pub use ingest::{DedupKey, EventIngested, Ingested, NewDelivery, NewEvent, NewRequest, Routed};
pub use settle::{
    AttemptRecord, NewEmit, NewMessage, NewReply, ResponseRecord, RoutedEffects, Settled,
    Settlement,
};

use condition::{StoreHealth, UnreadableRows};
use hold::{Hold, HoldId, NewHold};
use query::{
    CountRow, CountsFilter, DeliveryDetail, DeliveryFilter, EventDetail, EventFilter, IdLookup,
    IdMatches, OldestWaiting, PageOf, PageRequest, StoredReply, StoredRequest,
};
use registry::{CasOutcome, EntryKind, RegistryEntry};
use upkeep::{
    CheckReport, IntegrityStatus, Pruned, ReplayOutcome, ReplayRequest, Retention, RetriedNow,
    RetryNow,
};
use weir_core::id::{DeliveryId, EventId, RequestId};

/// Opens the store that a URL names: `sqlite:data/weir.db`.
///
/// # Errors
/// [`StoreError::Invalid`] for a URL that names no engine of this version, and whatever the engine says.
pub fn open(url: &str, options: sqlite::Options) -> Result<Arc<dyn Store>, StoreError> {
    match url.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() && path != "//" => {
            let path = path.strip_prefix("//").unwrap_or(path);
            Ok(Arc::new(sqlite::open(std::path::Path::new(path), options)?))
        }
        Some(("postgres" | "postgresql", _)) => Err(StoreError::Invalid(
            "PostgreSQL is not in this version of weir; use sqlite:PATH".into(),
        )),
        // The URL is not repeated: it may hold a password.
        _ => Err(StoreError::Invalid("the store's URL must be sqlite:PATH".into())),
    }
}

/// Looks over the whole of the store that a URL names, whether a process uses it or not, and changes nothing.
///
/// # Errors
/// As [`open`], and `Engine` if there is no such store.
pub fn check(url: &str) -> Result<CheckReport, StoreError> {
    match url.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() && path != "//" => {
            sqlite::check(std::path::Path::new(path.strip_prefix("//").unwrap_or(path)))
        }
        _ => Err(StoreError::Invalid("only a store in a file can be checked: sqlite:PATH".into())),
    }
}

/// Where events, deliveries, attempts, handler state and the registry live.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    // --- the hot path

    /// Stores requests with their events, dedup keys and deliveries, each request whole or not at all. One
    /// answer per request, in order, once it is durable; a duplicate is answered only after the first is durable.
    async fn ingest(&self, batch: Vec<NewRequest>) -> Vec<Result<Ingested, StoreError>>;

    /// Stores one request as [`Store::ingest`] does, and claims the delivery of its event to `target` in the same
    /// step, so that nobody else gets it first. No claim if nothing of the request was new, if the delivery is on
    /// hold, or while a suspect waits: then it is due like any other. The request must carry one event.
    async fn ingest_claiming(
        &self,
        request: NewRequest,
        target: &Target,
    ) -> Result<(Ingested, Option<Claim>), StoreError>;

    /// Takes up to `limit` due deliveries per entry, heads of order keys only, skipping what is on hold. A claim
    /// ends when it is settled or dropped; what is dropped is due again at once, with no attempt spent.
    async fn claim(&self, wanted: &[ClaimRequest]) -> Result<Vec<Claim>, StoreError>;

    /// Keeps claims of a long run from ending. False where the claim is gone already.
    async fn extend(&self, claims: &[&Claim]) -> Result<Vec<bool>, StoreError>;

    /// Claims deliveries of one target whatever holds them and whenever they are due: for whoever gives up what waits
    /// for a handler or destination that is gone for good.
    async fn claim_abandoned(
        &self,
        target: &Target,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError>;

    /// The deliveries that were given up when this was opened: the host did not survive running them.
    fn given_up_at_open(&self) -> Vec<DeliveryId>;

    /// Notes that a handler's run of a claimed delivery begins, until what is returned is dropped. Not durable
    /// against power loss, only against the death of the process: what was running then is charged an attempt
    /// `host_lost` at the next start, is claimed alone and before other work, and becomes a dead letter when it
    /// happens again. Cheap; call it when the guest starts, not when the run is only planned.
    ///
    /// # Errors
    /// [`StoreError::SlotsTaken`] past the number of runs at once that the store was opened for, and `Invalid` for
    /// a destination's delivery: a send that was cut short is simply sent again.
    fn begin(&self, claimed: &Claim) -> Result<RunGuard, StoreError>;

    /// Records the end of attempts with their effects and state, each whole or not at all. The fence is compared
    /// with the stored row and every read is validated, whatever the outcome.
    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled, StoreError>>;

    /// Returns when something may be due, or after `at_most`. A hint: it may return early.
    async fn wait_due(&self, at_most: Duration);

    /// What was answered to the sender of an event by its source's responder, while that is kept.
    async fn reply(&self, event: EventId) -> Result<Option<StoredReply>, StoreError>;

    // --- handler state, written only through `settle`

    /// Reads the committed state of one handler.
    fn state(&self, handler: &HandlerName) -> Arc<dyn StateReader>;

    // --- control: one small versioned registry

    /// One entry.
    async fn get(&self, kind: EntryKind, key: &str) -> Result<Option<RegistryEntry>, StoreError>;

    /// Writes (`Some`) or removes (`None`) an entry if its version is still `expected`; `None` expects absence.
    async fn cas(
        &self,
        kind: EntryKind,
        key: &str,
        expected: Option<u64>,
        value: Option<Vec<u8>>,
    ) -> Result<CasOutcome, StoreError>;

    /// All entries of a kind, by key, without values larger than 64 KiB (their `value` is `None`).
    async fn list(&self, kind: EntryKind) -> Result<Vec<(String, RegistryEntry)>, StoreError>;

    /// Rises whenever an entry of the kind changes, by this host or, as far as it has heard, another.
    fn watch(&self, kind: EntryKind) -> tokio::sync::watch::Receiver<u64>;

    /// Stores a routing table under its hash, so that events can refer to it. Idempotent.
    async fn keep_table(&self, table: &RouteTable) -> Result<(), StoreError>;

    /// The text of a stored routing table.
    async fn table(&self, hash: TableHash) -> Result<Option<String>, StoreError>;

    // --- questions

    /// Events, newest first.
    async fn events(
        &self,
        filter: EventFilter,
        page: PageRequest,
    ) -> Result<PageOf<EventDetail>, StoreError>;

    /// One event with its deliveries and their attempts, by row id or outward id.
    async fn event(&self, id: EventId) -> Result<Option<EventDetail>, StoreError>;

    /// The request that carried an event, as it was received.
    async fn request(&self, id: RequestId) -> Result<Option<StoredRequest>, StoreError>;

    /// Rows that could not be read since the store was opened, and were set aside.
    fn unreadable(&self) -> Vec<UnreadableRows>;

    /// Deliveries, newest first.
    async fn deliveries(
        &self,
        filter: DeliveryFilter,
        page: PageRequest,
    ) -> Result<PageOf<DeliveryDetail>, StoreError>;

    /// One delivery with its attempts.
    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryDetail>, StoreError>;

    /// Finds an id. Messages and senders' ids have no index: only the newest million of rows is looked through.
    async fn find(&self, sought: IdLookup) -> Result<IdMatches, StoreError>;

    /// The headers and body of a message; none for other deliveries, and once they are no longer kept.
    async fn message(&self, id: DeliveryId) -> Result<Option<Payload>, StoreError>;

    /// Totals of deliveries by target and state, and of events by source; cheap enough for every scrape.
    async fn counts(&self, filter: CountsFilter) -> Result<Vec<CountRow>, StoreError>;

    /// The oldest delivery that waits, for every target that has one; cheap enough for every scrape.
    async fn oldest_waiting(&self) -> Result<Vec<OldestWaiting>, StoreError>;

    // --- acts

    /// Makes finished or dead deliveries due again, in a new generation; idempotent by request.
    async fn replay(&self, replay: ReplayRequest) -> Result<ReplayOutcome, StoreError>;

    /// Makes deliveries that wait for a retry due at once; attempts and generation stay as they are.
    async fn retry_now(&self, what: RetryNow) -> Result<RetriedNow, StoreError>;

    /// Places a hold. Deliveries keep their state, time and attempts under it.
    async fn hold(&self, hold: NewHold) -> Result<HoldId, StoreError>;

    /// Places a hold again that has ended, or gives one that has not another end: under its number and with the time
    /// at which it was first placed.
    async fn hold_again(&self, held: Hold) -> Result<(), StoreError>;

    /// Ends a hold. False if there is none by that id.
    async fn release(&self, id: HoldId) -> Result<bool, StoreError>;

    /// The holds that are in force.
    async fn holds(&self) -> Result<Vec<Hold>, StoreError>;

    // --- upkeep

    /// Removes one chunk of what retention lets go, never unfinished work; call again while `more`.
    ///
    /// Refused as `Invalid` while the clock is more than a day from the latest time that the store has seen:
    /// see [`Store::confirm_time`].
    async fn prune(&self, retention: &Retention) -> Result<Pruned, StoreError>;

    /// A person says that the clock is right, so that `prune` may go by it.
    async fn confirm_time(&self) -> Result<(), StoreError>;

    /// Verifies the store: structure, durability settings, and that what must agree does.
    async fn check(&self) -> Result<CheckReport, StoreError>;

    /// Writes a consistent copy to a file that does not exist yet.
    async fn backup(&self, to: &std::path::Path) -> Result<(), StoreError>;

    /// Commits what is queued and lets go of the engine. Later calls answer [`StoreError::Closed`].
    async fn close(&self) -> Result<(), StoreError>;

    /// How far it has been looked over, where the process before this one did not close it.
    fn look_over(&self) -> IntegrityStatus;

    /// Troubles of the store while it goes on working: cheap, asks nothing of the disk.
    fn condition(&self) -> StoreHealth;

    /// Why the store takes no more writes, if so. Never resets in this process.
    fn poisoned(&self) -> Option<String>;
}
