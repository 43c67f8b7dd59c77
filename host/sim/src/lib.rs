//! A simulator for the store: one seed, one life of it, on a disk that fails.
//!
//! The core's decisions and the real store run against a virtual clock and a [`disk`] in memory, which SQLite reaches
//! through a VFS of its own ([`vfs`]). A seed decides the work (requests, repeats, claims, runs with effects and
//! state, settlements fresh and stale, redrives, holds, retention, jumps of the clock), the faults (syncs, writes and
//! reads that fail, a full disk) and where the process ends: between two steps, at any disk operation of a step or
//! of a start, by a kill or a power loss. A plain [`model`] says what must be there, and [`invariants`] are asserted
//! after each step, after each start, and on what a start would find at other moments of the same step.
//!
//! What a seed decides, and what not: one driver awaits each call, the checkpoint thread is kept idle (checkpoints
//! are steps of their own), nothing waits by real time, and the store's random secrets are replaced by the seed's, so
//! every disk operation of a life comes in the same order with the same length: `Tally::trace` is a fingerprint of
//! them and a test holds it. The bytes differ in the salts and checksums of SQLite's log, which SQLite draws at
//! random once a process; nothing else does.
//!
//! What may not live here: anything that ships.

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

/// A promise that a seed broke.
#[derive(Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// How it was simulated.
    pub settings: Settings,
    /// What broke.
    pub broken: Broken,
    /// What was done, oldest first.
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

/// Lives one life.
///
/// # Errors
/// [`Failure`] with what broke and how to see it again.
pub async fn live(bench: &Bench, seed: u64, settings: &Settings) -> Result<Tally, Box<Failure>> {
    let mut sim = Sim::new(bench, seed, settings);
    let lived = sim.live().await;
    let (log, tally) = (std::mem::take(&mut sim.log), sim.tally);
    match lived {
        Ok(()) => Ok(tally),
        Err(broken) => Err(Box::new(Failure { seed, settings: settings.clone(), broken, log })),
    }
}

/// Lives a life for each seed, several at a time, and stops at the first failure. `told` hears of each that held.
///
/// # Errors
/// [`Failure`] of one of the seeds, or a sentence if there is no place for the lock files.
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
