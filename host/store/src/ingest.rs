//! Input and answer of `ingest`: verified requests with their events, and what was stored of them.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use weir_core::event::{Category, EventType};
use weir_core::id::{EventId, RequestId};
use weir_core::name::{SourceName, Target};
use weir_core::payload::Payload;
use weir_core::provider::OnRedelivery;
use weir_core::route::TableHash;

/// A verified request, ready to be stored.
#[derive(Debug, Clone)]
pub struct NewRequest {
    /// Where it came in.
    pub source: SourceName,
    /// The verification scheme that let it in.
    pub scheme: Arc<str>,
    /// The name of the secret that verified it.
    pub secret: Arc<str>,
    /// Who sent it, as far as the connection tells.
    pub remote: Option<IpAddr>,
    /// Headers and body, secret-bearing fields already replaced by fingerprints.
    pub payload: Payload,
    /// What to do about those of its events that were stored before.
    pub on_redelivery: OnRedelivery,
    /// What it carries: usually one event, many for a batch, none for a handshake.
    pub events: Vec<NewEvent>,
}

/// An event to store.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The sender's word for it.
    pub kind: EventType,
    /// The common word for it.
    pub category: Option<Category>,
    /// The sender's id for it.
    pub delivery_id: Option<Arc<str>>,
    /// What makes two of them the same one, within the source; none if nothing does.
    pub dedup: Option<DedupKey>,
    /// Its own part of a batch; none if it is the whole of the request's body.
    pub part: Option<Payload>,
    /// Who gets it.
    pub routed: Routed,
}

/// What makes two events of a source the same one. The store hashes both with a key of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DedupKey {
    /// Equal material means the same event.
    pub material: Bytes,
    /// A tag of the body: equal material with another tag is an id that the sender used twice for different
    /// things. Such an event is stored and marked `id_reused`.
    pub body_tag: u32,
}

/// Who gets an event, as a routing table said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// The table. It must have been given to [`crate::Store::keep_table`].
    pub table: TableHash,
    /// The router's decisions, as text in its own format; stored with the event.
    pub decisions: Box<str>,
    /// Deliveries to make; none makes the event `unrouted`.
    pub deliveries: Vec<NewDelivery>,
}

/// A delivery to make for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// Who it is for.
    pub target: Target,
    /// One at a time per key and target, in the order of commits; none for no order.
    pub order_key: Option<Box<str>>,
}

/// What became of a request. An event's place in `events` is its place in the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// The request's id; none if all its events were duplicates, for then it is not stored.
    pub request: Option<RequestId>,
    /// Its events.
    pub events: Vec<EventIngested>,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventIngested {
    /// It is stored.
    Stored {
        /// Its id.
        id: EventId,
        /// Whether the sender's id was seen before with another body.
        id_reused: bool,
        /// Whether anybody gets it.
        unrouted: bool,
    },
    /// The first one of this key is stored.
    Duplicate {
        /// The first one's id.
        first: EventId,
        /// Whether this one put it back to work: it was dead or had gone to nobody, and the request asked for it.
        requeued: bool,
    },
}
