//! The engine against real guests: what they may do, what they get, and how they fail.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic too")]

mod commands;
mod deadlines;
mod effects;
mod ends;
mod languages;
mod limits;
mod loading;
mod repeats;
mod state;
mod support;
