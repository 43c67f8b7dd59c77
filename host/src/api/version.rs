//! `/api/v1/handlers/{name}`: the versions of a handler, and the acts on them.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_core::id::DeliveryId;
use weir_core::name::HandlerName;
use weir_core::time::Timestamp;

use super::{HandlerView, StateSizeView, schema};

/// A handler with its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandlerDetailView {
    pub handler: HandlerView,
    /// The known versions, the one that served last first.
    pub versions: Vec<VersionView>,
    pub pin: Option<PinView>,
    pub state: StateSizeView,
}

/// A version of a handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionView {
    /// The hash of the module, in hex.
    pub version: String,
    /// `serves`, `stands_in` for a version on probation, `candidate` while a pin keeps it from
    /// serving, or `kept`.
    pub role: String,
    /// `component` or `command`.
    pub kind: String,
    pub about: Option<String>,
    /// The patterns that the module asks for.
    pub subscriptions: Vec<String>,
    /// The sidecar with which it was loaded last.
    pub sidecar: Option<String>,
    /// The size of the module in bytes.
    pub size: u64,
    /// The form of state that it reads and writes.
    pub state_version: u32,
    /// The version of the contract that it was built with.
    pub contract: Option<String>,
    #[schema(value_type = schema::TimestampText)]
    pub loaded_at: Timestamp,
    /// The last time at which it was seen to serve; null if it never did.
    #[schema(value_type = Option<schema::TimestampText>)]
    pub served_at: Option<Timestamp>,
}

/// The pin of the version in service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PinView {
    #[schema(value_type = schema::TimestampText)]
    pub at: Timestamp,
    pub by: String,
    pub reason: Option<String>,
}

/// The probation of the version in service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProbationView {
    /// The version that stands in, in hex.
    pub old: String,
    #[schema(value_type = schema::TimestampText)]
    pub started_at: Timestamp,
    /// Events that it handled since the last strike, and the number of them that ends it.
    pub done: u32,
    pub runs: u32,
    /// The time at which it ends without another strike.
    #[schema(value_type = schema::TimestampText)]
    pub ends_at: Timestamp,
    /// The events on which only the new version failed.
    pub strikes: Vec<StrikeView>,
    /// The number of them that restores the old version.
    pub strikes_max: u32,
}

/// An event on which only the new version failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StrikeView {
    #[schema(value_type = schema::DeliveryIdText)]
    pub delivery: DeliveryId,
    #[schema(value_type = schema::TimestampText)]
    pub at: Timestamp,
    pub reason: String,
}

/// A change of the versions of a handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionEventView {
    #[schema(value_type = schema::TimestampText)]
    pub at: Timestamp,
    /// `loaded`, `configured`, `rolled_back`, `passed`, `pinned`, `unpinned`, `candidate` or
    /// `renamed`.
    pub act: String,
    /// The version that it is about, in hex.
    pub version: String,
    /// The version that served before, if another one did.
    pub before: Option<String>,
    /// The person, or `weir`.
    pub by: String,
    pub reason: Option<String>,
}

/// Chooses the versions to compare.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DiffQuery {
    /// The beginning of the hash of the older version; default: the one that served before.
    pub from: Option<String>,
    /// The beginning of the hash of the newer version; default: a candidate, or the one in service.
    pub to: Option<String>,
}

/// The differences of two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionDiffView {
    pub from: String,
    pub to: String,
    pub changes: Vec<VersionChangeView>,
    /// The sidecars as a unified diff; empty if they are the same.
    pub sidecar: String,
}

/// A fact in which two versions differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionChangeView {
    /// Such as `subscriptions`, `destinations`, `size` or `state_version`.
    pub what: String,
    pub before: String,
    pub after: String,
}

/// Asks for a rollback or a pin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VersionActBody {
    /// The beginning of a version's hash. Default for a rollback: the version that served before;
    /// for a pin: the one in service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// One line for other operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Asks for another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameBody {
    #[schema(value_type = schema::HandlerNameText)]
    pub to: String,
}

/// A handler that was renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RenameAnswer {
    #[schema(value_type = schema::HandlerNameText)]
    pub from: HandlerName,
    #[schema(value_type = schema::HandlerNameText)]
    pub to: HandlerName,
}
