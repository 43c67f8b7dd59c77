//! Promises of the SQLite engine alone: its files, their damage, and the files of a killed process.

#![expect(clippy::disallowed_methods, reason = "tests may spawn tasks directly")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod blocks;
#[expect(dead_code, reason = "the conformance suite uses the rest")]
#[path = "../common/mod.rs"]
mod common;
mod damage;
mod dedup_runs;
mod files;
mod host_lost;
mod integrity;
mod kills;
mod list_times;
mod payloads;
mod replaced_files;
mod schema;
mod test_store;
