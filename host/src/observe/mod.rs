//! Stage 7, observe: what the hub tells about itself.
//!
//! Labels come from closed sets only: configured names, stable codes, outcomes. Never an id, an address or a URL.
//! What may not live here: decisions about events.

pub mod alerts;
mod certificates;
mod condition;
pub mod exposition;
pub mod health;
mod judge;
pub mod metrics;
pub mod notice;
pub mod process;
pub(crate) mod reasons;
pub mod series;
#[cfg(test)]
mod strict;
pub mod text;
