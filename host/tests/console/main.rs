//! The console in a real browser, against a real hub.
//!
//! Screenshots of every page are kept in `target/console-shots`. Where no browser is installed the
//! tests say SKIPPED; in CI none may.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test says what it expects by panicking"
)]

mod accessible;
mod acting;
mod hub;
mod jobs;
mod looks;
mod reading;
mod scale;
mod strangers;
mod wholes;
