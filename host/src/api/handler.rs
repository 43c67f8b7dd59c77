//! `/api/v1/handlers`, and the health that handlers and destinations share.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::name::HandlerName;
use weir_core::time::Timestamp;

use super::{ProbationView, schema};

/// The state of a handler or a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// Its deliveries go on.
    Ok,
    /// It is paused after failures; one delivery is tried now and then.
    Failing,
    /// An operator holds it, or it asked for a pause.
    Paused,
}

impl HealthState {
    /// The word in JSON, tables and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failing => "failing",
            Self::Paused => "paused",
        }
    }
}

/// A handler and its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandlerView {
    #[schema(value_type = schema::HandlerNameText)]
    pub name: HandlerName,
    /// The hash of the module that is in service, in hex.
    pub version: Option<String>,
    /// `component` or `command`.
    pub kind: Option<String>,
    /// Its own description.
    pub about: Option<String>,
    /// The patterns of its events.
    pub subscriptions: Vec<String>,
    /// `ready`, `missing`, `failed` or `loading`.
    pub state: String,
    /// The time since which it is in this state or this version is in service.
    #[schema(value_type = schema::TimestampText)]
    pub since: Timestamp,
    /// The reason why the present file was not accepted. An older version may be in service.
    pub last_error: Option<String>,
    /// The number of runs in progress.
    pub running: usize,
    pub health: HealthState,
    /// The reason, if it is not ok.
    pub health_reason: Option<String>,
    /// The time of the next try, if it is later than now.
    #[schema(value_type = Option<schema::TimestampText>)]
    pub next_try: Option<Timestamp>,
    /// The number of tries without success since it is failing.
    pub failed_tries: u32,
    /// The permissions and limits of the version in service.
    pub grants: Option<GrantsView>,
    pub limits: Option<LimitsView>,
    /// True if a person pinned the version in service.
    #[serde(default)]
    pub pinned: bool,
    /// The version of the file in the folder, if a pin keeps it from serving.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
    /// The probation of the version in service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probation: Option<ProbationView>,
}

/// The permissions of a handler.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GrantsView {
    /// The destinations that it may send to.
    pub destinations: Vec<String>,
    /// True if it may emit events.
    pub emit: bool,
    /// The destinations that it says it needs, and that it may not send to or that do not exist.
    #[serde(default)]
    pub missing: Vec<String>,
}

/// The limits of a handler's runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitsView {
    pub memory_bytes: u64,
    pub time_ms: u64,
    /// The number of batches that may run at the same time.
    pub concurrency: usize,
    /// The number of attempts, the first one included.
    pub attempts: u32,
    /// The quota of its state.
    #[serde(default)]
    pub state_bytes: u64,
    #[serde(default)]
    pub state_keys: u64,
}
