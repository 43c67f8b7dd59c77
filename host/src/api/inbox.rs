//! `/api/v1/inbox`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::id::{DeliveryId, EventId, MessageId};
use weir_core::name::{DestinationName, HandlerName, SourceName};
use weir_core::time::Timestamp;

use super::schema;

/// A message that an inbox received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InboxMessageView {
    /// Its place among all messages since the hub was started, from 1.
    pub number: u64,
    #[schema(value_type = schema::TimestampText)]
    pub at: Timestamp,
    #[schema(value_type = schema::DestinationNameText)]
    pub destination: DestinationName,
    #[schema(value_type = schema::MessageIdText)]
    pub id: MessageId,
    #[schema(value_type = schema::DeliveryIdText)]
    pub delivery: DeliveryId,
    #[schema(value_type = schema::EventIdText)]
    pub event: EventId,
    /// The source of the event.
    #[schema(value_type = schema::SourceNameText)]
    pub source: SourceName,
    /// The handler that sent it; null for an event that a route sent.
    #[schema(value_type = Option<schema::HandlerNameText>)]
    pub handler: Option<HandlerName>,
    pub content_type: String,
    /// Its text, at most 64 KiB.
    pub body: String,
}
