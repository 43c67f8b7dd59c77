//! The SQLite engine: one file, one process, one thread that writes.
//!
//! Callers prepare (pack, hash) on their own threads and queue; the writer commits whole groups and tells memory
//! afterwards. What is due is claimed from memory. Read `schema.sql` first; then `writer`, the path of a write.
//!
//! What may not live here: business rules, HTTP types, SQL outside this folder.

mod acks;
mod aside;
mod checkpoint;
mod claim;
mod control;
mod dedup;
mod due;
mod effects;
mod failure;
mod feed;
mod find;
mod group;
mod hasten;
mod holds;
mod identity;
mod ids;
mod ingest;
mod lines;
mod look_over;
mod lost;
mod marks;
mod names;
mod num;
mod open;
mod payloads;
mod prune;
mod query;
mod queue;
mod readers;
mod replay;
mod replies;
mod reroute;
mod room;
mod schema;
mod settle;
mod slots;
mod soundness;
mod state;
mod stats;
mod store;
mod time;
mod upkeep;
mod waiting;
mod writer;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, oneshot};
use weir_core::id::DeliveryId;
use weir_core::payload::Payload;
use weir_core::route::TableHash;
use weir_core::time::{Clock, DueClock};

pub use open::{check, open};
pub use stats::Stats;

use crate::condition::{LostRows, UnreadableRows};
use crate::error::StoreError;
use crate::{Ingested, NewRequest, Settled, Settlement};
use failure::Failure;
use group::{Job, JobEnd, JobError, Writing};
use ingest::{Claiming, PreparedRequest};
use queue::{Bounds, IngestOp, Queue, SettleOp};
use slots::LastEnd;

const MIB: usize = 1024 * 1024;
/// The writer's page cache: the ends of all tables, and the pages that settlements come back to.
const WRITER_CACHE_KIB: u32 = 16 * 1024;

/// How a store runs. The defaults suit one machine of a few cores.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Writes that may wait; more are refused as overload.
    pub queue_items: usize,
    /// Bytes of writes that may wait.
    pub queue_bytes: usize,
    /// Requests in one commit, at most.
    pub group_items: usize,
    /// Bytes in one commit, about.
    pub group_bytes: usize,
    /// How long a settlement may wait to ride with requests, while requests are flowing.
    pub settle_hold: Duration,
    /// Settlements in one commit; so many are written without waiting.
    pub settle_items: usize,
    /// Deliveries per target and source that wait in memory; the rest waits on disk.
    pub due_window: usize,
    /// Bytes of events that are handed on to claims without being read back.
    pub handoff_bytes: usize,
    /// Dedup keys in memory before they are written behind as a run.
    pub keys_per_run: usize,
    /// Payloads of a source to train its dictionary on; 0 for no dictionaries.
    pub dictionary_after: usize,
    /// Connections that only read: so many for handlers' state, and as many for everything else.
    pub readers: usize,
    /// Runs of handlers at once that are kept account of, in case the process dies.
    pub run_slots: usize,
    /// Pages in the log that call for a checkpoint.
    pub checkpoint_pages: u32,
    /// Bytes of a store that is looked over whole before it takes anything in, when the process before this one did
    /// not close it. Of a larger one it is what was written last, and the rest while work goes on: a whole look takes a
    /// second for every 60 MB that are not in memory.
    pub whole_check_bytes: u64,
    /// Pages (of 4 KiB) that the database file may have; beyond, it is a full disk. None for no limit.
    pub max_pages: Option<u32>,
    /// Bytes of a file that keeps room for when the disk is full; less where there is less room, and 0 for none.
    pub reserve_bytes: u64,
    /// How often totals and marks are written, at most, by the machine's own time and not by `clock`.
    pub marks_every: Duration,
    /// The SQLite VFS that files are reached through, registered under this name; none for the machine's own. The
    /// simulator puts a disk that fails here.
    pub vfs: Option<String>,
}

impl Options {
    /// The defaults, with this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            queue_items: 8_192,
            queue_bytes: 128 * MIB,
            group_items: 256,
            group_bytes: MIB,
            settle_hold: Duration::from_millis(20),
            settle_items: 512,
            due_window: 16_384,
            handoff_bytes: 64 * MIB,
            keys_per_run: 131_072,
            dictionary_after: 500,
            readers: 4,
            run_slots: 2 * std::thread::available_parallelism().map_or(2, usize::from),
            checkpoint_pages: 4_000,
            whole_check_bytes: 128 << 20,
            max_pages: None,
            reserve_bytes: 0,
            marks_every: Duration::from_secs(1),
            vfs: None,
        }
    }
}

/// What the threads and callers of one store share.
pub(crate) struct Shared {
    clock: Arc<dyn Clock>,
    line: Mutex<DueClock>,
    place: schema::Place,
    ids: ids::Ids,
    keys: schema::Keys,
    names: names::Names,
    packer: payloads::Packer,
    routings: RwLock<FxHashMap<TableHash, i64>>,
    due: Mutex<due::Due>,
    holds: Mutex<holds::Holds>,
    totals: Mutex<marks::Totals>,
    readers: readers::Readers,
    /// Apart, so that a long list never keeps a run waiting for its state.
    state_readers: readers::Readers,
    queue: Queue,
    bounds: Bounds,
    wake: Notify,
    slots: slots::Slots,
    room: room::Room,
    identity: identity::Identity,
    acks: acks::Acks,
    aside: aside::Aside,
    /// Rows that were missing when it was opened.
    lost: Vec<LostRows>,
    look_over: look_over::Progress,
    /// How many suspects `due` has, so that settling need not ask it.
    suspects: AtomicUsize,
    watchers: control::Watchers,
    poisoned: OnceLock<String>,
    stats: stats::Counters,
}

/// A store in one SQLite file. Closed when dropped, though [`crate::Store::close`] tells how that went.
pub struct SqliteStore {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    looker: Mutex<Option<JoinHandle<()>>>,
    /// When it was opened.
    given_up: Vec<DeliveryId>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("file", &self.shared.place.path())
            .finish_non_exhaustive()
    }
}

fn engine(doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |e| failure::told_reader(doing, &e)
}

impl Shared {
    /// Refuses when nothing is written any more.
    fn writable(&self) -> Result<(), StoreError> {
        match self.poisoned.get() {
            Some(reason) => Err(StoreError::Poisoned { reason: reason.clone() }),
            None if self.queue.is_closed() => Err(StoreError::Closed),
            None => Ok(()),
        }
    }

    /// No write is answered with success in this process again.
    fn poison(&self, reason: String) {
        tracing::error!(
            reason,
            "the store cannot be relied on and takes no more writes until the next start"
        );
        let _first_reason_stays = self.poisoned.set(reason);
        self.slots.end(LastEnd::Poisoned);
    }

    /// Sets rows of a table aside that cannot be read.
    fn set_aside(&self, what: &'static str, holes: Vec<aside::Hole>) {
        for aside::Hole { first, last, why } in holes {
            self.aside.put(UnreadableRows {
                what,
                first,
                last,
                id: None,
                target: None,
                reason: why.into(),
                found_at: self.clock.now(),
            });
        }
    }

    /// A write did not fit on the disk: requests are refused until there is room.
    fn disk_is_full(&self) {
        if self.room.ran_out(self.clock.now()) {
            tracing::error!(
                file = %self.place.path().display(),
                "the disk is full: webhooks are refused until there is room; free some space"
            );
        }
    }

    /// Fails, for good, if the files are not those that were opened any more.
    fn still_ours(&self, looked: Result<(), identity::Strange>) -> Result<(), StoreError> {
        looked.map_err(|strange| {
            self.poison(strange.to_string());
            StoreError::Poisoned { reason: strange.to_string() }
        })
    }

    /// Moves the bulk of the log into the database, if both are still the store's own. Returns whether it was done.
    fn checkpoint(&self, conn: &rusqlite::Connection) -> bool {
        if self.poisoned.get().is_some() || self.still_ours(self.identity.check()).is_err() {
            return false;
        }
        let done = self.identity.checkpointing(|| checkpoint::checkpoint(conn));
        self.acks.sync();
        done.map_err(|e| self.checkpoint_failed(&e)).is_ok()
    }

    fn checkpoint_failed(&self, e: &rusqlite::Error) {
        match Failure::of(e) {
            Failure::Fatal(reason) => self.poison(reason),
            Failure::Full => self.disk_is_full(),
            _ => tracing::warn!(error = %e, "checkpoint failed; the log grows until one succeeds"),
        }
    }

    /// The row of a routing table.
    fn routing(&self, hash: TableHash) -> Result<i64, StoreError> {
        let known = self.routings.read().get(&hash).copied();
        known.ok_or_else(|| {
            StoreError::Invalid(format!("routing table {hash} was never given to the store"))
        })
    }

    /// Packs what a source sent; now and then that starts the training of a dictionary.
    fn pack(self: &Arc<Self>, source: &str, payload: &Payload) -> payloads::Packed {
        let (packed, samples) = self.packer.pack(source, payload);
        if let Some(samples) = samples {
            self.train(samples);
        }
        packed
    }

    fn train(self: &Arc<Self>, samples: payloads::Samples) {
        let shared = self.clone();
        let spawned = std::thread::Builder::new().name("weir-train".into()).spawn(move || {
            let Some(data) = samples.train() else {
                tracing::debug!(source = %samples.source, "payloads are too different for a dictionary");
                return;
            };
            let (run, _) = shared.job_run("keep a dictionary", move |writing| {
                control::keep_dictionary(writing, &samples.source, data)
            });
            if let Err(e) = shared.queue.put_job(Job { run, bytes: 0 }) {
                tracing::debug!(error = %e, "a dictionary was not kept");
            }
        });
        if let Err(e) = spawned {
            tracing::warn!(error = %e, "could not start a thread to train a dictionary");
        }
    }

    /// Runs a write in the next group and waits for its commit.
    async fn job<T: Send + 'static>(
        &self,
        doing: &'static str,
        bytes: usize,
        work: impl FnOnce(&mut Writing<'_>) -> Result<T, JobError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writable()?;
        let (run, answer) = self.job_run(doing, work);
        self.queue.put_job(Job { run, bytes })?;
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    fn job_run<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Writing<'_>) -> Result<T, JobError> + Send + 'static,
    ) -> (group::Run, oneshot::Receiver<Result<T, StoreError>>) {
        let (tell, answer) = oneshot::channel();
        let run: group::Run = Box::new(move |writing| {
            let done = writing.map(work);
            let keep = matches!(done, Some(Ok(_)));
            let (value, failed) = match done {
                None => (Err(StoreError::Closed), None),
                Some(Ok(value)) => (Ok(value), None),
                Some(Err(JobError::Refused(e))) => (Err(e), None),
                Some(Err(JobError::Engine(e))) => (Err(failure::told_reader(doing, &e)), Some(e)),
            };
            let answer = Box::new(move |end: Result<(), StoreError>| {
                // A caller that went away does not want to know.
                let _gone = tell.send(end.and(value));
            });
            JobEnd { keep, failed, answer }
        });
        (run, answer)
    }

    /// What an answer that never comes means.
    fn gone(&self) -> StoreError {
        self.writable().err().unwrap_or(StoreError::Closed)
    }

    /// Runs a question on a thread that may wait for the disk.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        doing: &'static str,
        question: impl FnOnce(Arc<Self>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.queue.is_closed() {
            return Err(StoreError::Closed);
        }
        let shared = self.clone();
        match tokio::task::spawn_blocking(move || question(shared)).await {
            Ok(answer) => answer.map_err(|e| failure::told_reader(doing, &e)),
            Err(e) => Err(StoreError::Engine { doing, cause: e.to_string() }),
        }
    }

    async fn ingest(
        self: &Arc<Self>,
        batch: Vec<NewRequest>,
        mut claiming: Option<Claiming>,
    ) -> Result<Vec<Result<Ingested, StoreError>>, StoreError> {
        self.writable()?;
        let mut requests = Vec::with_capacity(batch.len());
        let mut refused = Vec::new();
        for (index, request) in batch.into_iter().enumerate() {
            match ingest::prepare(self, request) {
                Ok(prepared) => {
                    let claiming = claiming.take();
                    requests.push(PreparedRequest { claiming, ..prepared });
                }
                Err(e) => refused.push((index, e)),
            }
        }
        let bytes = requests.iter().map(PreparedRequest::bytes).sum();
        let (reply, answer) = oneshot::channel();
        self.queue.put_ingest(IngestOp { requests, bytes, reply })?;
        let mut answers = answer.await.map_err(|_| self.gone())?;
        for (index, e) in refused {
            answers.insert(index, Err(e));
        }
        Ok(answers)
    }

    async fn settle(
        self: &Arc<Self>,
        batch: Vec<Settlement>,
    ) -> Result<Vec<Result<Settled, StoreError>>, StoreError> {
        self.writable()?;
        let mut settlements = Vec::with_capacity(batch.len());
        let mut refused = Vec::new();
        for (index, settlement) in batch.into_iter().enumerate() {
            match settle::prepare(self, settlement) {
                Ok(prepared) => settlements.push(prepared),
                Err(e) => refused.push((index, e)),
            }
        }
        let bytes = settlements.iter().map(settle::PreparedSettlement::bytes).sum();
        let (reply, answer) = oneshot::channel();
        self.queue.put_settle(SettleOp { settlements, bytes, reply, since: Instant::now() })?;
        let mut answers = answer.await.map_err(|_| self.gone())?;
        for (index, e) in refused {
            answers.insert(index, Err(e));
        }
        Ok(answers)
    }
}

impl SqliteStore {
    /// What the writer has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let set_back = self.shared.line.lock().ahead();
        Stats { set_back, ..self.shared.stats.read(self.shared.queue.len()) }
    }

    /// Commits that changed something, since the store was opened.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.stats().commits
    }

    fn stop(&self) {
        self.shared.look_over.stop();
        if let Some(thread) = self.looker.lock().take() {
            let _looked = thread.join();
        }
        self.shared.queue.close();
        self.shared.wake.notify_waiters();
        if let Some(thread) = self.writer.lock().take()
            && thread.join().is_err()
        {
            self.shared.poison("the writer panicked".into());
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.stop();
    }
}
