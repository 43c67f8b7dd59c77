//! Runs modules outside of a hub, with the hub's own engine: the same compiler, contract, settings
//! and limits. Nothing that a run asks for is carried out.
//!
//! `OfflineHandler` is a module with its settings, compiled once and run any number of times, also
//! side by side. `MemoryState` is a state in memory, and `RecordedRun` is a finished run as plain
//! data. A fixture is the input of a run as a file, with what is expected of it.
//!
//! Not here: what the command line prints, and anything that needs a store.

mod config;
mod effect_record;
mod fixture;
mod fixture_check;
mod fixture_files;
mod handler;
mod memory_state;
mod run_record;

pub(crate) use config::{OfflineConfig, offline_config};
pub(crate) use effect_record::EffectRecord;
pub(crate) use fixture::{EventFields, ExpectedEnd, Fixture, HeaderFields, StateValue, TimeField};
pub(crate) use fixture_check::{FixtureEnd, FixtureResult, check_fixture, run_fixture};
pub(crate) use fixture_files::{FixtureFile, fixture_paths, fixtures_folder, read_fixtures};
pub(crate) use handler::{OfflineHandler, OfflineRun, RunInput, offline_engine};
pub(crate) use memory_state::MemoryState;
pub(crate) use run_record::RecordedRun;
