//! `/api/v1/jobs`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::business_key::BusinessKey;
use weir_core::delivery::EventStatus;
use weir_core::event::{Category, EventType};
use weir_core::job::{JobKind, JobRate, JobState};
use weir_core::name::{DestinationName, SourceName, Target};
use weir_core::time::Timestamp;

use super::one_of::OneOf;
use super::params::PointInTime;
use super::schema;

/// Selects the members of a job. Several values are separated by commas, and are alternatives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobFilterBody {
    /// Sources. What a handler or the hub emits is meant only where its source is named.
    #[serde(default, skip_serializing_if = "OneOf::is_empty")]
    #[schema(value_type = Option<String>, example = "stripe,@orders")]
    pub source: OneOf<SourceName>,
    /// Types; `*` matches any run of characters. A comma in a type is written `\,`.
    #[serde(rename = "type", default, skip_serializing_if = "OneOf::is_empty")]
    #[schema(value_type = Option<String>, example = "payment_intent.*")]
    pub kind: OneOf<EventType>,
    #[serde(default, skip_serializing_if = "OneOf::is_empty")]
    #[schema(value_type = Option<String>, example = "payment.received")]
    pub category: OneOf<Category>,
    /// Statuses of events; not for dead letters and unrouted events, which have theirs.
    #[serde(default, skip_serializing_if = "OneOf::is_empty")]
    #[schema(value_type = Option<String>, example = "processed")]
    pub status: OneOf<EventStatus>,
    /// Targets of the dead letter, or targets that the event has a delivery for.
    #[serde(default, skip_serializing_if = "OneOf::is_empty")]
    #[schema(value_type = Option<String>, example = "destination:billing")]
    pub target: OneOf<Target>,
    /// Business keys of the event. A comma in a value is written `\,`.
    #[serde(default, skip_serializing_if = "OneOf::is_empty")]
    #[schema(value_type = Option<String>, example = "order=1234")]
    pub key: OneOf<BusinessKey>,
    /// Events received at or after this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<PointInTime>,
    /// Events received before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<PointInTime>,
}

/// Asks for a job. The same body again is the same job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateJobBody {
    /// Its name: 1 to 64 letters, digits, dots, hyphens and underscores.
    pub name: String,
    #[schema(value_type = schema::JobKindWord)]
    pub what: JobKind,
    #[serde(default)]
    pub filter: JobFilterBody,
    /// Sends the events to this destination only, also those that no rule brings there. Not for
    /// dead letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::DestinationNameText>)]
    pub to: Option<DestinationName>,
    /// Sends with new ids, so that receivers do not skip it as a duplicate.
    #[serde(default)]
    pub new_ids: bool,
    /// Most members per second, minute or hour, such as `50/s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::JobRateText>)]
    pub rate: Option<JobRate>,
}

/// Asks for the number of members that a job would have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CountJobBody {
    #[schema(value_type = schema::JobKindWord)]
    pub what: JobKind,
    #[serde(default)]
    pub filter: JobFilterBody,
    /// The only destination of the events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::DestinationNameText>)]
    pub to: Option<DestinationName>,
}

/// The number of members that a job would have, and what would become of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobCount {
    /// Members that the filter matches.
    pub count: u64,
    /// True if there are more than are counted.
    pub more: bool,
    /// The number of those, the newest, to which the rules of now were applied. Dead letters need
    /// no rules.
    pub tried: u64,
    /// The number of the tried ones for which there is something to do.
    pub routed: u64,
    /// The number of deliveries that the tried ones would have.
    pub deliveries: u64,
}

/// A job with its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    pub name: String,
    #[schema(value_type = schema::JobKindWord)]
    pub what: JobKind,
    #[schema(value_type = schema::JobStateWord)]
    pub state: JobState,
    /// Its filter, with the times that were meant when it was created.
    pub filter: JobFilterBody,
    #[schema(value_type = Option<schema::DestinationNameText>)]
    pub to: Option<DestinationName>,
    pub new_ids: bool,
    #[schema(value_type = Option<schema::JobRateText>)]
    pub rate: Option<JobRate>,
    /// The number of members when it was created.
    pub total: u64,
    /// True if there were more than are counted.
    pub more: bool,
    /// The number of members that were looked at.
    pub done: u64,
    /// The number of those for which there was nothing to do: no rule wants the event, or the
    /// delivery was no dead letter any more.
    pub skipped: u64,
    /// The number of deliveries that became due.
    pub deliveries: u64,
    #[schema(value_type = schema::TimestampText)]
    pub created_at: Timestamp,
    /// The name of the client that asked for it.
    pub created_by: String,
    #[schema(value_type = Option<schema::TimestampText>)]
    pub ended_at: Option<Timestamp>,
    /// The reason that it failed.
    pub problem: Option<String>,
}
