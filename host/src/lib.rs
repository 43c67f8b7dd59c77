//! Weir's host: the network, the people, and the wiring between the packages.
//!
//! The modules stand in the order of an event's path. `host/README.md` tells that path from end to end.

// 1 accept: webhooks come in, verified and stored before they are answered.
pub mod ingress;

// 3 route: the table in force.
pub mod routing;

// 4-5 claim, run, settle, for handlers; 6 claim, send, settle, for destinations.
pub mod egress;
pub mod invoker;

// What both of them do with claims.
mod claims;
mod gate;
mod seed;
#[cfg(test)]
mod testbed;

// 7 observe: what the hub tells about itself.
pub mod observe;

// The people's side: an API beside the path, the command line, and what both are told.
pub mod admin;
pub mod cli;
pub mod config;
pub mod demo;

// Wiring.
mod changed;
pub mod context;
pub mod hub;
mod provider_files;
mod reload;
pub mod serve;
pub mod sources;
mod starters;
pub mod upkeep;

// The base: the only places that spawn, stop and ask the time, and what all that listens needs.
pub mod clock;
pub mod files;
pub(crate) mod http_client;
pub mod keys;
mod log_limit;
pub mod logging;
pub mod program;
mod roots;
pub mod samples;
pub mod seal;
pub mod shutdown;
pub mod tasks;
pub mod tls;
