//! Weir's decisions: everything that can be said about an event without touching anything.
//!
//! Nothing here reads a clock, a file, a socket or a random source, and nothing awaits except the one trait
//! that others implement ([`state::StateReader`]). Time and randomness are arguments. The modules follow the
//! path of an event: verify, identify, route, then the life of its deliveries.

#![forbid(unsafe_code)]

// The words: what travels the path.
pub mod bounds;
pub mod error;
pub mod event;
pub mod id;
pub mod name;
pub mod payload;
pub mod time;
pub mod units;
mod word_enum;

#[doc(hidden)]
pub use serde;

// What the hub tells of itself.
pub mod alert;
pub mod certificate;

// The path. Before anything is verified: who may ask at all, and how often.
pub mod address;
pub mod rate;
pub mod token;

pub mod handshake;
pub mod identify;
pub mod json_pointer;
pub mod provider;
pub mod request;
pub mod sample;
pub mod selector;
pub mod sign;
pub mod template;
pub mod verify;

pub mod breaker;
pub mod concurrency_limit;
pub mod delivery;
pub mod effect;
pub mod hops;
pub mod reserved_headers;
pub mod retry;
pub mod route;
pub mod state;
pub mod unmatched;
