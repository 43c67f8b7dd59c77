//! Observation of the hub by operators: metrics, health and notices.
//!
//! Labels have closed sets of values: configured names, stable codes, outcomes. Never an id, an
//! address or a URL. Not here: decisions about events.

pub mod exposition;
mod families;
pub mod health;
pub(crate) mod likely_cause;
pub mod metrics;
pub mod notice;
pub mod otlp;
pub mod percentiles;
pub mod process;
pub mod pull_metrics;
pub mod series;
pub mod shapes;
pub mod source_work;
#[cfg(test)]
mod strict_parser;
pub mod text;
pub mod tracer;
