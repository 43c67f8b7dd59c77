//! `POST /api/v1/replay`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::name::DestinationName;
use weir_core::time::Timestamp;

use super::schema;

/// Asks for a replay of exactly one of `event`, `delivery`, `unrouted` and `dead_letters`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayBody {
    /// The id of an event, which is routed again by the current rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The id of a delivery, which goes to its target again as it was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<String>,
    /// Unrouted events, which are routed again by the current rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrouted: Option<UnroutedFilter>,
    /// Dead letters, which go to their targets again as they were stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<DeadLetterFilter>,
    /// Sends the event, or the unrouted ones, to this destination only, also if no rule brings it
    /// there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::DestinationNameText>)]
    pub to: Option<DestinationName>,
    /// The idempotency key: a replay under the same key is done once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Sends with new ids, so that receivers do not skip it as a duplicate.
    #[serde(default)]
    pub new_ids: bool,
    /// Counts, and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// Chooses unrouted events, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnroutedFilter {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Received at or after this time or this long ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Received before this time or this long ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The number of events to look at in this call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// The `next` of the answer before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Chooses dead letters, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterFilter {
    /// `handler:NAME` or `destination:NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The source of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The type of the event.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Events received at or after this time or this long ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Events received before this time or this long ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The number of dead letters to look at in this call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// The `next` of the answer before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The result of one call of a replay, or of its dry run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayAnswer {
    pub dry_run: bool,
    /// The number of events or dead letters that were looked at.
    pub events: usize,
    /// The number of those that have a target.
    pub routed: usize,
    /// The number of deliveries that became due.
    pub deliveries: usize,
    /// `since` as a time: a later call that gives it means the same moment.
    #[schema(value_type = Option<schema::TimestampText>)]
    pub since: Option<Timestamp>,
    /// `until` as a time.
    #[schema(value_type = Option<schema::TimestampText>)]
    pub until: Option<Timestamp>,
    /// The cursor of the next call; null at the end.
    pub next: Option<String>,
}
