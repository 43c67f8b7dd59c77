//! The trait, each method handed to the module that knows it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use weir_core::id::{DeliveryId, EventId, RequestId};
use weir_core::name::{HandlerName, Target};
use weir_core::payload::Payload;
use weir_core::route::{RouteTable, TableHash};
use weir_core::state::StateReader;

use super::ingest::Claiming;
use super::slots::Run;
use super::{
    SqliteStore, claim, control, find, hasten, holds, prune, query, replay, replies, state, upkeep,
    waiting,
};
use crate::Store;
use crate::condition::{StoreHealth, UnreadableRows};
use crate::error::StoreError;
use crate::hold::{Hold, HoldId, NewHold};
use crate::query::{
    CountRow, CountsFilter, DeliveryDetail, DeliveryFilter, EventDetail, EventFilter, IdLookup,
    IdMatches, OldestWaiting, PageOf, PageRequest, StoredReply, StoredRequest,
};
use crate::registry::{CasOutcome, EntryKind, RegistryEntry};
use crate::upkeep::{
    CheckReport, IntegrityStatus, Pruned, ReplayOutcome, ReplayRequest, Retention, RetriedNow,
    RetryNow,
};
use crate::{Claim, ClaimRequest, Ingested, NewRequest, RunGuard, Settled, Settlement};

#[async_trait]
impl Store for SqliteStore {
    async fn ingest(&self, batch: Vec<NewRequest>) -> Vec<Result<Ingested, StoreError>> {
        let items = batch.len();
        match self.shared.ingest(batch, None).await {
            Ok(answers) => answers,
            Err(e) => vec![Err(e); items],
        }
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
        let place = Arc::new(Mutex::new(None));
        let claiming = Claiming { target: target.clone(), place: place.clone() };
        let mut answers = self.shared.ingest(vec![request], Some(claiming)).await?;
        let ingested = answers.pop().unwrap_or(Err(StoreError::Closed))?;
        let claimed = place.lock().take();
        Ok((ingested, claimed))
    }

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

    fn given_up_at_open(&self) -> Vec<DeliveryId> {
        self.given_up.clone()
    }

    async fn extend(&self, claims: &[&Claim]) -> Result<Vec<bool>, StoreError> {
        self.shared.writable()?;
        let due = self.shared.due.lock();
        let held = |claimed: &&Claim| {
            let row = self.shared.ids.open(super::ids::RowKind::Delivery, claimed.delivery.bits());
            row.is_some_and(|row| due.is_claimed_for(row.n, claimed.fence))
        };
        Ok(claims.iter().map(held).collect())
    }

    fn begin(&self, claimed: &Claim) -> Result<RunGuard, StoreError> {
        let row = self.shared.ids.open(super::ids::RowKind::Delivery, claimed.delivery.bits());
        match (&claimed.target, row) {
            (Target::Handler(_), Some(row)) => {
                let started_at = self.shared.clock.now();
                self.shared.slots.begin(&Run { n: row.n, fence: claimed.fence, started_at })
            }
            (Target::Destination(_), _) => {
                Err(StoreError::Invalid("only a handler's delivery is run".into()))
            }
            (_, None) => {
                let problem = format!("there is no delivery {}", claimed.delivery);
                Err(StoreError::Invalid(problem))
            }
        }
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled, StoreError>> {
        let items = batch.len();
        match self.shared.settle(batch).await {
            Ok(answers) => answers,
            Err(e) => vec![Err(e); items],
        }
    }

    async fn wait_due(&self, at_most: Duration) {
        let now = self.shared.clock.now();
        self.shared.end_holds(now);
        let hold_ends = self.shared.next_hold_end().map_or(at_most, |end| end.since(now));
        claim::wait_due(&self.shared, at_most.min(hold_ends)).await;
    }

    async fn reply(&self, event: EventId) -> Result<Option<StoredReply>, StoreError> {
        let found = self.shared.blocking("read a reply", move |s| replies::find(&s, event)).await?;
        found.transpose().map_err(StoreError::Damaged)
    }

    fn state(&self, handler: &HandlerName) -> Arc<dyn StateReader> {
        Arc::new(state::Reader::new(self.shared.clone(), handler))
    }

    async fn get(&self, kind: EntryKind, key: &str) -> Result<Option<RegistryEntry>, StoreError> {
        let key = key.to_owned();
        self.shared
            .blocking("read the registry", move |s| s.readers.with(|c| control::get(c, kind, &key)))
            .await
    }

    async fn cas(
        &self,
        kind: EntryKind,
        key: &str,
        expected: Option<u64>,
        value: Option<Vec<u8>>,
    ) -> Result<CasOutcome, StoreError> {
        control::check_key(key)?;
        let key = key.to_owned();
        let bytes = value.as_ref().map_or(0, Vec::len);
        self.shared
            .job("write to the registry", bytes, move |w| {
                control::cas(w, kind, &key, expected, value)
            })
            .await
    }

    async fn list(&self, kind: EntryKind) -> Result<Vec<(String, RegistryEntry)>, StoreError> {
        self.shared
            .blocking("list the registry", move |s| s.readers.with(|c| control::list(c, kind)))
            .await
    }

    fn watch(&self, kind: EntryKind) -> tokio::sync::watch::Receiver<u64> {
        self.shared.watchers.subscribe(kind)
    }

    async fn keep_table(&self, table: &RouteTable) -> Result<(), StoreError> {
        let hash = table.hash();
        if self.shared.routing(hash).is_ok() {
            return Ok(());
        }
        let text = control::text_of(table);
        self.shared
            .job("keep a routing table", text.len(), move |w| control::keep_table(w, hash, &text))
            .await
    }

    async fn table(&self, hash: TableHash) -> Result<Option<String>, StoreError> {
        self.shared
            .blocking("read a routing table", move |s| s.readers.with(|c| control::table(c, hash)))
            .await
    }

    async fn events(
        &self,
        filter: EventFilter,
        page: PageRequest,
    ) -> Result<PageOf<EventDetail>, StoreError> {
        let after = query::cursor(&page)?;
        self.shared
            .blocking("list events", move |s| query::events(&s, &filter, page.limit, after))
            .await
    }

    async fn event(&self, id: EventId) -> Result<Option<EventDetail>, StoreError> {
        self.shared.blocking("read an event", move |s| query::event(&s, id)).await
    }

    async fn request(&self, id: RequestId) -> Result<Option<StoredRequest>, StoreError> {
        let found = self.shared.blocking("read a request", move |s| query::request(&s, id)).await?;
        found.transpose().map_err(StoreError::Damaged)
    }

    fn unreadable(&self) -> Vec<UnreadableRows> {
        self.shared.aside.list()
    }

    async fn deliveries(
        &self,
        filter: DeliveryFilter,
        page: PageRequest,
    ) -> Result<PageOf<DeliveryDetail>, StoreError> {
        let after = query::cursor(&page)?;
        self.shared
            .blocking("list deliveries", move |s| query::deliveries(&s, &filter, page.limit, after))
            .await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryDetail>, StoreError> {
        self.shared.blocking("read a delivery", move |s| query::delivery(&s, id)).await
    }

    async fn find(&self, sought: IdLookup) -> Result<IdMatches, StoreError> {
        self.shared.blocking("look for an id", move |s| find::find(&s, &sought)).await
    }

    async fn message(&self, id: DeliveryId) -> Result<Option<Payload>, StoreError> {
        self.shared.blocking("read a message", move |s| find::said(&s, id)).await
    }

    async fn counts(&self, filter: CountsFilter) -> Result<Vec<CountRow>, StoreError> {
        Ok(query::counts(&self.shared, filter))
    }

    async fn oldest_waiting(&self) -> Result<Vec<OldestWaiting>, StoreError> {
        self.shared.blocking("look for what waits longest", |s| waiting::oldest_waiting(&s)).await
    }

    async fn replay(&self, replay: ReplayRequest) -> Result<ReplayOutcome, StoreError> {
        self.shared.job("redrive", 0, move |w| replay::replay(w, &replay)).await
    }

    async fn retry_now(&self, what: RetryNow) -> Result<RetriedNow, StoreError> {
        self.shared.job("retry at once", 0, move |w| hasten::hasten(w, &what)).await
    }

    async fn hold(&self, hold: NewHold) -> Result<HoldId, StoreError> {
        self.shared.job("place a hold", 0, move |w| holds::place(w, hold)).await
    }

    async fn hold_again(&self, held: Hold) -> Result<(), StoreError> {
        self.shared.job("place a hold again", 0, move |w| holds::place_again(w, held)).await
    }

    async fn release(&self, id: HoldId) -> Result<bool, StoreError> {
        self.shared.job("release a hold", 0, move |w| holds::release(w, id)).await
    }

    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        self.shared.end_holds(self.shared.clock.now());
        Ok(self.shared.holds_in_force())
    }

    async fn prune(&self, retention: &Retention) -> Result<Pruned, StoreError> {
        let retention = *retention;
        self.shared.job("prune", 0, move |w| prune::prune(w, &retention)).await
    }

    async fn confirm_time(&self) -> Result<(), StoreError> {
        let confirm = |w: &mut super::group::Writing<'_>| {
            w.marks.confirm(w.now);
            super::schema::set_meta(w.conn, "latest_at", &super::num::stored_time(w.now.wall))?;
            Ok(())
        };
        self.shared.job("confirm the time", 0, confirm).await
    }

    async fn check(&self) -> Result<CheckReport, StoreError> {
        upkeep::check(&self.shared).await
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        upkeep::backup(&self.shared, to).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        // Joining waits, so not on a thread that others need. Who still reads would keep the log from being emptied.
        self.shared.look_over.stop();
        let looker = self.looker.lock().take();
        if let Some(thread) = looker {
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

    fn look_over(&self) -> IntegrityStatus {
        self.shared.look_over.told()
    }

    fn condition(&self) -> StoreHealth {
        StoreHealth {
            full_since: self.shared.room.full_since(),
            unreadable: self.shared.aside.rows(),
            lost: self.shared.lost.clone(),
        }
    }

    fn poisoned(&self) -> Option<String> {
        self.shared.poisoned.get().cloned()
    }
}
