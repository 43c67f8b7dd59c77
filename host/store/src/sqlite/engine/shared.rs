//! The parts of a store that its threads and callers share, and the ways to run a write or a query.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, SetOnce, oneshot};
use weir_core::payload::Payload;
use weir_core::route::TableHash;
use weir_core::time::{Clock, DueClock};

use crate::ClaimGuard;
use crate::error::StoreError;
use crate::health::{LostRows, UnreadableRows};
use crate::sqlite::engine::dictionaries::keep_dictionary;
use crate::sqlite::engine::group::{Job, JobEnd, JobFn, WriteError, Writing};
use crate::sqlite::engine::queue::{Queue, QueueBounds};
use crate::sqlite::files::acks::Acks;
use crate::sqlite::files::checkpoint::checkpoint;
use crate::sqlite::files::disk_space::DiskSpace;
use crate::sqlite::files::identity::{FileChanged, FileIdentity};
use crate::sqlite::files::readers::Readers;
use crate::sqlite::files::slots::{LastEnd, Slots};
use crate::sqlite::files::store_files::StoreFiles;
use crate::sqlite::format::damage::UnreadableRange;
use crate::sqlite::format::failure::{Failure, reader_error};
use crate::sqlite::format::ids::Ids;
use crate::sqlite::format::names::Names;
use crate::sqlite::format::payloads::{Packed, Packer, Samples};
use crate::sqlite::format::schema::Keys;
use crate::sqlite::memory::due::Due;
use crate::sqlite::memory::holds_in_force::Holds;
use crate::sqlite::memory::integrity_progress::Progress;
use crate::sqlite::memory::stats::Counters;
use crate::sqlite::memory::unreadable::UnreadableLog;
use crate::sqlite::memory::watchers::Watchers;
use crate::sqlite::memory::watermarks::Totals;

/// The parts of one store.
pub(crate) struct Shared {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) line: Mutex<DueClock>,
    pub(crate) files: StoreFiles,
    pub(crate) ids: Ids,
    pub(crate) keys: Keys,
    pub(crate) names: Names,
    pub(crate) packer: Packer,
    pub(crate) routings: RwLock<FxHashMap<TableHash, i64>>,
    pub(crate) due: Mutex<Due>,
    pub(crate) holds: Mutex<Holds>,
    pub(crate) totals: Mutex<Totals>,
    pub(crate) readers: Readers,
    /// Separate from `readers`, so that a long list never delays a run that reads its state.
    pub(crate) state_readers: Readers,
    pub(crate) queue: Queue,
    pub(crate) bounds: QueueBounds,
    pub(crate) wake: Notify,
    pub(crate) slots: Slots,
    pub(crate) disk_space: DiskSpace,
    pub(crate) identity: FileIdentity,
    pub(crate) acks: Acks,
    pub(crate) unreadable: UnreadableLog,
    /// Rows that were missing at the start.
    pub(crate) lost_rows: Vec<LostRows>,
    pub(crate) integrity: Progress,
    /// The number of suspects in `due`, so that settling need not lock it.
    pub(crate) suspects: AtomicUsize,
    pub(crate) watchers: Watchers,
    pub(crate) poisoned: SetOnce<String>,
    pub(crate) stats: Counters,
}

impl Shared {
    /// Refuses if the store accepts no more writes.
    pub(crate) fn writable(&self) -> Result<(), StoreError> {
        match self.poisoned.get() {
            Some(reason) => Err(StoreError::Poisoned { reason: reason.clone() }),
            None if self.queue.is_closed() => Err(StoreError::Closed),
            None => Ok(()),
        }
    }

    /// Ends writing: no write succeeds in this process again.
    pub(crate) fn poison(&self, reason: String) {
        tracing::error!(
            reason,
            "the store is not reliable and accepts no more writes until the next start"
        );
        let _first_reason_stays = self.poisoned.set(reason);
        self.slots.end(LastEnd::Poisoned);
    }

    /// Sets unreadable rows of a table aside.
    pub(crate) fn set_aside(&self, what: &'static str, holes: Vec<UnreadableRange>) {
        for UnreadableRange { first, last, why } in holes {
            self.unreadable.put(UnreadableRows {
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

    /// Notes that the disk is full. Requests are refused until there is space.
    pub(crate) fn disk_is_full(&self) {
        if self.disk_space.ran_out(self.clock.now()) {
            tracing::error!(
                file = %self.files.path().display(),
                "the disk is full: webhooks are refused until there is free space"
            );
        }
    }

    /// Fails, and ends writing, if the files are no longer those that were opened.
    pub(crate) fn require_same_files(
        &self,
        looked: Result<(), FileChanged>,
    ) -> Result<(), StoreError> {
        looked.map_err(|strange| {
            self.poison(strange.to_string());
            StoreError::Poisoned { reason: strange.to_string() }
        })
    }

    /// Moves most of the log into the database, if both files are still the store's own. True if it
    /// did.
    pub(crate) fn checkpoint(&self, conn: &rusqlite::Connection) -> bool {
        if self.poisoned.get().is_some() || self.require_same_files(self.identity.check()).is_err()
        {
            return false;
        }
        let done = self.identity.checkpointing(|| checkpoint(conn));
        self.acks.sync();
        done.map_err(|e| self.checkpoint_failed(&e)).is_ok()
    }

    pub(crate) fn checkpoint_failed(&self, e: &rusqlite::Error) {
        match Failure::of(e) {
            Failure::Fatal(reason) => self.poison(reason),
            Failure::Full => self.disk_is_full(),
            _ => tracing::warn!(error = %e, "checkpoint failed: the log grows until one succeeds"),
        }
    }

    /// The row of a routing table.
    pub(crate) fn routing(&self, hash: TableHash) -> Result<i64, StoreError> {
        let known = self.routings.read().get(&hash).copied();
        known.ok_or_else(|| StoreError::Invalid(format!("routing table {hash} is not stored")))
    }

    /// Packs a payload of a source. When there are enough samples, this starts training a
    /// dictionary.
    pub(crate) fn pack(self: &Arc<Self>, source: &str, payload: &Payload) -> Packed {
        let (packed, samples) = self.packer.pack(source, payload);
        if let Some(samples) = samples {
            self.train(samples);
        }
        packed
    }

    pub(crate) fn train(self: &Arc<Self>, samples: Samples) {
        let shared = self.clone();
        let spawned = std::thread::Builder::new().name("weir-train".into()).spawn(move || {
            let Some(data) = samples.train() else {
                tracing::debug!(source = %samples.source, "payloads are too different for a dictionary");
                return;
            };
            let (run, _) = shared.job_run("store a dictionary", move |writing| {
                keep_dictionary(writing, &samples.source, data)
            });
            if let Err(e) = shared.queue.put_job(Job { run, bytes: 0 }) {
                tracing::debug!(error = %e, "a dictionary could not be stored");
            }
        });
        if let Err(e) = spawned {
            tracing::warn!(error = %e, "could not start a thread to train a dictionary");
        }
    }

    /// Runs a write in the next group and waits for its commit.
    pub(crate) async fn job<T: Send + 'static>(
        &self,
        during: &'static str,
        bytes: usize,
        work: impl FnOnce(&mut Writing<'_>) -> Result<T, WriteError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writable()?;
        let (run, answer) = self.job_run(during, work);
        self.queue.put_job(Job { run, bytes })?;
        answer.await.unwrap_or_else(|e| Err(self.unanswered(during, e)))
    }

    pub(crate) fn job_run<T: Send + 'static>(
        &self,
        during: &'static str,
        work: impl FnOnce(&mut Writing<'_>) -> Result<T, WriteError> + Send + 'static,
    ) -> (JobFn, oneshot::Receiver<Result<T, StoreError>>) {
        let (tell, answer) = oneshot::channel();
        let run: JobFn = Box::new(move |writing| {
            let done = writing.map(work);
            let keep = matches!(done, Some(Ok(_)));
            let (value, failed) = match done {
                None => (Err(StoreError::Closed), None),
                Some(Ok(value)) => (Ok(value), None),
                Some(Err(WriteError::Refused(e))) => (Err(e), None),
                Some(Err(WriteError::Engine(e))) => (Err(reader_error(during, &e)), Some(e)),
            };
            let answer = Box::new(move |end: Result<(), StoreError>| {
                // The caller may have gone away.
                let _gone = tell.send(end.and(value));
            });
            JobEnd { keep, failed, answer }
        });
        (run, answer)
    }

    /// The error for a queued write without an answer: the writer ended before it answered.
    pub(crate) fn unanswered(
        &self,
        during: &'static str,
        source: oneshot::error::RecvError,
    ) -> StoreError {
        match self.writable() {
            Err(error @ StoreError::Poisoned { .. }) => error,
            _ => StoreError::Unknown { during, source: Arc::new(source) },
        }
    }

    /// Runs a query on a thread that may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        during: &'static str,
        question: impl FnOnce(Arc<Self>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.queue.is_closed() {
            return Err(StoreError::Closed);
        }
        let shared = self.clone();
        match tokio::task::spawn_blocking(move || question(shared)).await {
            Ok(answer) => answer.map_err(|e| reader_error(during, &e)),
            Err(e) => Err(StoreError::engine(during, e)),
        }
    }

    /// A guard that gives the delivery back when dropped, if the claim with that token still holds.
    pub(crate) fn claim_guard(self: &Arc<Self>, n: i64, token: u64) -> ClaimGuard {
        let shared = self.clone();
        ClaimGuard::new(move || {
            if shared.due.lock().give_back(n, token) {
                shared.wake.notify_waiters();
            }
        })
    }
}
