//! A simulator for the store: one seed is one life of a store on a disk that fails.
//!
//! The core's decisions and the real store run on a virtual clock and a [`disk`] in memory, which
//! SQLite uses through its own VFS ([`vfs`]). A seed decides the work (requests, duplicates,
//! claims, runs with effects and state, valid and superseded settlements, replays, holds,
//! retention, clock changes), the faults (failing syncs, writes and reads, a full disk) and where
//! the process ends: between two steps or at any disk operation of a step or a start, by a kill or
//! a power loss. A plain [`model`] computes what must be stored. [`invariants`] are checked after
//! each step, after each start, and on the files of possible crashes within a step.
//!
//! Limits of determinism: one driver awaits each call, the checkpoint thread is idle (checkpoints
//! are steps), nothing waits for real time, and the store's random secrets come from the seed. So
//! all disk operations of a life come in the same order with the same lengths: `Tally::trace` is
//! their fingerprint, and a test checks it. Only the salts and checksums of SQLite's log differ,
//! which SQLite draws at random once per process.
//!
//! Not here: anything that ships.

pub mod calls;
pub mod cast;
pub mod disk;
pub mod invariants;
pub mod locks;
pub mod model;
pub mod observe;
pub mod op;
pub mod script;
pub mod sim;
mod steps;
pub mod vfs;
pub mod world;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

pub use sim::{Bench, Settings, Tally};

use invariants::Broken;
use sim::Sim;

/// A promise that broke under a seed.
#[derive(Debug)]
pub struct Failure {
    /// The seed of the life.
    pub seed: u64,
    /// The settings of the simulation.
    pub settings: Settings,
    /// The broken promise.
    pub broken: Broken,
    /// The steps, oldest first.
    pub log: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.broken)?;
        let last = self.log.len().saturating_sub(20);
        for (n, line) in self.log.iter().enumerate().skip(last) {
            writeln!(f, "  {n:3} {line}")?;
        }
        let Settings { steps, moments_one_in, .. } = self.settings;
        write!(
            f,
            "replay it with: cargo run --release -p weir-sim -- --seed {} --steps {steps} --moments {moments_one_in}",
            self.seed
        )
    }
}

impl std::error::Error for Failure {}

/// Simulates one life.
///
/// # Errors
/// [`Failure`] with the broken promise and how to repeat it.
pub async fn live(bench: &Bench, seed: u64, settings: &Settings) -> Result<Tally, Box<Failure>> {
    let mut sim = Sim::new(bench, seed, settings);
    let lived = sim.live().await;
    let (log, tally) = (std::mem::take(&mut sim.log), sim.tally);
    match lived {
        Ok(()) => Ok(tally),
        Err(broken) => Err(Box::new(Failure { seed, settings: settings.clone(), broken, log })),
    }
}

/// Simulates a life for each seed, several in parallel, and stops at the first failure. `told` is
/// called for each life that passed.
///
/// # Errors
/// [`Failure`] of one of the seeds, or a message if the folder for lock files cannot be created.
pub fn live_many(
    seeds: Range<u64>,
    settings: &Settings,
    threads: usize,
    told: &(dyn Fn(u64) + Sync),
) -> Result<Tally, Box<dyn std::error::Error + Send + Sync>> {
    let next = AtomicU64::new(seeds.start);
    let work = || -> Result<Tally, Box<dyn std::error::Error + Send + Sync>> {
        let bench = Bench::new()?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let mut sum = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(sum);
            }
            match runtime.block_on(live(&bench, seed, settings)) {
                Ok(tally) => sum.add(&tally),
                Err(failure) => {
                    next.store(seeds.end, Ordering::Relaxed);
                    return Err(failure);
                }
            }
            told(seed);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let mut sum = Tally::default();
        for worker in workers {
            match worker.join() {
                Ok(tally) => sum.add(&tally?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(sum)
    })
}
