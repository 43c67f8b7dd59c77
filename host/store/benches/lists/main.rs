//! The time of every filter of lists, and of combinations of them, on a store with a million
//! events. It fails if one takes longer than the limit.
//!
//! `cargo bench -p weir-store --bench lists`; `WEIR_BENCH_EVENTS` changes the number of events,
//! `WEIR_BENCH_LIST_MS` the limit of 100 ms. `WEIR_BENCH_STORE` names a new file that is kept, to
//! look at with a hub.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops when something is wrong"
)]

mod load;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use load::Load;

/// Lines printed: the slowest filters.
const SHOWN: usize = 25;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let events = setting("WEIR_BENCH_EVENTS", 1_000_000);
    let limit = Duration::from_millis(setting("WEIR_BENCH_LIST_MS", 100) as u64);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = tempfile::tempdir_in(".").unwrap();
    let kept = std::env::var_os("WEIR_BENCH_STORE").map(PathBuf::from);
    let path = kept.unwrap_or_else(|| dir.path().join("weir.db"));
    let slow = runtime.block_on(async {
        let begun = Instant::now();
        let load = Load::fill(&path, events).await;
        let seconds = begun.elapsed().as_secs_f64();
        println!("{events} events stored, and half of them settled, in {seconds:.0} s");
        // The first round opens connections and warms caches.
        let cold = load.measure(1).await;
        let mut times = load.measure(1).await;
        let slowest = cold.iter().map(|(_, _, took)| *took).max().unwrap_or_default();
        println!("{} filters; slowest at first {:.1} ms", times.len(), ms(slowest));
        times.sort_by_key(|(_, _, took)| std::cmp::Reverse(*took));
        for (name, found, took) in times.iter().take(SHOWN) {
            println!("{:>8.1} ms  {found:>6} found  {name}", ms(*took));
        }
        let middle = times.get(times.len() / 2).map_or(Duration::ZERO, |(_, _, took)| *took);
        println!("{:>8.1} ms  median", ms(middle));
        times.iter().filter(|(_, _, took)| *took > limit).count()
    });
    assert_eq!(slow, 0, "filters that took longer than {limit:?}");
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}
