//! Observation of the hub by operators: metrics, health and notices.
//!
//! Labels have closed sets of values: configured names, stable codes, outcomes. Never an id, an
//! address or a URL. Not here: decisions about events.

pub mod exposition;
pub mod health;
pub(crate) mod likely_cause;
pub mod metrics;
pub mod notice;
pub mod percentiles;
pub mod process;
pub mod series;
#[cfg(test)]
mod strict_parser;
pub mod text;
