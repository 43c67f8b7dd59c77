//! Filters of queries, and what they answer.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use weir_core::business_key::BusinessKey;
use weir_core::delivery::{DeliveryState, EventStatus, Outcome};
use weir_core::event::{Category, Event, EventType};
use weir_core::id::{AttemptId, DeliveryId, EventId, MessageId, RequestId};
use weir_core::name::{DestinationName, HandlerName, SourceName, Target};
use weir_core::payload::Payload;
use weir_core::time::Timestamp;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Limit of items. An engine may return fewer with a cursor, after it has read enough rows.
    pub limit: usize,
    /// The `next` or `previous` of another page; opaque. None for the newest items.
    pub after: Option<String>,
}

/// Items of a page, newest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PageOf<T> {
    pub items: Vec<T>,
    /// Cursor of the page with older items; none at the end.
    pub next: Option<String>,
    /// Cursor of the page with newer items; none on the first page.
    pub previous: Option<String>,
    /// Cursor of the page with items newer than those of this page, also if there are none yet.
    /// None for a page without items, and where lists have no such cursor.
    #[serde(skip)]
    pub newest: Option<String>,
    /// Time back to which this page searched, if it ended before the limit and before the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub searched_to: Option<Timestamp>,
}

impl<T> PageOf<T> {
    /// A page without a cursor in either direction.
    #[must_use]
    pub fn only(items: Vec<T>) -> Self {
        Self { items, next: None, previous: None, newest: None, searched_to: None }
    }
}

/// Number of items that a filter matches, up to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BoundedCount {
    pub count: u64,
    /// True if there are more.
    pub more: bool,
}

/// Filter of events. An empty list filters nothing; the values of one list are alternatives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    pub sources: Vec<SourceName>,
    /// Types; `*` in one stands for any characters.
    pub kinds: Vec<EventType>,
    pub categories: Vec<Category>,
    pub statuses: Vec<EventStatus>,
    /// Handlers, one of which it has a delivery for.
    pub handlers: Vec<HandlerName>,
    /// Destinations, one of which it has a delivery or message for.
    pub destinations: Vec<DestinationName>,
    /// Business keys, one of which it has.
    pub keys: Vec<BusinessKey>,
    /// Text that its body contains, byte for byte.
    pub text: Option<Box<str>>,
    /// Received at or after.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
}

/// Filter of deliveries. An empty list filters nothing; the values of one list are alternatives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    pub states: Vec<DeliveryState>,
    pub targets: Vec<Target>,
    /// Filter of their events, without statuses, handlers, destinations and text.
    pub of: EventFilter,
}

/// An event with its deliveries. In lists, `payload` is absent and deliveries have no attempts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventDetail {
    /// Row id.
    pub id: EventId,
    /// Outward id of an emitted event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outward_id: Option<EventId>,
    pub source: SourceName,
    /// The sender's type.
    #[serde(rename = "type")]
    pub kind: EventType,
    pub category: Option<Category>,
    /// The sender's id.
    pub delivery_id: Option<Arc<str>>,
    /// Time at which it was received or emitted.
    pub received_at: Timestamp,
    /// The worst state of its deliveries.
    pub status: EventStatus,
    /// True if the sender used its id before, for another body.
    pub id_reused: bool,
    pub request: Option<RequestId>,
    /// Event whose handler emitted it.
    pub parent: Option<EventId>,
    /// Hash of the routing table by which it was routed.
    pub table: String,
    /// The decisions of [`Routed`](crate::Routed); empty if none were given.
    #[serde(skip)]
    pub decisions: Box<str>,
    /// Size of headers and body in bytes.
    pub size: u64,
    /// Time at which its contents were erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erased_at: Option<Timestamp>,
    /// Its business keys. Not in lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<BusinessKey>,
    pub deliveries: Vec<DeliveryDetail>,
    #[serde(skip)]
    pub payload: Option<Arc<Payload>>,
}

/// A delivery with its attempts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeliveryDetail {
    pub id: DeliveryId,
    pub event: EventId,
    /// Attempt that sent it, for a message.
    pub cause: Option<AttemptId>,
    /// Outward id of the message.
    pub message: Option<MessageId>,
    pub target: Target,
    pub state: DeliveryState,
    /// True while it is under a hold.
    pub held: bool,
    /// Number of replays.
    pub generation: u32,
    /// Number of attempts in this generation.
    pub attempts: u32,
    /// Deliveries of its target with this key are attempted one at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_key: Option<Arc<str>>,
    /// Time of the next attempt, while it waits.
    pub due_at: Option<Timestamp>,
    /// Reason why the last attempt failed.
    pub reason: Option<Box<str>>,
    /// Attempts, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<AttemptDetail>,
}

/// An attempt of a delivery.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttemptDetail {
    pub id: AttemptId,
    pub generation: u32,
    /// Number in its generation, from 1.
    pub number: u32,
    pub started_at: Timestamp,
    /// Duration in microseconds.
    pub duration_us: u64,
    pub outcome: Outcome,
    pub reason: Option<Box<str>>,
    /// Version of the handler, in hex.
    pub version: Option<String>,
    /// Run under another version of the handler, which failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<OtherRunDetail>,
    /// Log of the handler.
    pub log: Option<Box<str>>,
    /// HTTP status of the endpoint's answer.
    pub response_status: Option<u16>,
    /// First bytes of the endpoint's answer.
    pub response_snippet: Option<Box<str>>,
    pub messages: Vec<DeliveryDetail>,
    pub emitted: Vec<EventId>,
}

/// A run under another version of the handler in the same attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OtherRunDetail {
    /// Version of the handler, in hex.
    pub version: String,
    pub outcome: Outcome,
    pub reason: Option<Box<str>>,
}

/// A request as it was received.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRequest {
    pub id: RequestId,
    pub source: SourceName,
    pub received_at: Timestamp,
    /// Scheme that verified it.
    pub scheme: Arc<str>,
    /// Name of the secret that verified it.
    pub secret: Arc<str>,
    /// Address of the sender, 4 or 16 bytes.
    pub remote: Option<Bytes>,
    pub payload: Payload,
}

/// Answer of a responder to a sender.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredReply {
    pub status: u16,
    pub payload: Payload,
    /// Time until which it is kept.
    pub until: Timestamp,
}

/// Filter of events in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InOrderFilter {
    /// Sources; all if there are none.
    pub sources: Vec<SourceName>,
    /// Received at or after.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
    /// One event of this many, by their numbers; 0 and 1 for all.
    pub every: u32,
}

/// A page of whole events, oldest first.
#[derive(Debug, Clone, Default)]
pub struct EventsInOrder {
    pub events: Vec<Event>,
    /// The cursor after each of them.
    pub cursors: Vec<String>,
    /// The cursor after all that was looked at: a later page from there has what was stored since.
    pub reached: String,
    /// Events that could not be read.
    pub unreadable: u64,
    /// Cursor of the next page; none at the end.
    pub next: Option<String>,
}

/// The input of a past attempt.
#[derive(Debug, Clone)]
pub struct AttemptInput {
    pub delivery: DeliveryId,
    pub event: Arc<Event>,
    /// A part of the outward ids of effects, as the delivery has it now.
    pub id_round: u32,
    pub reads: RecordedReads,
}

/// The reads of a past attempt, as far as they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordedReads {
    /// It read nothing.
    None,
    /// The record, as the caller of settle made it.
    Kept(Box<str>),
    /// The record had this many bytes, and was not kept.
    TooLarge(u64),
    /// The attempt is older than such records, or its record is damaged.
    Unknown,
}

/// Selection of totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CountsFilter {
    /// Pending, held, retrying and dead deliveries by target.
    Deliveries,
    /// Stored, duplicate and unrouted events by source, since the store was created.
    Events,
    /// Events that are `unrouted` now, by source.
    Unrouted,
}

/// An id to look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdLookup {
    Attempt(AttemptId),
    Message(MessageId),
    Request(RequestId),
    /// The sender's id of an event.
    Sender(Box<str>),
}

/// Result of looking up an id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMatches {
    pub delivery: Option<DeliveryId>,
    /// Events: newest first for a sender's id, in the order of the request for a request.
    pub events: Vec<EventId>,
}

/// Oldest waiting delivery of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldestWaiting {
    pub target: String,
    /// Time at which its event was received.
    pub received_at: Timestamp,
}

/// One total.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CountRow {
    /// A target or a source.
    pub of: String,
    /// A state, or `stored`, `duplicate`, `unrouted`.
    pub what: &'static str,
    pub count: u64,
}
