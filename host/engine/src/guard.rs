//! The limits of a running guest: memory, tables, time, and data passed to host functions.

use std::future::Future;
use std::time::{Duration, Instant};

use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use weir_core::bounds::{EFFECT_BYTES_PER_RUN_MAX, MIB};

use crate::stop::Stop;

/// Elements of one table. Python's interpreter needs about 20,000.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 30_000;

/// Instances within one component; interpreters have dozens.
pub(crate) const INSTANCES_MAX: u32 = 200;
/// Memories within one component.
pub(crate) const MEMORIES_MAX: u32 = 8;
/// Tables within one component.
pub(crate) const TABLES_MAX: u32 = 40;

/// Data that one call may pass from guest to host. It is above the limit of all effects, so that a
/// body slightly too large is refused with a message; a body far too large ends the run before it
/// is copied.
const TRANSFER_BYTES_MAX: usize = EFFECT_BYTES_PER_RUN_MAX + MIB;

/// Epoch ticks of 1 ms after which a guest yields its thread.
const SLICE_TICKS: u64 = 2;

/// Time after the deadline in which a computing guest is stopped by its own check, which knows its
/// frames. A guest that waits in the host is stopped after this time.
const GRACE: Duration = Duration::from_millis(20);

/// The memory limit of one run.
#[derive(Debug)]
pub(crate) struct Guard {
    memory_max: usize,
    memory: usize,
    memory_peak: usize,
    refused: bool,
}

/// A store's data with a guard.
pub(crate) trait Guarded: Send + 'static {
    fn guard(&mut self) -> &mut Guard;
}

impl Guard {
    pub(crate) fn new(memory_max: usize) -> Self {
        Self { memory_max, memory: 0, memory_peak: 0, refused: false }
    }

    /// The most linear memory of the instance, in bytes, all its memories together.
    pub(crate) fn memory_peak(&self) -> usize {
        self.memory_peak
    }

    /// True if the guest asked for more memory than its limit.
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
            // The module's own maximum: the module can handle that.
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

/// A store with all limits. Its time starts now.
pub(crate) fn store<T: Guarded>(engine: &wasmtime::Engine, data: T, time: Duration) -> Store<T> {
    let mut store = Store::new(engine, data);
    store.limiter(|data| data.guard());
    store.set_hostcall_fuel(TRANSFER_BYTES_MAX);
    let deadline = Instant::now() + time;
    store.epoch_deadline_callback(move |_| {
        if Instant::now() >= deadline {
            return Err(Stop::Deadline(time).into());
        }
        // With tokio's yield the thread polls its sockets and timers before it continues.
        Ok(UpdateDeadline::YieldCustom(SLICE_TICKS, Box::pin(tokio::task::yield_now())))
    });
    store.set_epoch_deadline(SLICE_TICKS);
    store
}

/// Runs a call of a guest until its end or its deadline, also while it waits for the host.
pub(crate) async fn within<T>(
    time: Duration,
    call: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    match tokio::time::timeout(time + GRACE, call).await {
        Ok(ended) => ended,
        Err(_) => Err(Stop::Deadline(time).into()),
    }
}
