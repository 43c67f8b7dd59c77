//! Promises of every engine, tested through the traits of the store.
//!
//! The tests know `engine::TestStore` only. To test another engine, compile the same modules with
//! another `engine` that implements `harness::Harness`.

#![expect(clippy::disallowed_methods, reason = "tests may spawn tasks directly")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod abandoned;
mod audit;
mod cancelling;
mod claims;
mod clock;
#[path = "../common/mod.rs"]
mod common;
mod effects;
mod engine;
mod erasing;
mod handler_state;
mod harness;
mod host_lost;
mod ingest;
mod lists;
mod looking_up;
mod order;
mod past;
mod replay;
mod replies;
mod retention;
mod rollups;
mod settling;
mod upkeep;
