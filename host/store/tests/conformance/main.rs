//! Promises of every engine, tested through the traits of the store.
//!
//! The tests know `engine::TestStore` only. To test another engine, compile the same modules with
//! another `engine` that implements `harness::Harness`.

#![expect(clippy::disallowed_methods, reason = "tests may spawn tasks directly")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod abandoned;
mod audit;
mod claims;
mod clock;
#[path = "../common/mod.rs"]
mod common;
mod effects;
mod engine;
mod harness;
mod host_lost;
mod ingest;
mod lists;
mod order;
mod replay;
mod replies;
mod rollups;
mod settling;
mod upkeep;
