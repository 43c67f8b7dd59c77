//! Effects: what a run asked for, as data, and the outward ids they carry.
//!
//! A run records these and nothing happens; settling commits them all with the run's `processed` mark, or none
//! of them (INV-3). Whether a name exists or is granted was decided when the call was made.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::event::EventType;
use crate::id::{EventId, MessageId};
use crate::name::{DestinationName, HandlerName};
use crate::payload::Payload;
use crate::time::Timestamp;

/// Everything one run asked for, in the order of the calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// Messages to destinations.
    pub messages: Vec<Message>,
    /// Events to route.
    pub emits: Vec<EmittedEvent>,
    /// Keys whose waiting effects are dropped. Applied before messages and emits are added.
    pub cancels: Vec<Cancel>,
    /// State as the run left it, one entry per key written.
    pub state: Vec<StateWrite>,
    /// The answer to the sender, where the handler is a responder.
    pub reply: Option<Reply>,
}

impl Effects {
    /// Whether the run asked for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

/// What a message or an emitted event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Its own headers and body.
    Own(Arc<Payload>),
    /// The body of the event being handled, by reference, with these headers added.
    Forward {
        /// Headers that the handler set; the content type is the event's.
        headers: Vec<(Box<str>, Bytes)>,
    },
}

/// A message to a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its outward id, from [`OutwardIds`].
    pub id: MessageId,
    /// Where it goes.
    pub destination: DestinationName,
    /// What it says.
    pub content: Content,
    /// When, and under which key.
    pub timing: Timing,
}

/// An event to route, from `@` and the handler's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmittedEvent {
    /// Its outward id, from [`OutwardIds`].
    pub id: EventId,
    /// Its type.
    pub kind: EventType,
    /// What it says.
    pub payload: Arc<Payload>,
    /// When, and under which key.
    pub timing: Timing,
}

/// When an effect is due, and the key it can be cancelled by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timing {
    /// Seconds after the run began.
    pub delay_seconds: u32,
    /// Scope: the handler.
    pub key: Option<Box<str>>,
}

/// Drop what waits under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancel {
    /// Scope: the handler.
    pub key: Box<str>,
    /// Also drop what is put under it within this many seconds.
    pub ahead_seconds: u32,
}

/// One key of a handler's state, as a run left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateWrite {
    /// The key.
    pub key: Box<str>,
    /// Its value, or none to forget it.
    pub value: Option<Box<str>>,
    /// When it is forgotten by itself.
    pub expires_at: Option<Timestamp>,
}

/// An answer to the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status, 200 to 599.
    pub status: u16,
    /// Headers and body.
    pub payload: Payload,
}

/// Makes outward ids for the effects of one run: a hash of the event handled, the handler, where the thing goes
/// and what it says; identical twins are told apart by a number. The same thing asked for again gets the same
/// id, in whatever order; a changed one a new id (INV-5).
#[derive(Debug)]
pub struct OutwardIds {
    run: Sha256,
    twins: HashMap<u128, u32>,
}

impl OutwardIds {
    /// For a run of `handler` on the event that handlers know as `event`. Another `round` gives other ids to the same
    /// things: it rises when an operator asks for that.
    #[must_use]
    pub fn new(event: EventId, handler: &HandlerName, round: u32) -> Self {
        let mut run = Sha256::new();
        run.update(b"weir outward 1\0");
        run.update(event.bits().to_be_bytes());
        field(&mut run, handler.as_str().as_bytes());
        in_round(&mut run, round);
        Self { run, twins: HashMap::new() }
    }

    /// The id of a message.
    pub fn message(&mut self, to: &DestinationName, content_type: &str, body: &[u8]) -> MessageId {
        MessageId::from_bits(self.id(b"message", to.as_str(), content_type, body))
    }

    /// The id of an emitted event.
    pub fn event(&mut self, kind: &EventType, content_type: &str, body: &[u8]) -> EventId {
        EventId::from_bits(self.id(b"event", kind.as_str(), content_type, body))
    }

    fn id(&mut self, what: &[u8], to: &str, content_type: &str, body: &[u8]) -> u128 {
        let mut hash = self.run.clone();
        for part in [what, to.as_bytes(), content_type.as_bytes(), body] {
            field(&mut hash, part);
        }
        let first = truncated(hash.clone());
        let twin = self.twins.entry(first).or_insert(0);
        *twin += 1;
        if *twin == 1 {
            return first;
        }
        hash.update(twin.to_be_bytes());
        truncated(hash)
    }
}

/// The outward id of an event that a route sends straight to a destination; of `round` as [`OutwardIds::new`] says.
#[must_use]
pub fn routed_message_id(event: EventId, to: &DestinationName, round: u32) -> MessageId {
    let mut hash = Sha256::new();
    hash.update(b"weir routed 1\0");
    hash.update(event.bits().to_be_bytes());
    field(&mut hash, to.as_str().as_bytes());
    in_round(&mut hash, round);
    MessageId::from_bits(truncated(hash))
}

/// The outward id of a message that is sent once more and is to be taken for a new one.
#[must_use]
pub fn reissued(id: MessageId, generation: u32) -> MessageId {
    let mut hash = Sha256::new();
    hash.update(b"weir reissued 1\0");
    hash.update(id.bits().to_be_bytes());
    hash.update(generation.to_be_bytes());
    MessageId::from_bits(truncated(hash))
}

/// The first round adds nothing to a hash.
fn in_round(hash: &mut Sha256, round: u32) {
    if round > 0 {
        hash.update(round.to_be_bytes());
    }
}

fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

fn truncated(hash: Sha256) -> u128 {
    let digest: [u8; 32] = hash.finalize().into();
    digest[..16].iter().fold(0, |bits, b| bits << 8 | u128::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> OutwardIds {
        in_round(0)
    }

    fn in_round(round: u32) -> OutwardIds {
        OutwardIds::new(EventId::from_bits(1), &HandlerName::new("orders").unwrap(), round)
    }

    #[test]
    fn the_same_message_gets_a_new_id_in_another_round_and_keeps_it_there() {
        let ops = DestinationName::new("ops").unwrap();
        let ids: Vec<_> =
            [0, 1, 2, 1].map(|round| in_round(round).message(&ops, "text/plain", b"a")).into();
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
        assert_eq!(ids[1], ids[3]);
        let event = EventId::from_bits(1);
        assert_ne!(routed_message_id(event, &ops, 0), routed_message_id(event, &ops, 1));
        assert_ne!(reissued(ids[0], 1), ids[0]);
        assert_ne!(reissued(ids[0], 1), reissued(ids[0], 2));
    }

    #[test]
    fn the_same_message_gets_the_same_id_in_whatever_order() {
        let (ops, ledger) =
            (DestinationName::new("ops").unwrap(), DestinationName::new("ledger").unwrap());
        let (mut one, mut two) = (ids(), ids());
        let a = one.message(&ops, "text/plain", b"a");
        let b = one.message(&ledger, "text/plain", b"a");
        assert_eq!(two.message(&ledger, "text/plain", b"a"), b);
        assert_eq!(two.message(&ops, "text/plain", b"a"), a);
    }

    #[test]
    fn a_changed_message_gets_a_new_id() {
        let ops = DestinationName::new("ops").unwrap();
        let id = ids().message(&ops, "text/plain", b"a");
        assert_ne!(ids().message(&ops, "text/plain", b"b"), id);
        assert_ne!(ids().message(&ops, "text/html", b"a"), id);
        // A field's end is part of what is hashed.
        assert_ne!(ids().message(&ops, "text/plaina", b""), id);
    }

    #[test]
    fn identical_twins_in_one_run_are_told_apart() {
        let ops = DestinationName::new("ops").unwrap();
        let mut run = ids();
        let (a, b) = (run.message(&ops, "", b"x"), run.message(&ops, "", b"x"));
        assert_ne!(a, b);
        let mut again = ids();
        assert_eq!((again.message(&ops, "", b"x"), again.message(&ops, "", b"x")), (a, b));
    }
}
