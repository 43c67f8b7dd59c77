//! `/api/v1/attempts/{id}/rerun`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::id::{AttemptId, EventId};
use weir_core::name::HandlerName;

use super::schema;

/// A past run of a handler, repeated with the same input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RerunAnswer {
    #[schema(value_type = schema::AttemptIdText)]
    pub attempt: AttemptId,
    #[schema(value_type = schema::EventIdText)]
    pub event: EventId,
    #[schema(value_type = schema::HandlerNameText)]
    pub handler: HandlerName,
    /// The hash of the module that ran, then and now, in hex.
    pub version: String,
    /// True if the result is the same.
    pub same: bool,
    /// The lines that differ, marked `-` for the attempt and `+` for its repetition; empty if none
    /// do.
    pub diff: String,
    /// The parts that could not be compared, each with the reason.
    pub not_compared: Vec<String>,
    /// The result of the repetition.
    pub result: Vec<String>,
    /// Its log, a line each.
    pub log: Vec<String>,
    /// Its duration in microseconds.
    pub duration_us: u64,
    /// The most linear memory it used, in bytes.
    pub memory_peak_bytes: u64,
}
