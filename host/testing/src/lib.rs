//! The test kit: what the tests of several packages share.
//!
//! Not here: a test, and anything that the product uses.
//!
//! - [`browser`]: a real browser, for the pages of the console
//! - [`hub`]: a hub in a child process, and what a test asks of it
//! - [`sink`]: an endpoint that records what it is sent
//! - [`relay`]: a way to a server that can be taken away
//! - [`guests`]: handlers that are committed, and handlers written as WebAssembly text
//! - [`hostile`]: handlers and files that misbehave, with their outcomes
//! - [`strangers`]: bodies that would do something if they were more than text
//! - [`clock`]: a clock that the test sets
//! - [`wait`]: waiting for a state

#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "tests may spawn tasks directly")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    missing_debug_implementations,
    reason = "test code: a failure is a panic, and nothing here is printed with {:?}"
)]

pub mod browser;
pub mod clock;
pub mod guests;
pub mod hostile;
pub mod hub;
mod launch;
pub mod relay;
pub mod sink;
pub mod strangers;
pub mod wait;

pub use clock::ManualClock;
pub use hub::{RunningHub, TestHub};
pub use relay::Relay;
pub use sink::Sink;
pub use wait::until;
