//! The store's traits for SQLite. Each method hands over to the module that does the work.

use crate::sqlite::engine::{prepared_request, prepared_settlement};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use weir_core::effect::StateWrite;
use weir_core::id::{AttemptId, DeliveryId, EventId, RequestId};
use weir_core::name::{HandlerName, Target};
use weir_core::payload::Payload;
use weir_core::route::{RouteTable, TableHash};
use weir_core::state::StateReader;

use crate::audit::{AuditEntry, AuditFilter, NewAudit};
use crate::error::StoreError;
use crate::handler_state::{
    HandlerRename, HandlerRenamed, StateChange, StateChanged, StatePage, StateQuery,
};
use crate::health::{HostLost, StoreHealth, UnreadableRows};
use crate::hold::{Hold, HoldId, NewHold};
use crate::query::{
    AttemptInput, BoundedCount, CountRow, CountsFilter, DeliveryDetail, DeliveryFilter,
    EventDetail, EventFilter, EventsInOrder, IdLookup, IdMatches, InOrderFilter, OldestWaiting,
    PageOf, PageRequest, StoredReply, StoredRequest,
};
use crate::registry::{CasOutcome, EntryKind, RegistryEntry};
use crate::rollup::{RollupBatch, RollupQuery, Rollups};
use crate::sqlite::SqliteStore;
use crate::sqlite::engine::group::Writing;
use crate::sqlite::engine::prepared_request::{Claiming, PreparedRequest};
use crate::sqlite::engine::prepared_settlement::PreparedSettlement;
use crate::sqlite::engine::queue::{IngestOp, SettleOp};
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::files::slots::RunRecord;
use crate::sqlite::format::ids::RowKind;
use crate::sqlite::format::{num, schema};
use crate::sqlite::read::lists::PageStart;
use crate::sqlite::read::{
    self, attempt_input, claim, find, in_order, lists, oldest_waiting, query,
};
use crate::sqlite::upkeep::{check, prune};
use crate::sqlite::write::{
    audit, cancel, discard, erase, handler_state, holds, registry, replay, replies, retry_now,
    rollups, state,
};
use crate::store::{Dispatch, Ingest, Maintenance, Operations, Queries, Registry};
use crate::upkeep::{
    CancelOutcome, CancelSelection, CheckReport, Erased, Pruned, ReplayOutcome, ReplayRequest,
    Retention, RetriedNow, RetryNow,
};
use crate::{Claim, ClaimRequest, Ingested, NewRequest, RunGuard, Settled, Settlement};

/// One answer per item of a call.
type Answers<T> = Vec<Result<T, StoreError>>;

#[async_trait]
impl Ingest for SqliteStore {
    async fn ingest(&self, batch: Vec<NewRequest>) -> Answers<Ingested> {
        let items = batch.len();
        store_requests(&self.shared, batch, None).await.unwrap_or_else(|e| vec![Err(e); items])
    }

    async fn ingest_claiming(
        &self,
        request: NewRequest,
        target: &Target,
    ) -> Result<(Ingested, Option<Claim>), StoreError> {
        if request.events.len() != 1 {
            return Err(StoreError::Invalid("only a request with one event can be claimed".into()));
        }
        self.shared.end_holds(self.shared.clock.now());
        let slot = Arc::new(Mutex::new(None));
        let claiming = Claiming { target: target.clone(), slot: slot.clone() };
        let mut answers = store_requests(&self.shared, vec![request], Some(claiming)).await?;
        let ingested = answers.pop().unwrap_or(Err(StoreError::Closed))?;
        let claimed = slot.lock().take();
        Ok((ingested, claimed))
    }

    async fn keep_table(&self, table: &RouteTable) -> Result<(), StoreError> {
        let hash = table.hash();
        if self.shared.routing(hash).is_ok() {
            return Ok(());
        }
        let text = registry::text_of(table);
        self.shared
            .job("store a routing table", text.len(), move |w| registry::keep_table(w, hash, &text))
            .await
    }
}

/// Prepares requests on the caller's thread, queues them and waits for their commit.
async fn store_requests(
    shared: &Arc<Shared>,
    batch: Vec<NewRequest>,
    mut claiming: Option<Claiming>,
) -> Result<Answers<Ingested>, StoreError> {
    shared.writable()?;
    let mut requests = Vec::with_capacity(batch.len());
    let mut refused = Vec::new();
    for (index, request) in batch.into_iter().enumerate() {
        match prepared_request::prepare(shared, request) {
            Ok(prepared) => {
                let claiming = claiming.take();
                requests.push(PreparedRequest { claiming, ..prepared });
            }
            Err(e) => refused.push((index, e)),
        }
    }
    let bytes = requests.iter().map(PreparedRequest::bytes).sum();
    let (reply, answer) = oneshot::channel();
    shared.queue.put_ingest(IngestOp { requests, bytes, reply })?;
    let answers = answer.await.map_err(|e| shared.unanswered("store requests", e))?;
    Ok(with_refused(answers, refused))
}

/// Puts the answers to refused items back at their positions, which rise.
fn with_refused<T>(mut answers: Answers<T>, refused: Vec<(usize, StoreError)>) -> Answers<T> {
    for (index, e) in refused {
        answers.insert(index, Err(e));
    }
    answers
}

#[async_trait]
impl Dispatch for SqliteStore {
    async fn claim(&self, wanted: &[ClaimRequest]) -> Result<Vec<Claim>, StoreError> {
        self.shared.end_holds(self.shared.clock.now());
        claim::claim(&self.shared, wanted).await
    }

    async fn claim_abandoned(
        &self,
        target: &Target,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        claim::claim_abandoned(&self.shared, target, limit).await
    }

    fn begin_run(&self, claim: &Claim) -> Result<RunGuard, StoreError> {
        let row = self.shared.ids.open(RowKind::Delivery, claim.delivery.bits());
        match (&claim.target, row) {
            (Target::Handler(_), Some(row)) => {
                let started_at = self.shared.clock.now();
                self.shared.slots.begin(&RunRecord { n: row.n, fence: claim.fence, started_at })
            }
            (Target::Destination(_), _) => {
                Err(StoreError::Invalid("only a handler's delivery is run".into()))
            }
            (_, None) => {
                Err(StoreError::Invalid(format!("there is no delivery {}", claim.delivery)))
            }
        }
    }

    async fn settle(&self, batch: &[Arc<Settlement>]) -> Answers<Settled> {
        let items = batch.len();
        store_settlements(&self.shared, batch).await.unwrap_or_else(|e| vec![Err(e); items])
    }

    async fn wait_due(&self, at_most: Duration) {
        let now = self.shared.clock.now();
        self.shared.end_holds(now);
        let hold_ends = self.shared.next_hold_end().map_or(at_most, |end| end.since(now));
        claim::wait_due(&self.shared, at_most.min(hold_ends)).await;
    }

    fn host_lost(&self) -> mpsc::UnboundedReceiver<HostLost> {
        let (sender, receiver) = mpsc::unbounded_channel();
        for delivery in std::mem::take(&mut *self.given_up.lock()) {
            // The receiver is here, so this cannot fail.
            let _sent = sender.send(HostLost { delivery });
        }
        receiver
    }

    fn state(&self, handler: &HandlerName) -> Arc<dyn StateReader> {
        Arc::new(state::Reader::new(self.shared.clone(), handler))
    }
}

/// Prepares settlements on the caller's thread, queues them and waits for their commit.
async fn store_settlements(
    shared: &Arc<Shared>,
    batch: &[Arc<Settlement>],
) -> Result<Answers<Settled>, StoreError> {
    shared.writable()?;
    let mut settlements = Vec::with_capacity(batch.len());
    let mut refused = Vec::new();
    for (index, settlement) in batch.iter().enumerate() {
        match prepared_settlement::prepare(shared, settlement) {
            Ok(prepared) => settlements.push(prepared),
            Err(e) => refused.push((index, e)),
        }
    }
    let bytes = settlements.iter().map(PreparedSettlement::bytes).sum();
    let (reply, answer) = oneshot::channel();
    shared.queue.put_settle(SettleOp { settlements, bytes, reply, since: Instant::now() })?;
    let answers = answer.await.map_err(|e| shared.unanswered("store settlements", e))?;
    Ok(with_refused(answers, refused))
}

#[async_trait]
impl Registry for SqliteStore {
    async fn get(&self, kind: EntryKind, key: &str) -> Result<Option<RegistryEntry>, StoreError> {
        let key = key.to_owned();
        self.shared
            .blocking("read the registry", move |s| {
                s.readers.with(|c| registry::get(c, kind, &key))
            })
            .await
    }

    async fn cas(
        &self,
        kind: EntryKind,
        key: &str,
        expected: Option<u64>,
        value: Option<Vec<u8>>,
    ) -> Result<CasOutcome, StoreError> {
        registry::check_key(key)?;
        let key = key.to_owned();
        let bytes = value.as_ref().map_or(0, Vec::len);
        self.shared
            .job("write to the registry", bytes, move |w| {
                registry::cas(w, kind, &key, expected, value)
            })
            .await
    }

    async fn list(&self, kind: EntryKind) -> Result<Vec<(String, RegistryEntry)>, StoreError> {
        self.shared
            .blocking("list the registry", move |s| s.readers.with(|c| registry::list(c, kind)))
            .await
    }

    fn watch(&self, kind: EntryKind) -> watch::Receiver<u64> {
        self.shared.watchers.subscribe(kind)
    }
}

#[async_trait]
impl Queries for SqliteStore {
    async fn events(
        &self,
        filter: EventFilter,
        page: PageRequest,
    ) -> Result<PageOf<EventDetail>, StoreError> {
        let start = PageStart::of(&page)?;
        self.shared
            .blocking("list events", move |s| lists::events(&s, &filter, page.limit, start))
            .await
    }

    async fn event(&self, id: EventId) -> Result<Option<EventDetail>, StoreError> {
        self.shared.blocking("read an event", move |s| query::event(&s, id)).await
    }

    async fn request(&self, id: RequestId) -> Result<Option<StoredRequest>, StoreError> {
        let found = self.shared.blocking("read a request", move |s| query::request(&s, id)).await?;
        found.into_answer()
    }

    async fn deliveries(
        &self,
        filter: DeliveryFilter,
        page: PageRequest,
    ) -> Result<PageOf<DeliveryDetail>, StoreError> {
        let start = PageStart::of(&page)?;
        self.shared
            .blocking("list deliveries", move |s| lists::deliveries(&s, &filter, page.limit, start))
            .await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryDetail>, StoreError> {
        self.shared.blocking("read a delivery", move |s| query::delivery(&s, id)).await
    }

    async fn find(&self, lookup: IdLookup) -> Result<IdMatches, StoreError> {
        self.shared.blocking("look for an id", move |s| find::find(&s, &lookup)).await
    }

    async fn events_in_order(
        &self,
        filter: InOrderFilter,
        page: PageRequest,
        bytes_max: usize,
    ) -> Result<EventsInOrder, StoreError> {
        let after = in_order::start(&page)?;
        let read = move |s: &Shared| in_order::page(s, &filter, (after, page.limit, bytes_max));
        self.shared.blocking("read events in order", move |s| read(&s)).await
    }

    async fn attempt_input(&self, id: AttemptId) -> Result<Option<AttemptInput>, StoreError> {
        let read = move |s: &Shared| attempt_input::attempt_input(s, id);
        self.shared.blocking("read the input of an attempt", move |s| read(&s)).await
    }

    async fn message(&self, id: DeliveryId) -> Result<Option<Payload>, StoreError> {
        self.shared.blocking("read a message", move |s| find::message_payload(&s, id)).await
    }

    async fn reply(&self, event: EventId) -> Result<Option<StoredReply>, StoreError> {
        let found = self.shared.blocking("read a reply", move |s| replies::find(&s, event)).await?;
        found.into_answer()
    }

    async fn table(&self, hash: TableHash) -> Result<Option<String>, StoreError> {
        self.shared
            .blocking("read a routing table", move |s| s.readers.with(|c| registry::table(c, hash)))
            .await
    }

    async fn counts(&self, filter: CountsFilter) -> Result<Vec<CountRow>, StoreError> {
        Ok(query::counts(&self.shared, filter))
    }

    async fn oldest_waiting(&self) -> Result<Vec<OldestWaiting>, StoreError> {
        self.shared
            .blocking("look for the oldest delivery", |s| oldest_waiting::oldest_waiting(&s))
            .await
    }

    async fn count_events(
        &self,
        filter: EventFilter,
        at_most: u64,
    ) -> Result<BoundedCount, StoreError> {
        self.shared
            .blocking("count events", move |s| lists::count_events(&s, &filter, at_most))
            .await
    }

    async fn count_deliveries(
        &self,
        filter: DeliveryFilter,
        at_most: u64,
    ) -> Result<BoundedCount, StoreError> {
        self.shared
            .blocking("count deliveries", move |s| lists::count_deliveries(&s, &filter, at_most))
            .await
    }

    async fn audit(
        &self,
        filter: AuditFilter,
        page: PageRequest,
    ) -> Result<PageOf<AuditEntry>, StoreError> {
        let after = read::cursor::cursor(&page)?;
        self.shared
            .blocking("list the audit log", move |s| {
                read::audit::list(&s, &filter, page.limit, after)
            })
            .await
    }

    async fn rollups(&self, query: RollupQuery) -> Result<Rollups, StoreError> {
        let step = read::rollups::step_of(&query, self.shared.clock.now())?;
        self.shared.blocking("read roll-ups", move |s| read::rollups::list(&s, &query, step)).await
    }

    async fn state_page(&self, query: StateQuery) -> Result<StatePage, StoreError> {
        self.shared
            .blocking("read a handler's state", move |s| read::state_page::page(&s, &query))
            .await
    }

    fn unreadable(&self) -> Vec<UnreadableRows> {
        self.shared.unreadable.list()
    }
}

#[async_trait]
impl Operations for SqliteStore {
    async fn replay(&self, request: ReplayRequest) -> Result<ReplayOutcome, StoreError> {
        self.shared.job("replay", 0, move |w| replay::replay(w, &request)).await
    }

    async fn retry_now(&self, what: RetryNow) -> Result<RetriedNow, StoreError> {
        self.shared.job("retry at once", 0, move |w| retry_now::retry_now(w, &what)).await
    }

    async fn discard(&self, ids: Vec<DeliveryId>) -> Result<Vec<DeliveryId>, StoreError> {
        self.shared.job("discard", 0, move |w| discard::discard(w, &ids)).await
    }

    async fn cancel(&self, what: CancelSelection) -> Result<CancelOutcome, StoreError> {
        self.shared.job("cancel", 0, move |w| cancel::cancel(w, &what)).await
    }

    async fn erase(&self, events: Vec<EventId>) -> Result<Erased, StoreError> {
        self.shared.job("erase", 0, move |w| erase::erase(w, &events)).await
    }

    async fn hold(&self, hold: NewHold) -> Result<HoldId, StoreError> {
        self.shared.job("place a hold", 0, move |w| holds::place(w, hold)).await
    }

    async fn restore_hold(&self, hold: Hold) -> Result<(), StoreError> {
        self.shared.job("restore a hold", 0, move |w| holds::restore(w, hold)).await
    }

    async fn release(&self, id: HoldId) -> Result<bool, StoreError> {
        self.shared.job("release a hold", 0, move |w| holds::release(w, id)).await
    }

    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        self.shared.end_holds(self.shared.clock.now());
        Ok(self.shared.holds_in_force())
    }

    async fn audit_append(&self, entry: NewAudit) -> Result<(), StoreError> {
        entry.check()?;
        let bytes = entry.detail.len();
        self.shared.job("write the audit log", bytes, move |w| audit::append(w, &entry)).await
    }

    async fn change_state(&self, change: StateChange) -> Result<StateChanged, StoreError> {
        let size = |write: &StateWrite| {
            write.key.len() + write.value.as_ref().map_or(0, |value| value.len())
        };
        let bytes = change.writes.iter().map(size).sum();
        self.shared.job("write state", bytes, move |w| handler_state::change(w, &change)).await
    }

    async fn clear_state(
        &self,
        handler: &HandlerName,
        prefix: &str,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let (handler, prefix) = (handler.clone(), prefix.to_owned());
        self.shared
            .job("clear state", 0, move |w| handler_state::clear(w, &handler, &prefix, limit))
            .await
    }

    async fn rename_handler(&self, rename: HandlerRename) -> Result<HandlerRenamed, StoreError> {
        let bytes = rename.entry.len();
        self.shared.job("rename a handler", bytes, move |w| handler_state::rename(w, &rename)).await
    }

    fn end_rename(&self, from: &HandlerName) {
        for name in handler_state::names_of(from) {
            self.shared.names.end_alias(&name);
        }
    }

    async fn confirm_time(&self) -> Result<(), StoreError> {
        let confirm = |w: &mut Writing<'_>| {
            w.watermarks.confirm(w.now);
            schema::set_meta(w.conn, "latest_at", &num::stored_time(w.now.wall))?;
            Ok(())
        };
        self.shared.job("confirm the time", 0, confirm).await
    }
}

#[async_trait]
impl Maintenance for SqliteStore {
    async fn prune(&self, retention: &Retention) -> Result<Pruned, StoreError> {
        let retention = retention.clone();
        self.shared.job("prune", 0, move |w| prune::prune(w, &retention)).await
    }

    async fn rollups_put(&self, batch: RollupBatch) -> Result<(), StoreError> {
        rollups::check(&batch)?;
        let bytes = batch.rows.len() * 256;
        self.shared.job("store roll-ups", bytes, move |w| rollups::put(w, &batch)).await
    }

    async fn check(&self) -> Result<CheckReport, StoreError> {
        check::check(&self.shared).await
    }

    async fn writer_answers(&self) -> Result<(), StoreError> {
        self.shared.job("see that the writer works", 0, |_| Ok(())).await
    }

    fn health(&self) -> StoreHealth {
        StoreHealth {
            poisoned: self.shared.poisoned.get().cloned(),
            full_since: self.shared.disk_space.full_since(),
            unreadable: self.shared.unreadable.rows(),
            lost: self.shared.lost_rows.clone(),
            integrity: self.shared.integrity.told(),
        }
    }

    async fn poisoned(&self) -> String {
        self.shared.poisoned.wait().await.clone()
    }

    async fn close(&self) -> Result<(), StoreError> {
        // Joining blocks, so it runs on a thread for that. A reader would keep the log from being
        // emptied, so the integrity check ends first.
        self.shared.integrity.stop();
        let integrity_check = self.integrity_check.lock().take();
        if let Some(thread) = integrity_check {
            let _looked = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        let writer = self.writer.lock().take();
        self.shared.queue.close();
        self.shared.wake.notify_waiters();
        if let Some(thread) = writer {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                self.shared.poison("the writer panicked".into());
            }
        }
        match self.shared.poisoned.get() {
            Some(reason) => Err(StoreError::Poisoned { reason: reason.clone() }),
            None => Ok(()),
        }
    }
}
