//! `weir-sim`: simulates many lives of the store, or repeats one.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use weir_sim::{Settings, live_many};

/// Simulates the store on a disk that fails.
#[derive(Debug, Parser)]
struct Arguments {
    /// Number of seeds
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// First seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Simulate only this seed
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Steps per life
    #[arg(long, default_value_t = Settings::default().steps)]
    steps: u32,
    /// Check one in this many disk operations as a possible crash; 1 checks all. Repeat a failure
    /// with the number under which it was found
    #[arg(long, default_value_t = Settings::default().moments_one_in, value_parser = clap::value_parser!(u32).range(1..))]
    moments: u32,
    /// Lives in parallel [default: number of processors]
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let settings = Settings {
        steps: arguments.steps,
        moments_one_in: arguments.moments,
        ..Settings::default()
    };
    let seeds = match arguments.seed {
        Some(seed) => seed..seed.saturating_add(1),
        None => arguments.from..arguments.from.saturating_add(arguments.seeds),
    };
    let threads = arguments
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let done = AtomicU64::new(0);
    let mut out = std::io::stdout();
    let tell = |_: u64| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(1_000) {
            let _closed = writeln!(std::io::stderr(), "{done} seeds");
        }
    };
    match live_many(seeds.clone(), &settings, threads, &tell) {
        Ok(tally) => {
            let lives = seeds.end - seeds.start;
            let _closed = writeln!(
                out,
                "{lives} lives held: {} steps, {} starts, {} crashes, {} other moments, {} disk operations",
                tally.steps, tally.starts, tally.crashes, tally.moments, tally.acts
            );
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _closed = writeln!(out, "{failure}");
            ExitCode::FAILURE
        }
    }
}
