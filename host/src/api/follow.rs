//! `/api/v1/events/follow`.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_core::name::SourceName;

use super::one_of::OneOf;
use super::params::{Cursor, Limit, PointInTime};
use super::{ExportedEvent, schema};

/// Selects events to follow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct FollowQuery {
    /// Sources, one of which they are from.
    #[serde(default, skip_serializing_if = "OneOf::is_empty")]
    #[param(style = Form, explode = false, value_type = Option<Vec<schema::SourceNameText>>)]
    pub source: OneOf<SourceName>,
    /// Received at or after this moment. Not used with a cursor. Without both, the events that are
    /// stored from now on.
    #[param(inline)]
    pub since: Option<PointInTime>,
    /// With a cursor, waits a few seconds for an event if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    #[param(inline)]
    pub limit: Option<Limit>,
    #[param(inline)]
    pub cursor: Option<Cursor>,
}

/// A page of whole events, in the order in which they were stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FollowPage {
    pub items: Vec<FollowedEvent>,
    /// The number of events on this page whose payload could not be read.
    pub unreadable: u64,
    /// The cursor from which to go on, also if there is no event yet.
    pub next: String,
}

/// An event with its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FollowedEvent {
    /// The cursor from which to go on after this event.
    pub cursor: String,
    pub event: ExportedEvent,
}
