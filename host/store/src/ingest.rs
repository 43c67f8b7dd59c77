//! Input and answer of `ingest`: verified requests with their events, and what was stored of them.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use weir_core::business_key::BusinessKey;
use weir_core::event::{Category, EventType};
use weir_core::id::{DeliveryId, EventId, RequestId};
use weir_core::name::{SourceName, Target};
use weir_core::payload::Payload;
use weir_core::provider::OnRedelivery;
use weir_core::route::TableHash;

/// A verified request, ready to be stored.
#[derive(Debug, Clone)]
pub struct NewRequest {
    pub source: SourceName,
    /// The verification scheme that accepted it.
    pub scheme: Arc<str>,
    /// The name of the secret that verified it.
    pub secret: Arc<str>,
    /// Address of the sender.
    pub remote: Option<IpAddr>,
    /// Headers and body, with secrets already replaced by fingerprints.
    pub payload: Payload,
    /// Treatment of events that are duplicates.
    pub on_redelivery: OnRedelivery,
    /// Its events: usually one, many for a batch, none for a handshake.
    pub events: Vec<NewEvent>,
}

/// An event to store.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The sender's type.
    pub kind: EventType,
    pub category: Option<Category>,
    /// The sender's id.
    pub delivery_id: Option<Arc<str>>,
    /// Key that makes two events of the source the same one; none if nothing does.
    pub dedup: Option<DedupKey>,
    /// Its part of a batch; none if it is the whole body of the request.
    pub part: Option<Payload>,
    /// Values by which it is looked up.
    pub keys: Vec<BusinessKey>,
    pub routed: Routed,
}

/// Dedup key of an event. The store hashes it with a secret of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DedupKey {
    /// Bytes that are equal for the same event.
    pub material: Bytes,
    /// Tag of the body. Equal material with another tag means that the sender used an id twice, for
    /// different things. Such an event is stored and marked `id_reused`.
    pub body_tag: u32,
}

impl DedupKey {
    /// The tag of an event that has come another way than its twin, in other bytes: equal material
    /// makes it a duplicate, whatever the tags.
    pub const ANY_BODY: u32 = u32::MAX;
}

/// Routes of an event, as a routing table decided them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// The table. It must be stored already: see [`Ingest::keep_table`](crate::Ingest::keep_table).
    pub table: TableHash,
    /// The router's decisions, as text in its own format; stored with the event.
    pub decisions: Box<str>,
    /// Deliveries to make. Without any the event is `unrouted`.
    pub deliveries: Vec<NewDelivery>,
}

/// A delivery to make for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    pub target: Target,
    /// Deliveries with the same key and target are claimed one at a time, in the order of commits.
    pub order_key: Option<Box<str>>,
    /// The reason that its rule could not be evaluated. It is stored as a dead letter with an
    /// attempt `condition_error`.
    pub error: Option<Box<str>>,
}

/// Result of storing a request. `events` has the order of the request's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// Id of the request; none if all its events were duplicates, because then it is not stored.
    pub request: Option<RequestId>,
    pub events: Vec<EventIngested>,
}

/// Result of storing an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventIngested {
    Stored {
        id: EventId,
        /// True if the sender used its id before, for another body.
        id_reused: bool,
        /// True if it has no deliveries.
        unrouted: bool,
        /// Its first delivery that is a dead letter from the start.
        dead: Option<DeliveryId>,
    },
    /// An event with the same key is stored already.
    Duplicate {
        /// Id of the first event with the key.
        first: EventId,
        /// True if the first event was replayed, because it was dead or unrouted and the request
        /// asked for that.
        requeued: bool,
    },
}
