//! Questions and their answers.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use weir_core::delivery::{DeliveryState, EventStatus, Outcome};
use weir_core::event::{Category, EventType};
use weir_core::id::{AttemptId, DeliveryId, EventId, MessageId, RequestId};
use weir_core::name::{SourceName, Target};
use weir_core::payload::Payload;
use weir_core::time::Timestamp;

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// At most so many; an engine may return fewer with a cursor, when it has looked far enough.
    pub limit: usize,
    /// Where the page before ended; opaque.
    pub after: Option<String>,
}

/// A page of answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PageOf<T> {
    /// The answers.
    pub items: Vec<T>,
    /// Where to go on; none at the end.
    pub next: Option<String>,
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only of this source.
    pub source: Option<SourceName>,
    /// Only of this type; `*` in it stands for any run of characters.
    pub kind: Option<EventType>,
    /// Only with this status.
    pub status: Option<EventStatus>,
    /// Only received at or after.
    pub since: Option<Timestamp>,
    /// Only received before.
    pub until: Option<Timestamp>,
}

/// Which deliveries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Only in this state.
    pub state: Option<DeliveryState>,
    /// Only for this target.
    pub target: Option<Target>,
    /// Only of these events; their status does not count.
    pub of: EventFilter,
}

/// An event with all that is known of it. In lists, `payload` is absent and deliveries come without attempts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventDetail {
    /// Its row id.
    pub id: EventId,
    /// Its outward id, if a handler emitted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outward_id: Option<EventId>,
    /// Where it came in.
    pub source: SourceName,
    /// The sender's word for it.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The common word for it.
    pub category: Option<Category>,
    /// The sender's id for it.
    pub delivery_id: Option<Arc<str>>,
    /// When it was received or emitted.
    pub received_at: Timestamp,
    /// The worst state of its deliveries.
    pub status: EventStatus,
    /// Whether the sender's id was seen before with another body.
    pub id_reused: bool,
    /// The request that carried it.
    pub request: Option<RequestId>,
    /// The event whose handler emitted it.
    pub parent: Option<EventId>,
    /// The hash of the routing table that held then.
    pub table: String,
    /// The decisions of [`Routed`](crate::Routed); empty if none were given.
    #[serde(skip)]
    pub decisions: Box<str>,
    /// Bytes of headers and body.
    pub size: u64,
    /// Its deliveries.
    pub deliveries: Vec<DeliveryDetail>,
    /// Its headers and body.
    #[serde(skip)]
    pub payload: Option<Arc<Payload>>,
}

/// A delivery with its attempts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeliveryDetail {
    /// Its id.
    pub id: DeliveryId,
    /// The event it came of.
    pub event: EventId,
    /// The attempt whose effect it is, for a message.
    pub cause: Option<AttemptId>,
    /// The outward id of the message.
    pub message: Option<MessageId>,
    /// Who it is for.
    pub target: Target,
    /// Where it stands.
    pub state: DeliveryState,
    /// Under a hold.
    pub held: bool,
    /// How often it was replayed.
    pub generation: u32,
    /// Attempts in this generation.
    pub attempts: u32,
    /// When it is due next, while it waits.
    pub due_at: Option<Timestamp>,
    /// Why the last attempt failed.
    pub reason: Option<Box<str>>,
    /// Its attempts, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<AttemptDetail>,
}

/// One try.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttemptDetail {
    /// Its id.
    pub id: AttemptId,
    /// Its generation.
    pub generation: u32,
    /// Its number, from 1.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Why.
    pub reason: Option<Box<str>>,
    /// The version of the handler, in hex.
    pub version: Option<String>,
    /// What the handler logged.
    pub log: Option<Box<str>>,
    /// The endpoint's status.
    pub response_status: Option<u16>,
    /// The first bytes of the endpoint's answer.
    pub response_snippet: Option<Box<str>>,
    /// Messages that it sent.
    pub messages: Vec<DeliveryDetail>,
    /// Events that it emitted.
    pub emitted: Vec<EventId>,
}

/// A request as it was received.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRequest {
    /// Its id.
    pub id: RequestId,
    /// Where it came in.
    pub source: SourceName,
    /// When.
    pub received_at: Timestamp,
    /// The scheme that verified it.
    pub scheme: Arc<str>,
    /// The name of the secret that did.
    pub secret: Arc<str>,
    /// Who sent it.
    pub remote: Option<Bytes>,
    /// Headers and body.
    pub payload: Payload,
}

/// What a responder answered a sender.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredReply {
    /// HTTP status.
    pub status: u16,
    /// Headers and body.
    pub payload: Payload,
    /// Until when it is kept.
    pub until: Timestamp,
}

/// Which totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CountsFilter {
    /// Waiting work: pending, held, retrying and dead deliveries by target.
    Deliveries,
    /// Stored, duplicate and unrouted events by source since the store was made.
    Events,
    /// Events by source that are `unrouted` now.
    Unrouted,
}

/// An id that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdLookup {
    /// Of one try.
    Attempt(AttemptId),
    /// Of a message.
    Message(MessageId),
    /// Of a request that was accepted.
    Request(RequestId),
    /// The sender's own.
    Sender(Box<str>),
}

/// The result of a search for an id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMatches {
    /// A delivery.
    pub delivery: Option<DeliveryId>,
    /// Events, newest first for a sender's id, in their order for a request.
    pub events: Vec<EventId>,
}

/// The oldest delivery that waits for a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldestWaiting {
    /// The target.
    pub target: String,
    /// The time at which its event was received.
    pub received_at: Timestamp,
}

/// One total.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CountRow {
    /// A target or a source.
    pub of: String,
    /// A state, or `stored`, `duplicate`, `unrouted`.
    pub what: &'static str,
    /// How many.
    pub count: u64,
}
