//! The cost of hostile and slow handlers for other handlers, measured. The tests run one at a time
//! in a binary of their own, so that no other test disturbs the figures.

#![expect(clippy::disallowed_methods, reason = "tests may spawn tasks directly")]
#![expect(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

mod big_guests;
mod bursts;
mod neighbours;

/// Locked by the test that measures.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Keeps the hubs' files in memory where the system allows it: the test measures handlers, and
/// other processes share the disk.
fn in_memory() {
    let place = std::path::Path::new("/dev/shm");
    if place.is_dir() {
        drop(tempfile::env::override_temp_dir(place));
    }
}
