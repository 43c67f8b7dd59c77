//! The queue in front of the writer: bounded by items and bytes, with settlements apart from the rest.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::group::Job;
use super::ingest::PreparedRequest;
use super::settle::PreparedSettlement;
use crate::error::StoreError;
use crate::{Ingested, Settled};

/// An answer to one item, or why there is none.
pub(super) type Answers<T> = Vec<Result<T, StoreError>>;

/// Requests that came in one call.
pub(super) struct IngestOp {
    pub(super) requests: Vec<PreparedRequest>,
    pub(super) bytes: usize,
    pub(super) reply: oneshot::Sender<Answers<Ingested>>,
}

/// Settlements that came in one call.
pub(super) struct SettleOp {
    pub(super) settlements: Vec<PreparedSettlement>,
    pub(super) bytes: usize,
    pub(super) reply: oneshot::Sender<Answers<Settled>>,
    pub(super) since: Instant,
}

/// What to write in one commit.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) ingests: Vec<IngestOp>,
    pub(super) settles: Vec<SettleOp>,
    pub(super) jobs: Vec<Job>,
    /// Nothing more will come.
    pub(super) last: bool,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.ingests.is_empty() && self.settles.is_empty() && self.jobs.is_empty()
    }
}

/// How much waits, and how much goes into one commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) items: usize,
    pub(super) bytes: usize,
    pub(super) group_items: usize,
    pub(super) group_bytes: usize,
    pub(super) settle_items: usize,
    pub(super) settle_hold: Duration,
}

#[derive(Default)]
struct Waiting {
    ingests: std::collections::VecDeque<IngestOp>,
    settles: std::collections::VecDeque<SettleOp>,
    settle_items: usize,
    jobs: Vec<Job>,
    items: usize,
    bytes: usize,
    closed: bool,
}

pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    bounds: Bounds,
}

impl Queue {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { waiting: Mutex::default(), changed: Condvar::new(), bounds }
    }

    pub(super) fn put_ingest(&self, op: IngestOp) -> Result<(), StoreError> {
        let (items, bytes) = (op.requests.len(), op.bytes);
        self.put(items, bytes, true, |waiting| {
            waiting.ingests.push_back(op);
        })
    }

    /// Settlements end work that is already admitted, and their number is bounded by it: they are never refused.
    pub(super) fn put_settle(&self, op: SettleOp) -> Result<(), StoreError> {
        let (items, bytes) = (op.settlements.len(), op.bytes);
        self.put(items, bytes, false, |waiting| {
            waiting.settle_items += items;
            waiting.settles.push_back(op);
        })
    }

    pub(super) fn put_job(&self, job: Job) -> Result<(), StoreError> {
        self.put(1, job.bytes, true, |waiting| waiting.jobs.push(job))
    }

    fn put(
        &self,
        items: usize,
        bytes: usize,
        refusable: bool,
        add: impl FnOnce(&mut Waiting),
    ) -> Result<(), StoreError> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(StoreError::Closed);
        }
        // A single call larger than all the room still gets in when nothing else waits.
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

    /// Nothing more is taken in; what waits is still written.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits for the next batch. With `busy`, requests were written a moment ago, and settlements wait a little to
    /// ride with the next ones; without, they are written at once. None after `idle` with nothing to do.
    pub(super) fn take(&self, busy: bool, idle: Duration) -> Option<Batch> {
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

    fn cut(&self, waiting: &mut Waiting, settles_ready: bool) -> Batch {
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
        // Settlements come on top and have a bound of their own, so neither can crowd the other out.
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

    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().closed
    }

    /// Calls that wait to be written.
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().items
    }
}
