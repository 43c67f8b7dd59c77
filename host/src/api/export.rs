//! `/api/v1/events/export`.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_core::event::{Category, EventType};
use weir_core::id::EventId;
use weir_core::name::SourceName;
use weir_core::time::Timestamp;

use super::params::{Cursor, Limit, PointInTime};
use super::{PayloadView, schema};

/// Selects events to export.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ExportQuery {
    #[param(inline, value_type = Option<schema::SourceNameText>)]
    pub source: Option<SourceName>,
    /// Received at or after this moment.
    #[param(inline)]
    pub since: Option<PointInTime>,
    /// Received before this moment.
    #[param(inline)]
    pub until: Option<PointInTime>,
    /// One event of this many.
    #[serde(default, deserialize_with = "number_in_text")]
    pub sample: Option<u32>,
    #[param(inline)]
    pub limit: Option<Limit>,
    #[param(inline)]
    pub cursor: Option<Cursor>,
}

/// Reads a number as it stands in a query.
fn number_in_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let text = String::deserialize(from)?;
    let number = text.parse::<u32>().ok().filter(|number| *number > 0);
    number.map(Some).ok_or_else(|| D::Error::custom("write a number from 1 on"))
}

/// A page of whole events, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExportPage {
    pub items: Vec<ExportedEvent>,
    /// The number of events on this page whose payload could not be read.
    pub unreadable: u64,
    /// The cursor of the next page, with newer items; null on the last one. A page may have no
    /// items and a cursor.
    pub next: Option<String>,
}

/// An event as handlers get it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExportedEvent {
    #[schema(value_type = schema::EventIdText)]
    pub id: EventId,
    /// The id under which it is sent, if a handler emitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::EventIdText>)]
    pub outward_id: Option<EventId>,
    #[schema(value_type = schema::SourceNameText)]
    pub source: SourceName,
    #[serde(rename = "type")]
    #[schema(value_type = schema::EventTypeText)]
    pub kind: EventType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::CategoryWord>)]
    pub category: Option<Category>,
    /// The sender's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_id: Option<String>,
    /// The time at which it was received or emitted.
    #[schema(value_type = schema::TimestampText)]
    pub received_at: Timestamp,
    /// The ancestors of an emitted event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<LineageView>,
    pub payload: PayloadView,
}

/// The ancestors of an emitted event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LineageView {
    /// The received event at the start.
    #[schema(value_type = schema::EventIdText)]
    pub root: EventId,
    /// The event whose handler emitted it.
    #[schema(value_type = schema::EventIdText)]
    pub parent: EventId,
    /// Emits since the root.
    pub depth: u8,
}
