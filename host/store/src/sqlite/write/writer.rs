//! The only thread that writes: takes groups from the queue, commits each once, and answers after
//! the commit.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::health::IntegrityStatus;
use crate::sqlite::engine::group::{GroupAnswer, Job, JobEnd, PostCommit, WriteError, Writing};
use crate::sqlite::engine::queue::{Answers, Batch, IngestOp};
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::files::checkpoint::{Checkpointer, empty_log};
use crate::sqlite::files::slots::LastEnd;
use crate::sqlite::files::store_files::Owner;
use crate::sqlite::format::damage::is_damage;
use crate::sqlite::format::failure::Failure;
use crate::sqlite::format::next_numbers::NextNumbers;
use crate::sqlite::memory::dedup::Dedup;
use crate::sqlite::memory::watermarks::Watermarks;
use crate::sqlite::write::complete_blocks::CompleteBlocks;
use crate::sqlite::write::{ingest, post_commit, settle};
use crate::{Ingested, Settled};

/// Time between two checks of the files, while there is nothing to write.
const IDLE: Duration = Duration::from_secs(5);

/// Time between two blocks of a store that has none yet, so that other writes do not wait.
const BETWEEN_BLOCKS: Duration = Duration::from_millis(5);

/// Time between two checks for free space on a full disk, while no request arrives.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(1);

/// The writer, with the state that only it uses.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) conn: Connection,
    pub(crate) dedup: Dedup,
    pub(crate) next: NextNumbers,
    pub(crate) watermarks: Watermarks,
    pub(crate) blocks: CompleteBlocks,
    pub(crate) checkpointer: Checkpointer,
    /// Runtime that sends answers. Without one the writer sends them itself.
    pub(crate) runtime: Option<Handle>,
    /// True if the group failed because of a settlement that was set aside.
    pub(crate) met_damage: bool,
    /// Dropped after everything above.
    pub(crate) owner: Owner,
}

/// Callers of a group, with their answers.
#[derive(Default)]
struct Waiters {
    ingests: Vec<(oneshot::Sender<Answers<Ingested>>, Answers<Ingested>)>,
    settles: Vec<(oneshot::Sender<Answers<Settled>>, Answers<Settled>)>,
    jobs: Vec<GroupAnswer>,
}

impl Writer {
    /// Writes until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let hold = self.shared.bounds.settle_hold;
        let mut ingested: Option<Instant> = None;
        let mut looked = Instant::now();
        loop {
            let busy = ingested.is_some_and(|at| at.elapsed() < hold);
            let Some(batch) = self.shared.queue.take(busy, self.idle()) else {
                if self.writes_blocks() {
                    self.write(Batch::default(), false);
                    continue;
                }
                let looked = self.shared.identity.check();
                if self.shared.poisoned.get().is_none()
                    && self.shared.require_same_files(looked).is_ok()
                {
                    self.look_for_room();
                }
                continue;
            };
            if !batch.ingests.is_empty() {
                ingested = Some(Instant::now());
            }
            let last = batch.last;
            self.write(batch, last);
            if looked.elapsed() >= LOOK_FOR_ROOM {
                looked = Instant::now();
                self.look_for_room();
            }
            self.checkpointer.tick(|| self.shared.checkpoint(&self.conn));
            self.shared.stats.log_pages.store(self.checkpointer.pages(), Ordering::Relaxed);
            if last {
                break;
            }
        }
        self.finish();
    }

    /// The time without writes after which something else is done.
    fn idle(&self) -> Duration {
        if self.writes_blocks() {
            BETWEEN_BLOCKS
        } else if self.shared.disk_space.is_full() {
            LOOK_FOR_ROOM
        } else {
            IDLE
        }
    }

    /// True if blocks are missing and can be written.
    fn writes_blocks(&self) -> bool {
        self.blocks.behind(&self.next)
            && !self.shared.disk_space.is_full()
            && self.shared.poisoned.get().is_none()
    }

    /// On a full disk, empties the log and accepts requests again if there is space then. It comes
    /// before the requests, which would use up the space with the log.
    fn look_for_room(&mut self) {
        if !self.shared.disk_space.is_full() || self.shared.poisoned.get().is_some() {
            return;
        }
        match self.shared.identity.checkpointing(|| empty_log(&self.conn)) {
            Ok(true) => {
                self.checkpointer.emptied();
                if self.shared.disk_space.refill() {
                    tracing::info!("the disk has space again: webhooks are accepted");
                }
                self.shared.disk_space.keep_for_start();
            }
            Ok(false) => {}
            Err(e) => self.shared.checkpoint_failed(&e),
        }
    }

    /// Takes the requests out of a batch that are refused on a full disk: all but the hub's own
    /// alerts.
    fn without_room(&self, batch: &mut Batch) -> Batch {
        if !self.shared.disk_space.is_full() {
            return Batch::default();
        }
        let is_hubs = |op: &IngestOp| op.requests.iter().all(|request| request.source.is_hub());
        let (kept, ingests) = std::mem::take(&mut batch.ingests).into_iter().partition(is_hubs);
        batch.ingests = kept;
        Batch { ingests, ..Batch::default() }
    }

    /// Ends the writer: moves the log into the database and closes the files.
    fn finish(self) {
        let Self { shared, conn, checkpointer, owner, .. } = self;
        drop(checkpointer);
        shared.readers.close();
        shared.state_readers.close();
        // Otherwise closing the last connection would move the log, into a file that may be
        // another.
        if shared.poisoned.get().is_some()
            && let Err(e) = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        {
            tracing::warn!(error = %e, "the log may be moved into the database although neither is reliable");
        }
        if shared.poisoned.get().is_none()
            && let Err(e) = empty_log_at_last(&shared, &conn)
        {
            tracing::warn!(error = %e, "last checkpoint failed: the next start makes it");
        }
        drop(conn);
        shared.acks.sync();
        shared.disk_space.keep_for_start();
        if shared.poisoned.get().is_none() {
            let looked = shared.integrity.told() == IntegrityStatus::Done;
            shared.slots.end(if looked { LastEnd::Clean } else { LastEnd::Unlooked });
        }
        drop(owner);
    }

    fn write(&mut self, mut batch: Batch, last: bool) {
        let mut waiters = Waiters::default();
        if let Some(reason) = self.shared.poisoned.get() {
            let error = StoreError::Poisoned { reason: reason.clone() };
            return refuse(&self.shared, batch, &error);
        }
        if self.shared.disk_space.is_full() && !batch.ingests.is_empty() {
            self.look_for_room();
            let refused = self.without_room(&mut batch);
            refuse(&self.shared, refused, &StoreError::DiskFull);
            if batch.is_empty() && !last {
                return;
            }
        }
        let log = self.shared.identity.check_log(self.checkpointer.log_bytes());
        if let Err(error) = self.shared.require_same_files(log) {
            return refuse(&self.shared, batch, &error);
        }
        let before = (self.next, self.shared.names.mark());
        let mut post_commit = PostCommit::default();
        let changes = self.conn.total_changes();
        let started = Instant::now();
        let written = self.transact(batch, last, &mut post_commit, &mut waiters);
        match written {
            Ok(marks_written) => {
                let changed = self.conn.total_changes() != changes;
                self.shared.stats.committed(changed, started.elapsed());
                self.committed(post_commit, marks_written);
                let told = if changed { self.acknowledge().err() } else { None };
                answer(&self.shared, self.runtime.as_ref(), waiters, told);
            }
            Err(e) => {
                let failure = match std::mem::take(&mut self.met_damage) {
                    true => Failure::Damaged((&e).into()),
                    false => Failure::of(&e),
                };
                self.rolled_back(before, post_commit, &failure);
                answer(
                    &self.shared,
                    self.runtime.as_ref(),
                    waiters,
                    Some(failure.store_error("write")),
                );
            }
        }
    }

    /// Writes a group in one transaction. True if the watermarks were written with it. Requests and
    /// settlements after a failure are added to `waiters` too, so that all are answered.
    fn transact(
        &mut self,
        batch: Batch,
        last: bool,
        post_commit: &mut PostCommit,
        waiters: &mut Waiters,
    ) -> rusqlite::Result<bool> {
        let mut result = self.conn.execute_batch("BEGIN IMMEDIATE");
        let (before, now) = (self.next, self.shared.writers_now());
        let mut writing = Writing {
            conn: &self.conn,
            shared: &self.shared,
            dedup: &mut self.dedup,
            next: &mut self.next,
            post_commit,
            watermarks: &mut self.watermarks,
            now,
        };
        for op in batch.ingests {
            let answers = write_items(&mut writing, &mut result, &op.requests, |w, request| {
                Ok(ingest::store(w, request)?)
            });
            waiters.ingests.push((op.reply, answers));
        }
        let met_damage = &mut self.met_damage;
        for op in batch.settles {
            let answers =
                write_items(&mut writing, &mut result, &op.settlements, |w, settlement| {
                    settle::apply(w, settlement).inspect_err(|e| {
                        if let WriteError::Engine(e) = e {
                            *met_damage = settle::failed(w.shared, settlement, e);
                        }
                    })
                });
            waiters.settles.push((op.reply, answers));
        }
        for job in batch.jobs {
            if result.is_ok() {
                result = run_job(&mut writing, job, waiters);
            } else {
                waiters.jobs.push((job.run)(None).answer);
            }
        }
        result?;
        self.dedup.write_behind(&self.conn)?;
        let marks_written = self.watermarks.due() || (last && self.watermarks.is_stale());
        if marks_written {
            self.next.save(&self.conn)?;
            self.watermarks.write(&self.conn, &self.shared.totals.lock(), &before, now)?;
        }
        self.watermarks.keep_ahead(&self.conn, now)?;
        self.blocks.write(&self.conn, &self.next)?;
        self.conn.execute_batch("COMMIT")?;
        Ok(marks_written)
    }

    /// The step between a commit and its answers: checks that the files are still the ones written
    /// to.
    fn acknowledge(&self) -> Result<(), StoreError> {
        self.shared.require_same_files(self.shared.identity.check())?;
        self.shared.acks.mark(&self.next);
        Ok(())
    }

    fn committed(&mut self, mut post_commit: PostCommit, marks_written: bool) {
        self.dedup.committed();
        self.watermarks.committed();
        self.blocks.committed();
        if marks_written {
            self.watermarks.written();
        }
        for (n, by) in &post_commit.fresh {
            self.watermarks.fresh(*n, *by);
        }
        if !post_commit.events.is_empty() {
            self.watermarks.touch();
        }
        post_commit::count(&mut self.shared.totals.lock(), &post_commit);
        self.shared.stats.key_runs.store(self.dedup.runs(), Ordering::Relaxed);
        let wake = post_commit::apply(&self.shared, &self.conn, &mut post_commit);
        let PostCommit { registry, on_commit, .. } = post_commit;
        if wake {
            self.shared.wake.notify_waiters();
        }
        for kind in registry {
            self.shared.watchers.changed(kind);
        }
        for action in on_commit {
            action(&self.shared);
        }
    }

    fn rolled_back(
        &mut self,
        before: (NextNumbers, usize),
        post_commit: PostCommit,
        failure: &Failure,
    ) {
        if !self.conn.is_autocommit()
            && let Err(e) = self.conn.execute_batch("ROLLBACK")
        {
            self.shared.poison(format!("rollback failed: {e}"));
        }
        match failure {
            Failure::Fatal(reason) => self.shared.poison(reason.clone()),
            Failure::Full => self.shared.disk_is_full(),
            Failure::Group(_) | Failure::Damaged(_) => {}
        }
        let (next, names) = before;
        self.next = next;
        self.shared.names.forget_after(names);
        self.dedup.rolled_back();
        self.blocks.rolled_back();
        let mut due = self.shared.due.lock();
        for (n, token) in post_commit.seized {
            due.give_back(n, token);
        }
    }
}

/// Moves the whole log into the database, with the space of the reserve if there is no other.
fn empty_log_at_last(shared: &Shared, conn: &Connection) -> rusqlite::Result<()> {
    let empty = || conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    empty().or_else(|e| {
        if !matches!(Failure::of(&e), Failure::Full) {
            return Err(e);
        }
        shared.disk_is_full();
        empty()
    })
}

/// Writes the items of one call in order, until one fails the group. That one and the items after
/// it get no answer of their own: the group's failure becomes theirs.
fn write_items<I, A>(
    writing: &mut Writing<'_>,
    group: &mut rusqlite::Result<()>,
    items: &[I],
    mut write: impl FnMut(&mut Writing<'_>, &I) -> Result<A, WriteError>,
) -> Answers<A> {
    let mut answers = Vec::with_capacity(items.len());
    for item in items {
        let answer = match group {
            Ok(()) => write(writing, item),
            Err(_) => Err(WriteError::Refused(StoreError::Closed)),
        };
        answers.push(match answer {
            Ok(answer) => Ok(answer),
            Err(WriteError::Refused(e)) => Err(e),
            Err(WriteError::Engine(e)) => {
                *group = Err(e);
                Err(StoreError::Closed)
            }
        });
    }
    answers
}

fn run_job(writing: &mut Writing<'_>, job: Job, waiters: &mut Waiters) -> rusqlite::Result<()> {
    if let Err(e) = writing.conn.execute_batch("SAVEPOINT job") {
        waiters.jobs.push((job.run)(None).answer);
        return Err(e);
    }
    let JobEnd { keep, failed, answer } = (job.run)(Some(&mut *writing));
    waiters.jobs.push(answer);
    // After a full disk or a failed read SQLite has ended the transaction itself, with its
    // savepoints. A damaged page fails the job only.
    if let Some(e) = failed
        && !matches!(Failure::of(&e), Failure::Group(_))
        && !is_damage(&e)
    {
        return Err(e);
    }
    if !keep {
        writing.conn.execute_batch("ROLLBACK TO job")?;
    }
    writing.conn.execute_batch("RELEASE job")
}

fn answer(
    shared: &Arc<Shared>,
    runtime: Option<&Handle>,
    waiters: Waiters,
    failed: Option<StoreError>,
) {
    let waiting = waiters.ingests.len() + waiters.settles.len() + waiters.jobs.len();
    let deliver = move || {
        send_all(waiters.ingests, failed.as_ref());
        send_all(waiters.settles, failed.as_ref());
        for answer in waiters.jobs {
            answer(failed.clone().map_or(Ok(()), Err));
        }
    };
    // Waking a task costs a system call, so one task wakes all the others.
    match runtime.filter(|_| waiting > 1 && !shared.queue.is_closed()) {
        Some(runtime) => {
            runtime.spawn(async move { deliver() });
        }
        None => deliver(),
    }
}

fn send_all<T>(
    waiters: Vec<(oneshot::Sender<Answers<T>>, Answers<T>)>,
    failed: Option<&StoreError>,
) {
    for (reply, mut answers) in waiters {
        if let Some(failed) = failed {
            for answer in &mut answers {
                *answer = Err(failed.clone());
            }
        }
        // The caller may have gone away.
        let _gone = reply.send(answers);
    }
}

/// Answers a whole batch with one error.
fn refuse(shared: &Arc<Shared>, batch: Batch, error: &StoreError) {
    let mut waiters = Waiters::default();
    for op in batch.ingests {
        waiters.ingests.push((op.reply, op.requests.iter().map(|_| Err(error.clone())).collect()));
    }
    for op in batch.settles {
        waiters
            .settles
            .push((op.reply, op.settlements.iter().map(|_| Err(error.clone())).collect()));
    }
    for job in batch.jobs {
        waiters.jobs.push((job.run)(None).answer);
    }
    answer(shared, None, waiters, Some(error.clone()));
}
