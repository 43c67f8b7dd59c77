//! WASI 0.2 with nothing granted, for modules that import it.
//!
//! Output goes into the log, the environment is the handler's `[config]`, the clocks are those of
//! the run, and randomness is seeded. There are no files, sockets or arguments.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{DynPollable, subscribe};
use wasmtime_wasi::{HostMonotonicClock as _, WasiCtx, WasiCtxBuilder, WasiView};
use weir_core::time::Timestamp;

use crate::clock::{FrozenClock, Sleep, SteppingClock};
use crate::log::{LogLevel, LogRecorder};
use crate::stdio::GuestOutput;

/// Random bytes that one WASI call may request; more traps.
const RANDOM_BYTES_MAX: u64 = 1024 * 1024;

/// The uses of a run's seed. Each has its own stream, so that none reveals the bytes of another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RandomStream {
    /// `context.random`.
    Contract = 0,
    /// WASI's secure random.
    Secure = 1,
    /// WASI's insecure random.
    Insecure = 2,
    /// WASI's seed for hash maps.
    HashSeed = 3,
}

/// The generator for one use of a run's seed.
pub(crate) fn random(seed: [u8; 32], stream: RandomStream) -> ChaCha12Rng {
    let mut random = ChaCha12Rng::from_seed(seed);
    random.set_stream(stream as u64);
    random
}

/// A builder with everything but stdin and stdout set.
pub(crate) fn builder(
    config: &BTreeMap<String, String>,
    now: Timestamp,
    seed: [u8; 32],
    clock: &SteppingClock,
    log: &Arc<Mutex<LogRecorder>>,
) -> WasiCtxBuilder {
    let mut hash_seed = random(seed, RandomStream::HashSeed);
    let hash_seed = u128::from(hash_seed.next_u64()) << 64 | u128::from(hash_seed.next_u64());
    let mut builder = WasiCtxBuilder::new();
    builder
        .stderr(GuestOutput::Log(LogLevel::Stderr, log.clone()))
        .wall_clock(FrozenClock(now))
        .monotonic_clock(clock.clone())
        .secure_random(random(seed, RandomStream::Secure))
        .insecure_random(random(seed, RandomStream::Insecure))
        .insecure_random_seed(hash_seed)
        .max_random_size(RANDOM_BYTES_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    for (key, value) in config {
        builder.env(key, value);
    }
    builder
}

/// The WASI of a run, created at its first use: most handlers never use it.
pub(crate) struct Wasi {
    pub(crate) ctx: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) clock: SteppingClock,
}

/// A store's data with WASI.
pub(crate) trait HasWasi {
    fn wasi(&mut self) -> &mut Wasi;
}

/// Links WASI 0.2, with the clocks of the run in place of those that would really sleep.
pub(crate) fn link<T: WasiView + HasWasi + 'static>(
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<T, Clocks>(linker, |run| {
        let Wasi { table, clock, .. } = run.wasi();
        ClocksView { table, clock }
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

struct Clocks;

impl HasData for Clocks {
    type Data<'a> = ClocksView<'a>;
}

struct ClocksView<'a> {
    table: &'a mut ResourceTable,
    clock: &'a SteppingClock,
}

impl ClocksView<'_> {
    fn sleep_until(&mut self, until_ns: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let sleep = self.table.push(Sleep { clock: self.clock.clone(), until_ns })?;
        subscribe(self.table, sleep)
    }
}

impl monotonic_clock::Host for ClocksView<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.clock.now())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(self.clock.resolution())
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.sleep_until(when)
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let until = self.clock.after(duration);
        self.sleep_until(until)
    }
}
