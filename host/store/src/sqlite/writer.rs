//! The one thread that writes: drains the queue, commits once per group, and answers when the commit has held.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::checkpoint::{Checkpointer, empty_log};
use super::dedup::Dedup;
use super::failure::Failure;
use super::group::{Answer, Job, JobEnd, Learned, Next, Writing};
use super::marks::Marks;
use super::queue::{Answers, Batch, IngestOp};
use super::schema::Owner;
use super::slots::LastEnd;
use super::soundness::is_damage;
use super::{Shared, feed, ingest, settle};
use crate::error::StoreError;
use crate::upkeep::IntegrityStatus;
use crate::{Ingested, Settled};

/// Between looks at whether the files are still there, while nothing is to be written.
const IDLE: Duration = Duration::from_secs(5);
/// Between looks at whether a full disk has room again, while no request comes.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(1);

/// The writer's own things.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) conn: Connection,
    pub(super) dedup: Dedup,
    pub(super) next: Next,
    pub(super) marks: Marks,
    pub(super) checkpointer: Checkpointer,
    /// Where answers are sent from; without one the writer sends them itself.
    pub(super) runtime: Option<Handle>,
    /// The group that fails does so for a settlement that was set aside.
    pub(super) met_damage: bool,
    /// Held until everything above is let go.
    pub(super) owner: Owner,
}

/// Who waits for an answer, with it.
#[derive(Default)]
struct Waiters {
    ingests: Vec<(oneshot::Sender<Answers<Ingested>>, Answers<Ingested>)>,
    settles: Vec<(oneshot::Sender<Answers<Settled>>, Answers<Settled>)>,
    jobs: Vec<Answer>,
}

impl Writer {
    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let hold = self.shared.bounds.settle_hold;
        let mut ingested: Option<Instant> = None;
        let mut looked = Instant::now();
        loop {
            let busy = ingested.is_some_and(|at| at.elapsed() < hold);
            let idle = if self.shared.room.is_full() { LOOK_FOR_ROOM } else { IDLE };
            let Some(batch) = self.shared.queue.take(busy, idle) else {
                let looked = self.shared.identity.check();
                if self.shared.poisoned.get().is_none() && self.shared.still_ours(looked).is_ok() {
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

    /// On a disk that was full: moves the log into the database, which makes the log short, and accepts requests again
    /// if there is room then. Requests that came first would use up with the log what room there is.
    fn look_for_room(&mut self) {
        if !self.shared.room.is_full() || self.shared.poisoned.get().is_some() {
            return;
        }
        match self.shared.identity.checkpointing(|| empty_log(&self.conn)) {
            Ok(true) => {
                self.checkpointer.emptied();
                if self.shared.room.refill() {
                    tracing::info!("the disk has room again: webhooks are accepted");
                }
                self.shared.room.keep_for_start();
            }
            Ok(false) => {}
            Err(e) => self.shared.checkpoint_failed(&e),
        }
    }

    /// Takes the requests out of a batch that are refused while the disk is full: all but the hub's own alerts.
    fn without_room(&self, batch: &mut Batch) -> Batch {
        if !self.shared.room.is_full() {
            return Batch::default();
        }
        let is_hubs = |op: &IngestOp| op.requests.iter().all(|request| request.source.is_hub());
        let (kept, ingests) = std::mem::take(&mut batch.ingests).into_iter().partition(is_hubs);
        batch.ingests = kept;
        Batch { ingests, ..Batch::default() }
    }

    /// Leaves the file tidy: everything in the database, nothing in the log.
    fn finish(self) {
        let Self { shared, conn, checkpointer, owner, .. } = self;
        drop(checkpointer);
        shared.readers.close();
        shared.state_readers.close();
        // Otherwise the last connection moves the log when it is closed, into a file that may not be ours any more.
        if shared.poisoned.get().is_some()
            && let Err(e) = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        {
            tracing::warn!(error = %e, "the log may be moved into the database though neither can be relied on");
        }
        if shared.poisoned.get().is_none()
            && let Err(e) = empty_log_at_last(&shared, &conn)
        {
            tracing::warn!(error = %e, "last checkpoint failed; the next start does it");
        }
        drop(conn);
        shared.acks.sync();
        shared.room.keep_for_start();
        if shared.poisoned.get().is_none() {
            let looked = shared.look_over.told() == IntegrityStatus::Done;
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
        if self.shared.room.is_full() && !batch.ingests.is_empty() {
            self.look_for_room();
            let refused = self.without_room(&mut batch);
            refuse(&self.shared, refused, &StoreError::DiskFull);
            if batch.is_empty() && !last {
                return;
            }
        }
        let log = self.shared.identity.check_log(self.checkpointer.log_bytes());
        if let Err(error) = self.shared.still_ours(log) {
            return refuse(&self.shared, batch, &error);
        }
        let before = (self.next, self.shared.names.mark());
        let mut learned = Learned::default();
        let changes = self.conn.total_changes();
        let started = Instant::now();
        let written = self.transact(batch, last, &mut learned, &mut waiters);
        match written {
            Ok(marks_written) => {
                let changed = self.conn.total_changes() != changes;
                self.shared.stats.committed(changed, started.elapsed());
                self.committed(learned, marks_written);
                let told = if changed { self.acknowledge().err() } else { None };
                answer(&self.shared, self.runtime.as_ref(), waiters, told);
            }
            Err(e) => {
                let failure = match std::mem::take(&mut self.met_damage) {
                    true => Failure::Damaged,
                    false => Failure::of(&e),
                };
                self.rolled_back(before, learned, &failure);
                answer(&self.shared, self.runtime.as_ref(), waiters, Some(failure.told("write")));
            }
        }
    }

    /// Everything of a group in one transaction. Returns whether marks were written with it. Requests and
    /// settlements not reached when something fails are still given to `waiters`, so that all are answered.
    fn transact(
        &mut self,
        batch: Batch,
        last: bool,
        learned: &mut Learned,
        waiters: &mut Waiters,
    ) -> rusqlite::Result<bool> {
        let mut result = self.conn.execute_batch("BEGIN IMMEDIATE");
        let (before, now) = (self.next, self.shared.writers_now());
        let mut writing = Writing {
            conn: &self.conn,
            shared: &self.shared,
            dedup: &mut self.dedup,
            next: &mut self.next,
            learned,
            marks: &mut self.marks,
            now,
        };
        for op in batch.ingests {
            let mut answers = Vec::with_capacity(op.requests.len());
            for request in &op.requests {
                if result.is_err() {
                    break;
                }
                match ingest::store(&mut writing, request) {
                    Ok(ingested) => answers.push(Ok(ingested)),
                    Err(e) => result = Err(e),
                }
            }
            pad(&mut answers, op.requests.len());
            waiters.ingests.push((op.reply, answers));
        }
        for op in batch.settles {
            let mut answers = Vec::with_capacity(op.settlements.len());
            for settlement in &op.settlements {
                if result.is_err() {
                    break;
                }
                match settle::apply(&mut writing, settlement) {
                    Ok(settled) => answers.push(settled),
                    Err(e) => {
                        self.met_damage = settle::failed(writing.shared, settlement, &e);
                        result = Err(e);
                    }
                }
            }
            pad(&mut answers, op.settlements.len());
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
        let marks_written = self.marks.due() || (last && self.marks.is_stale());
        if marks_written {
            self.next.save(&self.conn)?;
            self.marks.write(&self.conn, &self.shared.totals.lock(), &before, now)?;
        }
        self.marks.keep_ahead(&self.conn, now)?;
        self.conn.execute_batch("COMMIT")?;
        Ok(marks_written)
    }

    /// The step between a commit and its answers: the files must still be those that were written to.
    fn acknowledge(&self) -> Result<(), StoreError> {
        self.shared.still_ours(self.shared.identity.check())?;
        self.shared.acks.mark(&self.next);
        Ok(())
    }

    fn committed(&mut self, mut learned: Learned, marks_written: bool) {
        self.dedup.committed();
        self.marks.committed();
        if marks_written {
            self.marks.written();
        }
        for (n, by) in &learned.fresh {
            self.marks.fresh(*n, *by);
        }
        if !learned.events.is_empty() {
            self.marks.touch();
        }
        self.shared.totals.lock().learn(&learned);
        self.shared.stats.key_runs.store(self.dedup.runs(), Ordering::Relaxed);
        let wake = feed::commit(&self.shared, &self.conn, &mut learned);
        let Learned { registry, then, .. } = learned;
        if wake {
            self.shared.wake.notify_waiters();
        }
        for kind in registry {
            self.shared.watchers.changed(kind);
        }
        for then in then {
            then(&self.shared);
        }
    }

    fn rolled_back(&mut self, before: (Next, usize), learned: Learned, failure: &Failure) {
        if !self.conn.is_autocommit()
            && let Err(e) = self.conn.execute_batch("ROLLBACK")
        {
            self.shared.poison(format!("rollback failed: {e}"));
        }
        match failure {
            Failure::Fatal(reason) => self.shared.poison(reason.clone()),
            Failure::Full => self.shared.disk_is_full(),
            Failure::Group(_) | Failure::Damaged => {}
        }
        let (next, names) = before;
        self.next = next;
        self.shared.names.forget_after(names);
        self.dedup.rolled_back();
        let mut due = self.shared.due.lock();
        for (n, token) in learned.seized {
            due.give_back(n, token);
        }
    }
}

/// Moves all of the log into the database, into the room of the reserve if there is no other.
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

/// Items after one that failed get no answer of their own: the whole group's failure is theirs.
fn pad<T>(answers: &mut Answers<T>, wanted: usize) {
    while answers.len() < wanted {
        answers.push(Err(StoreError::Closed));
    }
}

fn run_job(writing: &mut Writing<'_>, job: Job, waiters: &mut Waiters) -> rusqlite::Result<()> {
    if let Err(e) = writing.conn.execute_batch("SAVEPOINT job") {
        waiters.jobs.push((job.run)(None).answer);
        return Err(e);
    }
    let JobEnd { keep, failed, answer } = (job.run)(Some(&mut *writing));
    waiters.jobs.push(answer);
    // After a full disk or a failed read SQLite has ended the transaction itself, savepoint and all.
    // A damaged page ends the job and not the store: nothing of it is kept.
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
    // Waking many tasks costs the writer a system call each; one task that wakes the others costs it one.
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
        // A caller that went away does not want to know.
        let _gone = reply.send(answers);
    }
}

/// Answers a whole batch with why nothing can be written.
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
