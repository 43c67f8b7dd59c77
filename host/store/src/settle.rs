//! Input and answer of `settle`: the end of one attempt with its effects.

use std::sync::Arc;
use std::time::Duration;

use weir_core::delivery::{Fence, NextState, Outcome};
use weir_core::effect::{Cancel, MessageContent, StateWrite};
use weir_core::event::EventType;
use weir_core::id::{AttemptId, DeliveryId, EventId, MessageId};
use weir_core::name::DestinationName;
use weir_core::payload::Payload;
use weir_core::state::{ReadSet, StateQuota, StateSize};
use weir_core::time::Timestamp;

use crate::ingest::Routed;

/// The end of one attempt with its effects. The caller keeps the [`Claim`](crate::Claim) until it
/// has the answer, so that no other worker claims the delivery meanwhile.
#[derive(Debug, Clone)]
pub struct Settlement {
    pub delivery: DeliveryId,
    /// Fence of the claim that made the attempt.
    pub fence: Fence,
    pub attempt: AttemptRecord,
    /// Next state of the delivery.
    pub next: NextState,
    /// Effects of the run; empty unless `next` is `Processed`.
    pub effects: RoutedEffects,
    /// Reads of the run, validated whatever `next` is.
    pub reads: ReadSet,
    /// Quota of the handler's state.
    pub quota: StateQuota,
}

/// Record of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    pub started_at: Timestamp,
    pub duration: Duration,
    pub outcome: Outcome,
    /// Reason of a failure, for operators; at most 4 KiB.
    pub reason: Option<Box<str>>,
    /// Version of the handler: the hash of its module.
    pub version: Option<[u8; 32]>,
    /// Run under another version of the handler in the same attempt, which failed.
    pub other: Option<OtherRun>,
    /// Log of the handler, lines of `level\ttext`.
    pub log: Option<Box<str>>,
    /// Answer of the endpoint.
    pub response: Option<ResponseRecord>,
    /// Answers of the store to the run; none if it asked nothing.
    pub reads: Option<NewReads>,
}

/// Record of the reads of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewReads {
    /// JSON, in the form of the caller.
    Kept(Box<str>),
    /// It was too large to be kept: its bytes, or as many as were seen.
    TooLarge(usize),
}

/// Run under another version of the handler, without effects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherRun {
    pub version: [u8; 32],
    pub outcome: Outcome,
    /// Reason of its failure; at most 4 KiB.
    pub reason: Option<Box<str>>,
}

/// Answer of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseRecord {
    pub status: u16,
    /// The first bytes of the body, as text.
    pub snippet: Box<str>,
}

/// Effects of a run, with the routes of emitted events.
#[derive(Debug, Clone, Default)]
pub struct RoutedEffects {
    /// Answer to the sender, if the handler is the source's responder.
    pub reply: Option<NewReply>,
    /// Keys whose waiting effects are cancelled, before anything is added.
    pub cancels: Vec<Cancel>,
    pub messages: Vec<NewMessage>,
    pub emits: Vec<NewEmit>,
    pub state: Vec<StateWrite>,
}

impl RoutedEffects {
    /// True if the run asked for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { reply, cancels, messages, emits, state } = self;
        reply.is_none()
            && cancels.is_empty()
            && messages.is_empty()
            && emits.is_empty()
            && state.is_empty()
    }
}

impl RoutedEffects {
    /// True if there are only events, without keys: the effects that a destination's delivery may
    /// have.
    #[must_use]
    pub(crate) fn are_answers(&self) -> bool {
        let Self { reply, cancels, messages, emits, state } = self;
        let others = cancels.is_empty() && messages.is_empty() && state.is_empty();
        reply.is_none() && others && emits.iter().all(|emit| emit.key.is_none())
    }
}

/// Answer of a responder, kept in case the sender repeats the request.
#[derive(Debug, Clone)]
pub struct NewReply {
    pub status: u16,
    pub payload: Payload,
    /// Time for which it is kept, from the commit on.
    pub keep: Duration,
}

/// A message to store.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Outward id.
    pub id: MessageId,
    pub destination: DestinationName,
    pub content: MessageContent,
    /// Time from the commit to the first attempt.
    pub delay: Duration,
    /// Key of the handler, for replacing or cancelling it.
    pub key: Option<Box<str>>,
    /// True if it has the order key of the settled delivery, if that has one.
    pub ordered: bool,
}

/// An emitted event to store. Its source is the target of the settled delivery.
#[derive(Debug, Clone)]
pub struct NewEmit {
    /// Outward id.
    pub id: EventId,
    pub kind: EventType,
    pub payload: Arc<Payload>,
    /// Time from the commit to the first attempts of its deliveries.
    pub delay: Duration,
    /// Key of the handler, for replacing or cancelling it.
    pub key: Option<Box<str>>,
    pub routed: Routed,
}

/// Result of a settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It is stored.
    Applied {
        attempt: AttemptId,
        /// Row ids of the emitted events, in order.
        emitted: Vec<EventId>,
    },
    /// The claim no longer holds: another claim or an operator overtook it. Nothing is stored.
    Superseded,
    /// State that the run read has changed. Nothing is stored and no attempt is counted. The claim
    /// still holds, so the delivery can be run again at once.
    StateConflict {
        /// Key or prefix that changed.
        key: Box<str>,
    },
    /// The handler's state would exceed its quota. Nothing is stored. The claim still holds.
    StateFull {
        /// Size that the state would have.
        wanted: StateSize,
    },
    /// It emits more events than its root event may still lead to (`DESCENDANTS_MAX`). Nothing is
    /// stored. The claim still holds, so that the delivery can be given up.
    Exhausted {
        /// Events that the root event has led to.
        descendants: u64,
    },
}
