//! What hostile handlers cost others, measured: in a binary of its own, so that no other test runs meanwhile. Its language
//! is that of `it`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    dead_code,
    reason = "a test says what it expects by panicking, and needs a part of its language"
)]

#[path = "../it/fixtures.rs"]
mod fixtures;
#[path = "../it/hub.rs"]
mod hub;
#[path = "../it/launch.rs"]
mod launch;
#[path = "../it/sink.rs"]
mod sink;
#[path = "../it/wat_guests.rs"]
mod wat_guests;

mod neighbours;
