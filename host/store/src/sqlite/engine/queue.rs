//! The queue in front of the writer: bounded by items and bytes, with settlements apart from the
//! rest.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::sqlite::engine::group::Job;
use crate::sqlite::engine::prepared_request::PreparedRequest;
use crate::sqlite::engine::prepared_settlement::PreparedSettlement;
use crate::{Ingested, Settled};

/// Answers of one call, one per item.
pub(crate) type Answers<T> = Vec<Result<T, StoreError>>;

/// Requests of one call.
pub(crate) struct IngestOp {
    pub(crate) requests: Vec<PreparedRequest>,
    pub(crate) bytes: usize,
    pub(crate) reply: oneshot::Sender<Answers<Ingested>>,
}

/// Settlements of one call.
pub(crate) struct SettleOp {
    pub(crate) settlements: Vec<PreparedSettlement>,
    pub(crate) bytes: usize,
    pub(crate) reply: oneshot::Sender<Answers<Settled>>,
    pub(crate) since: Instant,
}

/// Writes of one commit.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) ingests: Vec<IngestOp>,
    pub(crate) settles: Vec<SettleOp>,
    pub(crate) jobs: Vec<Job>,
    /// True for the last batch before the store closes.
    pub(crate) last: bool,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.ingests.is_empty() && self.settles.is_empty() && self.jobs.is_empty()
    }
}

/// Limits of the queue and of one commit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueBounds {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
    pub(crate) group_items: usize,
    pub(crate) group_bytes: usize,
    pub(crate) settle_items: usize,
    pub(crate) settle_hold: Duration,
}

#[derive(Default)]
pub(crate) struct WaitingJobs {
    pub(crate) ingests: std::collections::VecDeque<IngestOp>,
    pub(crate) settles: std::collections::VecDeque<SettleOp>,
    pub(crate) settle_items: usize,
    pub(crate) jobs: Vec<Job>,
    pub(crate) items: usize,
    pub(crate) bytes: usize,
    pub(crate) closed: bool,
}

pub(crate) struct Queue {
    waiting: Mutex<WaitingJobs>,
    changed: Condvar,
    bounds: QueueBounds,
}

impl Queue {
    pub(crate) fn new(bounds: QueueBounds) -> Self {
        Self { waiting: Mutex::default(), changed: Condvar::new(), bounds }
    }

    pub(crate) fn put_ingest(&self, op: IngestOp) -> Result<(), StoreError> {
        let (items, bytes) = (op.requests.len(), op.bytes);
        self.put(items, bytes, true, |waiting| {
            waiting.ingests.push_back(op);
        })
    }

    /// Queues settlements. They are never refused: they end work that was admitted, which bounds
    /// their number.
    pub(crate) fn put_settle(&self, op: SettleOp) -> Result<(), StoreError> {
        let (items, bytes) = (op.settlements.len(), op.bytes);
        self.put(items, bytes, false, |waiting| {
            waiting.settle_items += items;
            waiting.settles.push_back(op);
        })
    }

    pub(crate) fn put_job(&self, job: Job) -> Result<(), StoreError> {
        self.put(1, job.bytes, true, |waiting| waiting.jobs.push(job))
    }

    fn put(
        &self,
        items: usize,
        bytes: usize,
        refusable: bool,
        add: impl FnOnce(&mut WaitingJobs),
    ) -> Result<(), StoreError> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(StoreError::Closed);
        }
        // One call that is larger than the queue is accepted when the queue is empty.
        let full =
            waiting.items + items > self.bounds.items || waiting.bytes + bytes > self.bounds.bytes;
        if refusable && full && waiting.items > 0 {
            return Err(StoreError::Overloaded { queued: waiting.items });
        }
        waiting.items += items;
        waiting.bytes += bytes;
        add(&mut waiting);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Refuses further writes. Queued ones are still written.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits for the next batch; none after `idle` without a write. With `busy`, requests were
    /// written a moment ago, and settlements wait a little to commit with the next ones.
    pub(crate) fn take(&self, busy: bool, idle: Duration) -> Option<Batch> {
        let started = Instant::now();
        let mut waiting = self.waiting.lock();
        loop {
            let hold = if busy { self.bounds.settle_hold } else { Duration::ZERO };
            let settles_since = waiting.settles.front().map(|op| op.since + hold);
            let now = Instant::now();
            let settles_ready = waiting.closed
                || waiting.settle_items >= self.bounds.settle_items
                || settles_since.is_some_and(|at| at <= now);
            if waiting.closed
                || !waiting.ingests.is_empty()
                || !waiting.jobs.is_empty()
                || (settles_ready && !waiting.settles.is_empty())
            {
                return Some(self.cut(&mut waiting, settles_ready));
            }
            let until = settles_since.unwrap_or(started + idle);
            if until <= now {
                return None;
            }
            self.changed.wait_until(&mut waiting, until);
        }
    }

    fn cut(&self, waiting: &mut WaitingJobs, settles_ready: bool) -> Batch {
        let mut batch = Batch { jobs: std::mem::take(&mut waiting.jobs), ..Batch::default() };
        waiting.items -= batch.jobs.len();
        waiting.bytes -= batch.jobs.iter().map(|job| job.bytes).sum::<usize>();
        let (mut items, mut bytes) = (0, 0);
        while let Some(op) = waiting.ingests.front() {
            items += op.requests.len();
            bytes += op.bytes;
            let fits = items <= self.bounds.group_items && bytes <= self.bounds.group_bytes;
            if !fits && !batch.ingests.is_empty() {
                break;
            }
            batch.ingests.extend(waiting.ingests.pop_front());
        }
        // Settlements have a limit of their own, so that neither kind delays the other.
        let mut items = 0;
        while settles_ready && let Some(op) = waiting.settles.front() {
            items += op.settlements.len();
            if items > self.bounds.settle_items && !batch.settles.is_empty() {
                break;
            }
            batch.settles.extend(waiting.settles.pop_front());
        }
        for op in &batch.ingests {
            waiting.items -= op.requests.len();
            waiting.bytes -= op.bytes;
        }
        for op in &batch.settles {
            waiting.items -= op.settlements.len();
            waiting.settle_items -= op.settlements.len();
            waiting.bytes -= op.bytes;
        }
        let nothing_left =
            waiting.ingests.is_empty() && waiting.settles.is_empty() && waiting.jobs.is_empty();
        batch.last = waiting.closed && nothing_left;
        batch
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.waiting.lock().closed
    }

    /// The number of queued items.
    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().items
    }
}
