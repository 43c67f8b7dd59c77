//! The hub: receives webhooks, stores events, runs handlers, sends messages.
//!
//! The modules are listed in the order of an event's path. `host/README.md` describes that path.

#![forbid(unsafe_code)]
#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "tests may spawn tasks directly"))]

// 1-2 accept: webhooks are verified and stored before they are answered. Messages are taken from
// servers. Schedules emit events that no sender sends.
pub mod ingress;
pub mod pull;
mod schedules;

// 3 route: the current table.
pub mod routing;

// 4-6 claim, run or send, settle: handlers and destinations.
pub mod egress;
pub mod invoker;

// Used by both of them: claims and flow control, and the only way to connect to other machines.
mod delivery;
#[cfg(test)]
mod dispatch_tests;
pub mod guard;

// Runs of modules outside of a hub, for the command line and before a version serves, and backtests
// made of them.
mod backtest;
mod offline;

// 7 observe: metrics, health, notices.
pub mod observe;

// The operator's side: API, command line, configuration.
pub mod admin;
pub mod api;
pub mod cli;
pub mod config;
mod console;

// Wiring: the commands that run a hub, the hub, and background work.
pub mod demo;
pub mod serve;
mod starters;
mod templates;

pub mod alerts;
pub mod context;
pub mod hub;
pub mod jobs;
mod target_changes;
pub mod upkeep;

// The base: calls to hubs and providers, TLS, keys, the clock, tasks, signals and the log.
pub(crate) mod http_client;
pub mod keys;
pub mod program;
mod provider_api;
pub mod runtime;
pub mod samples;
pub mod tls;
