//! A few hundred lives, each from its seed.

use weir_sim::{Bench, Settings};

#[test]
fn one() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bench = Bench::new().unwrap();
    let from: u64 = std::env::var("FROM").map_or(0, |n| n.parse().unwrap());
    let n: u64 = std::env::var("N").map_or(20, |n| n.parse().unwrap());
    for seed in from..from + n {
        let t = std::time::Instant::now();
        match runtime.block_on(weir_sim::live(&bench, seed, &Settings::default())) {
            Ok(tally) => println!("{seed} {tally:?} {:?}", t.elapsed()),
            Err(e) => panic!("{e}"),
        }
    }
}
