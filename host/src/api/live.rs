//! `/api/v1/events/live`.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_core::business_key::BusinessKey;
use weir_core::delivery::EventStatus;
use weir_core::event::{Category, EventType};
use weir_core::name::{DestinationName, HandlerName, SourceName};

use super::one_of::OneOf;
use super::{EventView, schema};

/// Filters the live list of events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct LiveQuery {
    /// Sources, one of which it is from.
    #[serde(default, skip_serializing_if = "OneOf::is_empty")]
    #[param(style = Form, explode = false, value_type = Option<Vec<schema::SourceNameText>>)]
    pub source: OneOf<SourceName>,
    /// Types, one of which it has; `*` matches any run of characters. A comma in a type is written
    /// `\,`.
    #[serde(rename = "type", default, skip_serializing_if = "OneOf::is_empty")]
    #[param(style = Form, explode = false, value_type = Option<Vec<schema::EventTypeText>>)]
    pub kind: OneOf<EventType>,
    #[serde(default, skip_serializing_if = "OneOf::is_empty")]
    #[param(style = Form, explode = false, value_type = Option<Vec<schema::CategoryWord>>)]
    pub category: OneOf<Category>,
    /// Its status when it is seen.
    #[serde(default, skip_serializing_if = "OneOf::is_empty")]
    #[param(style = Form, explode = false, value_type = Option<Vec<schema::EventStatusWord>>)]
    pub status: OneOf<EventStatus>,
    /// Handlers, one of which it has a delivery for.
    #[serde(default, skip_serializing_if = "OneOf::is_empty")]
    #[param(style = Form, explode = false, value_type = Option<Vec<schema::HandlerNameText>>)]
    pub handler: OneOf<HandlerName>,
    /// Destinations, one of which it has a delivery or message for.
    #[serde(default, skip_serializing_if = "OneOf::is_empty")]
    #[param(style = Form, explode = false, value_type = Option<Vec<schema::DestinationNameText>>)]
    pub destination: OneOf<DestinationName>,
    /// Business keys such as `order=1234`, one of which it has. A comma in a value is written `\,`.
    #[serde(default, skip_serializing_if = "OneOf::is_empty")]
    #[param(style = Form, explode = false, value_type = Option<Vec<schema::BusinessKeyText>>)]
    pub key: OneOf<BusinessKey>,
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
