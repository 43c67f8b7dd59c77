//! Weir's decisions, as pure functions over data.
//!
//! Nothing here reads a clock, a file, a socket or a random source: time and randomness are
//! arguments. Nothing awaits except the trait [`state::StateReader`], which others implement. The
//! modules are in the order of the path of an event.

#![forbid(unsafe_code)]

#[doc(hidden)]
pub use serde;

// Types and helpers of all modules.
pub mod bounds;
pub mod error;
pub mod event;
pub mod id;
pub mod json_pointer;
pub mod name;
pub mod payload;
pub mod template;
pub mod time;
pub mod units;
mod word_enum;

// Accept: addresses of clients, rates, tokens.
pub mod address;
pub mod rate;
pub mod token;

// Verify and identify a request, by the file of its provider.
pub mod handshake;
pub mod hops;
pub mod identify;
pub mod provider;
pub mod request;
pub mod selector;
pub mod trace;
pub mod verify;

// Look up what was identified.
pub mod business_key;

// Route.
pub mod condition;
pub mod route;
pub mod unmatched;

// Run: the state that a handler reads, and the effects that it has.
pub mod effect;
pub mod reserved_headers;
pub mod state;

// The signatures of handlers.
pub mod module_signature;

// The life of a delivery, and limits on attempts at a failing target.
pub mod breaker;
pub mod concurrency_limit;
pub mod delivery;
pub mod job;
pub mod probation;
pub mod retry;

// The times of events that no sender sends.
pub mod schedule;

// Alerts to the operator.
pub mod alert;
pub mod certificate;

// Send: signatures of messages and of samples.
pub mod sample;
pub mod sign;
