//! Weir's host: the network, the people, and the wiring between the packages.
//!
//! The modules stand in the order of an event's path. `host/README.md` tells that path from end to end.

#![forbid(unsafe_code)]

// 1 accept: webhooks come in, verified and stored before they are answered.
pub mod ingress;

// 3 route: the table in force.
pub mod routing;

// 4-5 claim, run, settle, for handlers; 6 claim, send, settle, for destinations.
pub mod egress;
pub mod invoker;

// What both of them do with claims, and the only way to connect to other machines.
mod delivery;
#[cfg(test)]
mod dispatch_tests;
pub mod guard;

// 7 observe: what the hub tells about itself.
pub mod observe;

// The people's side: an API beside the path, the command line, and what both are told.
pub mod admin;
pub mod api;
pub mod cli;
pub mod config;

// Wiring, from the outside in: commands that run a hub, the hub, and background work.
pub mod demo;
pub mod serve;
mod starters;

pub mod alerts;
pub mod context;
pub mod hub;
mod target_changes;
pub mod upkeep;

// The base: TLS, keys, the clock, tasks, signals and the log.
pub(crate) mod http_client;
pub mod keys;
pub mod program;
pub mod runtime;
pub mod samples;
pub mod tls;
