//! Stage 7, observe: what the hub tells about itself.
//!
//! Labels come from closed sets only: configured names, stable codes, outcomes. Never an id, an address or a URL.
//! What may not live here: decisions about events.

pub mod exposition;
pub mod health;
pub(crate) mod likely_cause;
pub mod metrics;
pub mod notice;
pub mod process;
pub mod series;
#[cfg(test)]
mod strict_parser;
pub mod text;
