//! Tests of the engine with real guests: effects, limits, failures.
#![expect(clippy::disallowed_methods, reason = "tests may spawn tasks directly")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic too")]

mod commands;
mod contract;
mod deadlines;
mod effects;
mod ends;
mod languages;
mod limits;
mod loading;
mod repeats;
mod state;
mod support;
