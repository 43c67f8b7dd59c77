//! The engine: one per process, configured once, with the pool that runs take their memory from.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};
use weir_core::bounds::{KIB, MIB};

use crate::bindings::Handler;
use crate::cache::Cache;
use crate::command::{self, CommandState};
use crate::compile::Compiler;
use crate::describe::{self, DescribeError, Description};
use crate::guard::{INSTANCES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX};
use crate::instance::RunState;
use crate::module::{Code, LoadError, Module};
use crate::ticker::{Ticker, TickingGuard};
use crate::wasi;

/// Runs of `describe` at a time. They have a slot of their own, so that loading never waits for runs.
const DESCRIBE_SLOTS: usize = 1;

/// Stack of a guest, and of the fibre it runs on, which also holds the host calls.
const GUEST_STACK_BYTES: usize = 512 * KIB;
/// See [`GUEST_STACK_BYTES`].
const FIBRE_STACK_BYTES: usize = 2 * MIB;

/// Frames captured when a guest traps.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::new(32).unwrap();

/// Bytes of core metadata that one instance may need.
const INSTANCE_BYTES_MAX: usize = 4 * MIB;

/// How the engine is set up.
#[derive(Clone)]
pub struct Options {
    /// Runs at a time. More wait. Twice the cores at most is a good number.
    pub slots: usize,
    /// The most linear memory that any handler may be granted, in bytes.
    pub max_memory: usize,
    /// Where modules are compiled.
    pub compiler: Compiler,
    /// Where compiled code is kept; nowhere if none. Never a folder that others write.
    pub cache_dir: Option<PathBuf>,
    /// Bytes of compiled code kept there; what was not used for longest goes.
    pub cache_bytes: usize,
    /// Authenticates what is kept there.
    pub cache_key: [u8; 32],
    /// Bytes at the start of a slot's memory that are cleared in place for the next run instead of being given back
    /// to the operating system. Costs this much resident memory per slot.
    pub keep_resident: usize,
}

impl Default for Options {
    /// Four slots, 512 MiB at most, compiled in this process, no cache.
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

/// An engine that cannot start.
#[derive(Debug, Error)]
pub enum EngineError {
    /// There must be room for at least one run.
    #[error("the engine needs at least one slot")]
    NoSlots,
    /// wasmtime refused the configuration, or a contract function could not be linked.
    #[error("wasmtime does not start")]
    Wasmtime(#[source] wasmtime::Error),
    /// No thread for the ticker.
    #[error("cannot start the epoch thread")]
    Ticker(#[source] std::io::Error),
    /// The cache folder cannot be used.
    #[error("cannot use {} for compiled code", dir.display())]
    Cache {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// Compiles and runs handlers. Cheap to clone; clones are the same engine.
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

/// A place to run in, with the ticks that its deadline needs; free again when dropped.
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
    /// Sets everything up and starts the epoch ticker, a thread that ends with the engine.
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

    /// Makes a module of a file's bytes: tells component and command apart, compiles (or takes the code from the
    /// cache), checks the contract and links. Once per version, off the hot path: it may compute for seconds.
    pub fn load(&self, bytes: &[u8]) -> Result<Module, LoadError> {
        Module::load(self, bytes)
    }

    /// Asks a module what it is, with one second and nothing granted. A command says nothing.
    pub async fn describe(&self, module: &Module) -> Result<Description, DescribeError> {
        match module.code() {
            Code::Command(_) => Ok(Description::default()),
            Code::Component(component) => {
                let _slot = self.slot(&self.inner.describes).await;
                describe::describe(&self.inner.wasmtime, component, self.inner.max_memory).await
            }
        }
    }

    /// Waits for a place to run in.
    pub(crate) async fn run_slot(&self) -> Slot {
        self.slot(&self.inner.runs).await
    }

    async fn slot(&self, slots: &Arc<Semaphore>) -> Slot {
        // The semaphore is never closed; without a permit the pool itself would still refuse.
        let permit = Arc::clone(slots).acquire_owned().await.ok();
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

/// With the pool, or where its address space cannot be had (a limit, no overcommit), without.
fn wasmtime_engine(options: &Options) -> wasmtime::Result<wasmtime::Engine> {
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
    wasmtime::Engine::new(&config).or_else(|error| {
        warn!(%error, "no address space for the pool of instances; runs will start slower");
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        wasmtime::Engine::new(&config)
    })
}

/// What code depends on. The pool is no part of it, so a compiler needs none.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // Bounds are checked in code and not by page protection. A guest that allocates grows its memory, and the
        // next instance in its slot would have to protect the growth again: two system calls that interrupt every
        // core, in each run, for handlers that mostly run for microseconds.
        .signals_based_traps(false)
        .memory_guard_size(0)
        .memory_init_cow(true)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(FIBRE_STACK_BYTES)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES));
    config
}

/// Sized so that a run that holds a slot finds everything it may have: exhaustion is a wait for a slot, never an error.
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
        // It would clear only the pages that a run has written, at less than half the cost. But it looks for pages that
        // are present: one that was swapped out keeps what the last run wrote, and the next one reads it (seen on
        // Linux 6.18 with the scan as wasmtime asks for it).
        .pagemap_scan(Enabled::No);
    pool
}
