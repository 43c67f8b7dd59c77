//! `/api/v1/stats`: counts and durations by step, for charts.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_core::name::{SourceName, Target};
use weir_core::time::Timestamp;

use super::params::{PointInTime, Step};
use super::schema;

/// The parameters of the statistics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct StatsQuery {
    /// Begin; an hour ago if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub since: Option<PointInTime>,
    /// End; now if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub until: Option<PointInTime>,
    /// Length of a step; one that gives about 60 steps if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub step: Option<Step>,
    /// One source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline, value_type = Option<schema::SourceNameText>)]
    pub source: Option<SourceName>,
    /// One handler or destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline, value_type = Option<schema::TargetText>)]
    pub target: Option<Target>,
}

/// Statistics: totals and steps of the hub, of each source and of each target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatsAnswer {
    #[schema(value_type = schema::TimestampText)]
    pub from: Timestamp,
    #[schema(value_type = schema::TimestampText)]
    pub to: Timestamp,
    /// Length of a step in seconds. It is an hour or more where minutes are not kept any more.
    pub step_seconds: u64,
    /// The start of each step. Every list of steps below has the same length.
    #[schema(value_type = Vec<schema::TimestampText>)]
    pub times: Vec<Timestamp>,
    /// Levels of the hub; null in a step without a record.
    pub hub: Vec<Option<HubLevels>>,
    pub sources: Vec<SourceStats>,
    pub targets: Vec<TargetStats>,
}

/// The highest levels of the hub in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HubLevels {
    /// Unfinished deliveries.
    pub waiting: u64,
    pub dead_letters: u64,
    /// Age of the oldest waiting delivery, since its event was received.
    pub oldest_waiting_seconds: u64,
}

/// Statistics of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SourceStats {
    pub name: String,
    pub total: SourceCounts,
    pub steps: Vec<SourceCounts>,
}

/// Statistics of a handler or destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TargetStats {
    pub name: String,
    pub total: TargetCounts,
    pub steps: Vec<TargetCounts>,
}

/// Counts of a source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SourceCounts {
    /// Requests that arrived for it.
    pub received: u64,
    /// Requests that were accepted: with new events, duplicates or handshakes.
    pub accepted: u64,
    pub refused: u64,
    /// New events.
    pub stored: u64,
    /// Duplicate events.
    pub duplicates: u64,
    /// New events that matched no handler and no route.
    pub unrouted: u64,
    /// Requests per second.
    pub rate: f64,
    /// Time from the head of an accepted request to its answer.
    pub acknowledged: DurationStats,
}

/// Counts of a handler or destination.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TargetCounts {
    pub attempts: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub dead_letters: u64,
    /// Attempts per second.
    pub rate: f64,
    /// Duration of attempts.
    pub attempt: DurationStats,
}

/// Percentiles of durations in milliseconds; null if there were none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DurationStats {
    pub p50_ms: Option<f64>,
    pub p90_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}
