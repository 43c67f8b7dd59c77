//! `/api/v1/events/live`.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_core::delivery::EventStatus;
use weir_core::event::{Category, EventType};
use weir_core::name::{DestinationName, HandlerName, SourceName};

use super::{EventView, schema};

/// Filters the live list of events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct LiveQuery {
    #[param(inline, value_type = Option<schema::SourceNameText>)]
    pub source: Option<SourceName>,
    /// A type; `*` matches any run of characters.
    #[serde(rename = "type")]
    #[param(inline, value_type = Option<schema::EventTypeText>)]
    pub kind: Option<EventType>,
    #[param(inline, value_type = Option<schema::CategoryWord>)]
    pub category: Option<Category>,
    /// The status when the event is seen.
    #[param(inline, value_type = Option<schema::EventStatusWord>)]
    pub status: Option<EventStatus>,
    /// A handler that it has a delivery for.
    #[param(inline, value_type = Option<schema::HandlerNameText>)]
    pub handler: Option<HandlerName>,
    /// A destination that it has a delivery or message for.
    #[param(inline, value_type = Option<schema::DestinationNameText>)]
    pub destination: Option<DestinationName>,
}

/// The new events since the frame before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiveFrame {
    /// The newest of them, newest first, at most 20.
    pub rows: Vec<EventView>,
    /// The number of all new events that match.
    pub count: u64,
    /// True if more happened than was counted; the list of events has them.
    pub gap: bool,
    /// The place from which another stream goes on.
    pub cursor: String,
}
