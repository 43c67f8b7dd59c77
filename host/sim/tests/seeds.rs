//! A few hundred simulated lives in every test run, and a proof that a disk that does not sync is
//! noticed.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use weir_sim::{Bench, Failure, Settings, Tally, live_many};

/// Number of seeds of one test run, unless `WEIR_SIM_SEEDS` is set.
const SEEDS: u64 = 300;

fn lives(seed: u64, settings: &Settings) -> Result<Tally, Box<Failure>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(weir_sim::live(&Bench::new().unwrap(), seed, settings))
}

#[test]
fn the_promises_hold_in_every_life() {
    let seeds = std::env::var("WEIR_SIM_SEEDS").map_or(SEEDS, |n| n.parse().unwrap());
    match live_many(0..seeds, &Settings::default(), 2, &|_| {}) {
        Ok(tally) => {
            println!("{tally:?}");
            assert!(tally.crashes > seeds && tally.moments > 5 * seeds, "{tally:?}");
        }
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn one_life_holds_at_every_disk_operation() {
    for seed in 0..4 {
        let settings = Settings { moments_one_in: 1, steps: 25, ..Settings::default() };
        let tally = lives(seed, &settings).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(tally.moments > 60, "{tally:?}");
    }
}

#[test]
fn a_seed_is_always_the_same_life() {
    for seed in 0..6 {
        let once = lives(seed, &Settings::default()).unwrap_or_else(|failure| panic!("{failure}"));
        let again = lives(seed, &Settings::default()).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(once, again, "seed {seed}");
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    let settings = Settings { lying_disk: true, only_crashes: true, ..Settings::default() };
    let failures: Vec<_> = (0..20).filter_map(|seed| lives(seed, &settings).err()).collect();
    let lost = failures.iter().filter(|f| f.broken.promise == "INV-1").count();
    let other: Vec<_> = failures.iter().map(|f| f.broken.promise).collect();
    assert!(failures.len() >= 18 && lost >= 5, "{other:?}");
    let text = failures[0].to_string();
    assert!(text.contains(&format!("--seed {} --steps 40", failures[0].seed)), "{text}");
}
