//! The hub against the bare machine, in one run: `cargo bench -p weir --bench load`.
//!
//! Both servers get the same signed 2 KB pushes over the same number of connections, in interleaved
//! rounds. The floor is the least that is durable: hyper, one HMAC, one fdatasync per group into
//! preallocated space. Compare the ratios; absolute figures depend on the machine.
//!
//! `LOAD_ROUNDS` (3), `LOAD_SECONDS` (5), `LOAD_CONNECTIONS` (64), `LOAD_HANDLER` (a module; the
//! no-op test handler).

#![expect(clippy::disallowed_methods, reason = "a benchmark may spawn tasks directly")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a program that measures, whose figures are printed and whose failures are panics"
)]

mod floor;
mod generator;
mod process;

use std::path::{Path, PathBuf};

use generator::Measured;
use process::Server;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(otherwise)
}

fn main() {
    if let Some(folder) = std::env::var_os("LOAD_FLOOR_IN") {
        floor::serve(Path::new(&folder));
        return;
    }
    let (rounds, seconds) = (setting("LOAD_ROUNDS", 3), setting("LOAD_SECONDS", 5));
    let connections = setting("LOAD_CONNECTIONS", 64) as usize;
    let handler = std::env::var_os("LOAD_HANDLER").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/noop.wasm"),
        PathBuf::from,
    );
    println!("{connections} connections, {seconds} s a round, {rounds} rounds");
    let (mut floors, mut hubs) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let floor = measure(Server::floor(), seconds, connections);
        println!("round {round}: floor {floor}");
        let hub = measure(Server::hub(&handler), seconds, connections);
        println!("round {round}: hub   {hub}");
        println!("round {round}: hub/floor {:.2}", hub.per_second / floor.per_second);
        floors.push(floor);
        hubs.push(hub);
    }
    let ratios: Vec<f64> =
        hubs.iter().zip(&floors).map(|(hub, floor)| hub.per_second / floor.per_second).collect();
    println!("hub/floor, requests/s: median {:.2}", median(ratios));
    println!(
        "hub: median {:.0} us CPU a request until it is settled",
        median(hubs.iter().map(|h| h.cpu_us).collect())
    );
    println!(
        "hub: median {:.2} bytes written per payload byte",
        median(hubs.iter().map(|h| h.written).collect())
    );
}

fn measure(mut server: Server, seconds: u64, connections: usize) -> Measured {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = server.ready();
    runtime.block_on(generator::run(address, "warm", 1, connections));
    server.settled();
    let before = server.usage();
    let load = runtime.block_on(generator::run(address, "load", seconds, connections));
    let drained = server.settled();
    let used = server.usage().since(&before);
    assert_eq!(load.refused, 0, "requests were refused under load");
    Measured::new(&load, &used, drained, seconds)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
