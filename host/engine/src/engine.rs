//! The engine: one for each process, with the compiler, the cache of code, and the slots and pooled
//! memory of runs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};
use weir_core::bounds::{KIB, MIB};

use crate::bindings::Handler;
use crate::cache::Cache;
use crate::command::{self, CommandState};
use crate::compile::Compiler;
use crate::guard::{INSTANCES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX};
use crate::instance::RunState;
use crate::ticker::{Ticker, TickingGuard};
use crate::wasi;
use crate::wasmtime_config;

/// Concurrent calls of `describe`. They have their own slot, so that loading never waits for runs.
const DESCRIBE_SLOTS: usize = 1;

/// Metadata of one instance.
const INSTANCE_BYTES_MAX: usize = 4 * MIB;

#[derive(Clone)]
pub struct Options {
    /// Concurrent runs; more wait. At most twice the cores is a good number.
    pub slots: usize,
    /// The most linear memory that a handler may get, in bytes.
    pub max_memory: usize,
    pub compiler: Compiler,
    /// The folder for compiled code; none disables the cache. No other program may write to it.
    pub cache_dir: Option<PathBuf>,
    /// Limit of the folder. The least recently used code is removed.
    pub cache_bytes: usize,
    /// Authenticates the cached code.
    pub cache_key: [u8; 32],
    /// Bytes at the start of a slot's memory that are cleared in place for the next run, instead of
    /// being returned to the operating system. Each slot keeps this much memory resident.
    pub keep_resident: usize,
}

impl Default for Options {
    /// Four slots, 512 MiB, compiled in this process, without a cache.
    fn default() -> Self {
        Self {
            slots: 4,
            max_memory: 512 * MIB,
            compiler: Compiler::InProcess,
            cache_dir: None,
            cache_bytes: 2 * 1024 * MIB,
            cache_key: [0; 32],
            keep_resident: 2 * MIB,
        }
    }
}

impl fmt::Debug for Options {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("slots", &self.slots)
            .field("max_memory", &self.max_memory)
            .field("compiler", &self.compiler)
            .field("cache_dir", &self.cache_dir)
            .field("cache_bytes", &self.cache_bytes)
            .field("keep_resident", &self.keep_resident)
            .finish_non_exhaustive()
    }
}

/// The reason that the engine cannot start.
#[derive(Debug, Error)]
pub enum EngineError {
    #[error("the engine needs at least one slot")]
    NoSlots,
    /// Wasmtime refused the configuration, or a host function could not be linked.
    #[error("wasmtime does not start")]
    Wasmtime(#[source] wasmtime::Error),
    #[error("cannot start the epoch thread")]
    Ticker(#[source] std::io::Error),
    #[error("cannot use {} for compiled code", dir.display())]
    Cache {
        dir: PathBuf,
        #[source]
        cause: std::io::Error,
    },
}

/// Compiles and runs handlers. Clones share it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) components: Linker<RunState>,
    pub(crate) commands: wasmtime::Linker<CommandState>,
    pub(crate) compiler: Compiler,
    pub(crate) cache: Option<Cache>,
    pub(crate) max_memory: usize,
    runs: Arc<Semaphore>,
    describes: Arc<Semaphore>,
    ticker: Ticker,
}

/// A slot for one run, with the ticks that its deadline needs. Free again when dropped.
pub(crate) struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
    _ticking: TickingGuard,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("free_slots", &self.inner.runs.available_permits())
            .field("cache", &self.inner.cache)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the engine, and its epoch ticker: a thread that ends with the engine.
    pub fn new(options: Options) -> Result<Self, EngineError> {
        if options.slots == 0 {
            return Err(EngineError::NoSlots);
        }
        let wasmtime = wasmtime_engine(&options).map_err(EngineError::Wasmtime)?;
        let (components, commands) = linkers(&wasmtime).map_err(EngineError::Wasmtime)?;
        let cache = options
            .cache_dir
            .map(|dir| {
                let limits = (options.cache_key, options.cache_bytes);
                Cache::open(dir.clone(), limits, &wasmtime)
                    .map_err(|cause| EngineError::Cache { dir, cause })
            })
            .transpose()?;
        let ticker = Ticker::start(wasmtime.weak()).map_err(EngineError::Ticker)?;
        let inner = Inner {
            wasmtime,
            components,
            commands,
            compiler: options.compiler,
            cache,
            max_memory: options.max_memory,
            runs: Arc::new(Semaphore::new(options.slots)),
            describes: Arc::new(Semaphore::new(DESCRIBE_SLOTS)),
            ticker,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Waits for a slot.
    pub(crate) async fn run_slot(&self) -> Slot {
        self.slot(&self.inner.runs).await
    }

    /// Waits for a slot of a `describe`.
    pub(crate) async fn describe_slot(&self) -> Slot {
        self.slot(&self.inner.describes).await
    }

    async fn slot(&self, slots: &Arc<Semaphore>) -> Slot {
        // The semaphore is never closed.
        let permit = slots.clone().acquire_owned().await.ok();
        Slot { _permit: permit, _ticking: self.inner.ticker.ticking() }
    }
}

fn linkers(
    engine: &wasmtime::Engine,
) -> wasmtime::Result<(Linker<RunState>, wasmtime::Linker<CommandState>)> {
    let mut components = Linker::new(engine);
    Handler::add_to_linker::<RunState, HasSelf<RunState>>(&mut components, |run| run)?;
    wasi::link(&mut components)?;
    Ok((components, command::linker(engine)?))
}

/// Uses the pool, unless its address space is not available (a limit, no overcommit).
fn wasmtime_engine(options: &Options) -> wasmtime::Result<wasmtime::Engine> {
    let mut config = wasmtime_config::config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
    wasmtime::Engine::new(&config).or_else(|error| {
        warn!(%error, "no address space for the pool of instances; runs start slower");
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        wasmtime::Engine::new(&config)
    })
}

/// Sized so that a run with a slot never exhausts the pool.
fn pool(options: &Options) -> PoolingAllocationConfig {
    let slots = u32::try_from(options.slots + DESCRIBE_SLOTS).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(INSTANCES_MAX))
        .total_memories(slots.saturating_mul(MEMORIES_MAX))
        .total_tables(slots.saturating_mul(TABLES_MAX))
        .total_stacks(slots)
        .max_core_instances_per_component(INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .max_component_instance_size(INSTANCE_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(options.max_memory)
        .linear_memory_keep_resident(options.keep_resident)
        .table_keep_resident(64 * KIB)
        // It would clear only the pages that a run has written, at less than half the cost. But it
        // looks for pages that are present: a page that was swapped out keeps the last run's data,
        // and the next run reads it (seen on Linux 6.18 with the scan that wasmtime requests).
        .pagemap_scan(Enabled::No);
    pool
}
