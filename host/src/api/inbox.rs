//! `/api/v1/inbox`.

use serde::{Deserialize, Serialize};
use weir_core::id::{DeliveryId, EventId, MessageId};
use weir_core::name::{DestinationName, HandlerName, SourceName};
use weir_core::time::Timestamp;

/// A message that an inbox received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxMessageView {
    /// Its place among all messages since the hub was started, from 1.
    pub number: u64,
    pub at: Timestamp,
    pub destination: DestinationName,
    pub id: MessageId,
    pub delivery: DeliveryId,
    pub event: EventId,
    /// The source of the event.
    pub source: SourceName,
    /// The handler that sent it; null for an event that a route sent.
    pub handler: Option<HandlerName>,
    pub content_type: String,
    /// Its text, at most 64 KiB.
    pub body: String,
}
