//! What hostile and slow handlers cost others, measured: in a binary of its own and one after another, so that no other
//! test runs meanwhile. Its language is that of `it`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    dead_code,
    reason = "a test says what it expects by panicking, and needs a part of its language"
)]

#[path = "../e2e/fixtures.rs"]
mod fixtures;
#[path = "../e2e/hub.rs"]
mod hub;
#[path = "../e2e/launch.rs"]
mod launch;
#[path = "../e2e/sink.rs"]
mod sink;
#[path = "../e2e/wat_guests.rs"]
mod wat_guests;

mod bursts;
mod neighbours;

/// Held by the test that measures.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Keeps the hubs' files in memory where the system has a place for that: what is measured is what handlers do to each
/// other, and the disk is shared with whatever else runs on the machine.
fn in_memory() {
    let place = std::path::Path::new("/dev/shm");
    if place.is_dir() {
        drop(tempfile::env::override_temp_dir(place));
    }
}
