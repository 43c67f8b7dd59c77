//! What goes in and out of the hot path: ingest, claim, settle.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use weir_core::delivery::{Fence, NextState, Outcome};
use weir_core::effect::{Cancel, Content, StateWrite};
use weir_core::event::{Category, Event, EventType};
use weir_core::id::{AttemptId, DeliveryId, EventId, MessageId, RequestId};
use weir_core::name::{DestinationName, HandlerName, SourceName, Target};
use weir_core::payload::Payload;
use weir_core::provider::OnRedelivery;
use weir_core::route::TableHash;
use weir_core::state::ReadSet;
use weir_core::time::Timestamp;

// --- ingest

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

// --- claim

/// Fresh work and late retries are claimed apart, so that a pile of one cannot starve the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// First attempts.
    Fresh,
    /// Retries, and what was delayed or requeued.
    Late,
}

/// A wish for work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// For whom.
    pub target: Target,
    /// Which.
    pub lane: Lane,
    /// At most so many.
    pub limit: usize,
}

/// A delivery that this host may attempt now. Dropping it unsettled gives it back with no attempt spent.
pub struct Claim {
    /// The delivery.
    pub delivery: DeliveryId,
    /// For whom.
    pub target: Target,
    /// Which attempt of which generation this is.
    pub fence: Fence,
    /// The event it came of.
    pub event: Arc<Event>,
    /// Part of the outward ids of what follows from it; above 0 where a replay asked for new ones.
    pub id_round: u32,
    /// For a message that a handler sent: what to send instead of the event.
    pub message: Option<ClaimedMessage>,
    /// The store's time at the claim.
    pub now: Timestamp,
    /// The host did not survive its last run. No other handler's delivery is claimed until this claim has ended, and
    /// nothing should run beside it.
    pub suspect: bool,
    /// Ends the claim when dropped.
    pub guard: ClaimGuard,
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("delivery", &self.delivery)
            .field("target", &self.target)
            .field("fence", &self.fence)
            .finish_non_exhaustive()
    }
}

/// A message that a handler sent.
#[derive(Debug, Clone)]
pub struct ClaimedMessage {
    /// Its outward id.
    pub id: MessageId,
    /// Who sent it.
    pub handler: HandlerName,
    /// Headers and body; for a forwarded event the event's body with its content type.
    pub payload: Arc<Payload>,
}

/// Ends a claim when it is dropped. An engine puts its own end in here.
pub struct ClaimGuard(Option<Box<dyn FnOnce() + Send + Sync>>);

impl ClaimGuard {
    /// A guard that calls `end` when dropped.
    #[must_use]
    pub fn new(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(end)))
    }
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

impl fmt::Debug for ClaimGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimGuard")
    }
}

/// Says that a delivery runs, until dropped: should the process die before that, the next start charges the run.
#[derive(Debug)]
pub struct RunGuard(#[expect(dead_code, reason = "what counts is when it is dropped")] ClaimGuard);

impl RunGuard {
    /// Calls `end` when dropped.
    #[must_use]
    pub fn new(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(ClaimGuard::new(end))
    }
}

// --- settle

/// The end of one attempt, with all that follows from it. The caller keeps the [`Claim`] until it has the
/// answer, so that nobody claims the delivery in between.
#[derive(Debug)]
pub struct Settlement {
    /// Which delivery.
    pub delivery: DeliveryId,
    /// The claim that made the attempt.
    pub fence: Fence,
    /// What to record of it.
    pub attempt: AttemptRecord,
    /// What becomes of the delivery.
    pub next: NextState,
    /// What the run asked for; empty unless `next` is `Processed`.
    pub effects: RoutedEffects,
    /// What the run read, validated whatever `next` is.
    pub reads: ReadSet,
}

/// What to record of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, for people; at most 4 KiB.
    pub reason: Option<Box<str>>,
    /// The version of the handler that ran: the hash of its module.
    pub version: Option<[u8; 32]>,
    /// What the handler logged, one line a line, `level\ttext`.
    pub log: Option<Box<str>>,
    /// What the endpoint answered.
    pub response: Option<ResponseRecord>,
}

/// An endpoint's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseRecord {
    /// HTTP status.
    pub status: u16,
    /// The first bytes of the body, as text.
    pub snippet: Box<str>,
}

/// Effects with the routes of what they emit, ready to be stored.
#[derive(Debug, Clone, Default)]
pub struct RoutedEffects {
    /// The answer to the sender, where the handler is its source's responder.
    pub reply: Option<NewReply>,
    /// Keys whose waiting effects are dropped, before anything is added.
    pub cancels: Vec<Cancel>,
    /// Messages.
    pub messages: Vec<NewMessage>,
    /// Emitted events.
    pub emits: Vec<NewEmit>,
    /// State.
    pub state: Vec<StateWrite>,
}

/// The answer of a responder, kept for whoever repeats the request.
#[derive(Debug, Clone)]
pub struct NewReply {
    /// HTTP status.
    pub status: u16,
    /// Headers and body.
    pub payload: Payload,
    /// For so long from the commit on.
    pub keep: Duration,
}

/// A message to store.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Its outward id.
    pub id: MessageId,
    /// Where it goes.
    pub destination: DestinationName,
    /// What it says.
    pub content: Content,
    /// Not before this long after the commit.
    pub delay: Duration,
    /// The handler's key for it.
    pub key: Option<Box<str>>,
}

/// An emitted event to store. Its source is the handler of the delivery being settled.
#[derive(Debug, Clone)]
pub struct NewEmit {
    /// Its outward id.
    pub id: EventId,
    /// Its type.
    pub kind: EventType,
    /// What it says.
    pub payload: Arc<Payload>,
    /// Its deliveries are not due before this long after the commit.
    pub delay: Duration,
    /// The handler's key for it.
    pub key: Option<Box<str>>,
    /// Who gets it.
    pub routed: Routed,
}

/// What became of a settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It is stored.
    Applied {
        /// The attempt's id.
        attempt: AttemptId,
        /// Events that it emitted, by row id, in order.
        emitted: Vec<EventId>,
    },
    /// The claim no longer holds: the delivery was overtaken by another claim or an operator's act. Nothing is
    /// stored.
    Superseded,
    /// Something that the run read has changed. Nothing is stored and no attempt spent; the claim still holds, so
    /// the delivery can be run again at once.
    StateConflict {
        /// What changed.
        key: Box<str>,
    },
    /// It emits more than the line of events may still lead to (`DESCENDANTS_MAX`). Nothing is stored; the claim
    /// still holds, to be settled as given up.
    Exhausted {
        /// Events that the line has led to.
        descendants: u64,
    },
}
