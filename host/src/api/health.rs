//! `/health`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::delivery::Outcome;
use weir_core::name::Target;
use weir_core::time::Timestamp;

use super::HandlerView;
use super::schema;
use crate::observe::source_work::SourceState;

/// The answer of `/health/live` and `/health/ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AliveAnswer {
    /// `ok`.
    pub status: String,
}

impl AliveAnswer {
    #[must_use]
    pub fn ok() -> Self {
        Self { status: "ok".to_owned() }
    }
}

/// The state of the whole hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthReport {
    #[serde(flatten)]
    pub summary: HealthSummary,
    /// The number of deliveries by target and state; null if the store does not answer.
    pub queues: Option<BTreeMap<String, BTreeMap<String, u64>>>,
    pub sources: BTreeMap<String, SourceHealth>,
    pub handlers: Vec<HandlerView>,
}

/// The state of the hub without asking the store for totals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthSummary {
    /// `ok`, `degraded` or `unavailable`.
    pub status: String,
    /// The code of the reason, if webhooks are not accepted.
    pub reason: Option<String>,
    pub version: String,
    pub uptime_seconds: u64,
    pub store: StoreState,
    /// `ok`, or `paused` while a hold is on the whole hub: webhooks are stored and nothing runs.
    pub deliveries: PartState,
    pub retention: PartState,
    pub certificates: Vec<CertificateState>,
    pub plugins: PartState,
    pub providers: ProviderFilesState,
}

/// The state of one part of the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartState {
    /// `ok`, or a word of that part.
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl PartState {
    /// `ok` without a reason, else this word with the reason.
    #[must_use]
    pub fn of(word: &str, reason: Option<String>) -> Self {
        let status = if reason.is_some() { word } else { "ok" };
        Self { status: status.to_owned(), reason }
    }
}

/// The state of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreState {
    /// `ok`, `degraded`, `full`, `failing` or `poisoned`.
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::TimestampText>)]
    pub since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The number of rows that could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<u64>,
    /// Rows that were acknowledged and are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Vec<LostRowsView>>,
    pub integrity: IntegrityState,
}

/// Rows that were acknowledged and are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LostRowsView {
    /// `request`, `event`, `delivery`, `attempt`, `state` or `registry`.
    pub what: String,
    pub count: u64,
    /// The number of the first row.
    pub first: i64,
    /// The number of the last row.
    pub last: i64,
    #[schema(value_type = schema::TimestampText)]
    pub found_at: Timestamp,
}

/// The check of the whole store after a process that did not close it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IntegrityState {
    /// `done`, `in_progress`, `damaged` or `failed`.
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The certificate of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateState {
    pub listener: String,
    #[schema(value_type = schema::TimestampText)]
    pub not_after: Timestamp,
}

/// The operator's own provider files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProviderFilesState {
    /// `ok` or `load_failed`.
    pub status: String,
    /// The files that could not be loaded.
    pub files: Vec<ProviderFileState>,
}

/// A provider file that could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProviderFileState {
    pub file: String,
    pub provider: Option<String>,
    pub problems: Vec<String>,
    /// True if its last good version is in use.
    pub serves_on: bool,
}

/// The counts of a source since the hub was started, and its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SourceHealth {
    /// Accepted requests.
    pub received: u64,
    /// Stored events.
    pub stored: u64,
    pub duplicate: u64,
    pub unrouted: u64,
    /// Stored events that are unrouted now.
    pub unrouted_now: u64,
    /// Refused requests.
    pub refused: u64,
    pub seen: Option<String>,
    pub last_received_seconds_ago: Option<u64>,
    /// `ok`, `failing` or `silent`.
    #[schema(value_type = schema::SourceStateWord)]
    pub state: SourceState,
    /// Successful attempts at its events.
    pub processed: u64,
    /// Failed attempts at its events.
    pub failed: u64,
    /// The mean duration of these attempts, in milliseconds.
    pub average_ms: Option<f64>,
    /// The time within which 99 of 100 of them end, in milliseconds.
    pub p99_ms: Option<f64>,
    /// The time of the last accepted request.
    #[schema(value_type = Option<schema::TimestampText>)]
    pub last_received_at: Option<Timestamp>,
    /// The last failed attempt.
    pub last_error: Option<SourceErrorView>,
}

/// A failed attempt at an event of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceErrorView {
    #[schema(value_type = schema::TimestampText)]
    pub at: Timestamp,
    #[schema(value_type = schema::TargetText)]
    pub target: Target,
    #[schema(value_type = schema::OutcomeWord)]
    pub outcome: Outcome,
    pub reason: Option<String>,
}
