//! Input and answer of `settle`: the end of one attempt with its effects.

use std::sync::Arc;
use std::time::Duration;

use weir_core::delivery::{Fence, NextState, Outcome};
use weir_core::effect::{Cancel, MessageContent, StateWrite};
use weir_core::event::EventType;
use weir_core::id::{AttemptId, DeliveryId, EventId, MessageId};
use weir_core::name::DestinationName;
use weir_core::payload::Payload;
use weir_core::state::ReadSet;
use weir_core::time::Timestamp;

use crate::ingest::Routed;

/// The end of one attempt, with all that follows from it. The caller keeps the [`Claim`](crate::Claim) until it has the
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
    pub content: MessageContent,
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
