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
mod backup;
mod bad_input;
mod breaker;
mod circle;
mod clock;
mod commands;
mod compile;
mod contention;
mod crash;
mod damage;
mod demo;
mod disk;
mod finding;
mod first_use;
mod full_disk;
mod hostile;
mod main_job;
mod missing;
mod operator;
mod pages;
mod passing;
mod reload;
mod replay;
mod responders;
mod retries;
mod samples;
mod sdks;
mod secrets;
mod service;
mod setups;
mod signals;
mod source_health;
mod sources;
#[path = "../../src/observe/strict_parser.rs"]
mod strict_parser;
mod telemetry;
mod waits;
