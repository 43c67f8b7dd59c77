//! The limits that hold while a guest runs: memory, tables, time, and bytes that cross.

use std::future::Future;
use std::time::{Duration, Instant};

use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use weir_core::bounds::{EFFECT_BYTES_PER_RUN_MAX, MIB};

use crate::stop::Stop;

/// Elements of one table. Python's interpreter needs some 20,000.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 30_000;

/// Instances, memories and tables within one component; interpreters bring dozens.
pub(crate) const INSTANCES_MAX: u32 = 200;
/// See [`INSTANCES_MAX`].
pub(crate) const MEMORIES_MAX: u32 = 8;
/// See [`INSTANCES_MAX`].
pub(crate) const TABLES_MAX: u32 = 40;

/// Bytes that one call may bring from guest to host. Above what all effects may have together, so that a body a bit
/// too large is refused with a sentence; a body far too large ends the run before it is copied.
const CROSSING_BYTES_MAX: usize = EFFECT_BYTES_PER_RUN_MAX + MIB;

/// Epoch ticks, of 1 ms, that a guest may hold its thread before another one gets a turn.
const SLICE_TICKS: u64 = 2;

/// Time after the deadline in which a guest that computes is stopped by its own check, which knows where it was;
/// one that waits in the host is stopped when this is over.
const GRACE: Duration = Duration::from_millis(20);

/// What one run may use.
#[derive(Debug)]
pub(crate) struct Guard {
    memory_max: usize,
    memory: usize,
    memory_peak: usize,
    refused: bool,
}

/// A store's data that carries a guard.
pub(crate) trait Guarded: Send + 'static {
    fn guard(&mut self) -> &mut Guard;
}

impl Guard {
    pub(crate) fn new(memory_max: usize) -> Self {
        Self { memory_max, memory: 0, memory_peak: 0, refused: false }
    }

    /// The most linear memory that the instance had, in bytes, all its memories together.
    pub(crate) fn memory_peak(&self) -> usize {
        self.memory_peak
    }

    /// Whether the guest asked for more memory than it may have.
    pub(crate) fn memory_refused(&self) -> bool {
        self.refused
    }
}

impl ResourceLimiter for Guard {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|max| desired > max) && desired <= self.memory_max {
            // The module's own maximum, which it can handle itself.
            return Ok(false);
        }
        let asked = self.memory.saturating_sub(current).saturating_add(desired);
        if asked > self.memory_max {
            self.refused = true;
            return Err(Stop::Memory { asked, limit: self.memory_max }.into());
        }
        self.memory = asked;
        self.memory_peak = self.memory_peak.max(asked);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

/// A store with every limit set, whose time begins now.
pub(crate) fn store<T: Guarded>(engine: &wasmtime::Engine, data: T, time: Duration) -> Store<T> {
    let mut store = Store::new(engine, data);
    store.limiter(|data| data.guard());
    store.set_hostcall_fuel(CROSSING_BYTES_MAX);
    let deadline = Instant::now() + time;
    store.epoch_deadline_callback(move |_| {
        if Instant::now() >= deadline {
            return Err(Stop::Deadline(time).into());
        }
        // tokio's own yield: after it the thread looks at its sockets and timers before it goes on.
        Ok(UpdateDeadline::YieldCustom(SLICE_TICKS, Box::pin(tokio::task::yield_now())))
    });
    store.set_epoch_deadline(SLICE_TICKS);
    store
}

/// Runs a guest's call to its end or its deadline, also where it waits for the host.
pub(crate) async fn within<T>(
    time: Duration,
    call: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    match tokio::time::timeout(time + GRACE, call).await {
        Ok(ended) => ended,
        Err(_) => Err(Stop::Deadline(time).into()),
    }
}
