//! The hub as users meet it: the real binary, real handlers, real sockets.
//!
//! Each file is a part of the main job. The tests are written with the test kit, `weir_testing`: a
//! test says what it starts, what it sends, and which state it waits for. None waits for a time.

#![expect(clippy::disallowed_methods, reason = "tests may spawn tasks directly")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test says what it expects by panicking"
)]

mod faults;
mod load;

mod alerts;
mod backtest;
mod backup;
mod bad_input;
mod bench;
mod breaker;
mod cancelling;
mod circle;
mod clock;
mod commands;
mod compile;
mod conditions;
mod contention;
mod crash;
mod damage;
mod demo;
mod disk;
mod finding;
mod first_use;
mod full_disk;
mod hostile;
mod jobs;
mod listen;
mod main_job;
mod missing;
mod offline;
mod operator;
mod pages;
mod passing;
mod paused;
mod probation;
mod probe;
mod published;
mod reasons;
mod reconcile;
mod register;
mod reload;
mod rename;
mod replay;
mod rerun;
mod responders;
mod retries;
mod samples;
mod schedules;
mod sdks;
mod secrets;
mod service;
mod setups;
mod signals;
mod signing;
mod source_health;
mod sources;
mod state;
mod strangers;
#[path = "../../src/observe/strict_parser.rs"]
mod strict_parser;
mod telemetry;
mod templates;
mod versions;
mod waits;
mod webhooks;
