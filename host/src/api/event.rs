//! `/api/v1/events`.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_core::business_key::BusinessKey;
use weir_core::delivery::EventStatus;
use weir_core::event::{Category, EventType};
use weir_core::id::{EventId, RequestId};
use weir_core::name::{DestinationName, HandlerName, SourceName};
use weir_core::time::Timestamp;

use super::one_of::OneOf;
use super::params::{Cursor, Limit, PointInTime};
use super::schema;
use super::{DeliveryView, HeaderView, PayloadView, QuarantineDetail};

/// Filters the list of events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
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
    /// Text that its body contains, byte for byte. A page searches a bounded number of bodies; its
    /// `searched_to` says how far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Received at or after this moment.
    #[param(inline)]
    pub since: Option<PointInTime>,
    /// Received before this moment.
    #[param(inline)]
    pub until: Option<PointInTime>,
    #[param(inline)]
    pub limit: Option<Limit>,
    #[param(inline)]
    pub cursor: Option<Cursor>,
}

/// Says how much of one event to show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    /// Shows whole bodies instead of their first bytes.
    pub full: Option<bool>,
}

/// An event with its deliveries. In lists the deliveries come without attempts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
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
    #[schema(value_type = Option<schema::CategoryWord>)]
    pub category: Option<Category>,
    /// The sender's own id.
    pub delivery_id: Option<String>,
    /// The time at which it was received or emitted.
    #[schema(value_type = schema::TimestampText)]
    pub received_at: Timestamp,
    #[schema(value_type = schema::EventStatusWord)]
    pub status: EventStatus,
    /// True if the sender used its id before, with another body.
    pub id_reused: bool,
    /// The request that carried it.
    #[schema(value_type = Option<schema::RequestIdText>)]
    pub request: Option<RequestId>,
    /// The event whose handler emitted it.
    #[schema(value_type = Option<schema::EventIdText>)]
    pub parent: Option<EventId>,
    /// The hash of the routing table when it arrived.
    pub table: String,
    /// The id of its trace, if the sender gave one or traces are exported. Not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Bytes of headers and body.
    pub size: u64,
    /// The time at which its contents were erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::TimestampText>)]
    pub erased_at: Option<Timestamp>,
    /// Its business keys. Not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<schema::BusinessKeyText>>)]
    pub keys: Vec<BusinessKey>,
    pub deliveries: Vec<DeliveryView>,
}

/// An event as one of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventSummary {
    #[schema(value_type = schema::EventIdText)]
    pub id: EventId,
    #[schema(value_type = schema::TimestampText)]
    pub received_at: Timestamp,
    #[schema(value_type = schema::SourceNameText)]
    pub source: SourceName,
    #[serde(rename = "type")]
    #[schema(value_type = schema::EventTypeText)]
    pub kind: EventType,
    #[schema(value_type = schema::EventStatusWord)]
    pub status: EventStatus,
}

/// An event with what was received.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventDetailView {
    pub event: EventView,
    /// The delivery, if an id of its own, of its message or of one of its attempts was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryView>,
    /// The headers and body of that delivery, if it is a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<PayloadView>,
    /// The request that carried the event; null for an event that a handler emitted.
    pub request: Option<StoredRequestView>,
    /// The headers and body of the event; null once retention has removed them.
    pub payload: Option<PayloadView>,
}

/// The thing with an id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum EventAnswer {
    /// One event.
    Event(Box<EventDetailView>),
    /// Several events: those of a request, or of a sender's id.
    Events { events: Vec<EventSummary> },
    /// A request that was refused.
    Refusal { refusal: RefusalView },
    /// A request in the quarantine.
    Quarantined { quarantined: QuarantineDetail },
}

/// A request as it was received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredRequestView {
    #[schema(value_type = schema::RequestIdText)]
    pub id: RequestId,
    #[schema(value_type = schema::SourceNameText)]
    pub source: SourceName,
    #[schema(value_type = schema::TimestampText)]
    pub received_at: Timestamp,
    /// The scheme that verified it.
    pub scheme: String,
    /// The name of the secret that verified it.
    pub secret: String,
    /// The sender's address.
    pub remote: Option<String>,
    pub headers: Vec<HeaderView>,
    /// Bytes of the body.
    pub size: usize,
}

/// A request that was refused. The hub remembers the latest ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusalView {
    /// The id that the sender was answered.
    pub request_id: String,
    #[schema(value_type = schema::TimestampText)]
    pub at: Timestamp,
    /// The source, if it exists.
    pub source: Option<String>,
    /// The sender's address.
    pub address: String,
    /// The HTTP status that the sender was answered.
    pub status: u16,
    pub code: String,
    /// The reason, for the operator.
    pub reason: String,
}
