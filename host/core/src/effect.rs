//! Effects: what a run asked for, as data, and their outward ids.
//!
//! A run only records effects. Settling commits all of them with the run's outcome, or none
//! (INV-3). Names and grants are checked when the handler makes the call.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::event::EventType;
use crate::id::{EventId, MessageId};
use crate::name::{DestinationName, HandlerName};
use crate::payload::Payload;
use crate::time::Timestamp;

/// The effects of one run, in the order of the calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    pub messages: Vec<Message>,
    pub emits: Vec<EmittedEvent>,
    /// Keys whose queued effects are dropped, before `messages` and `emits` are added.
    pub cancels: Vec<Cancel>,
    /// The state as the run left it, one entry for each key written.
    pub state: Vec<StateWrite>,
    /// The answer to the sender, if the handler is a responder.
    pub reply: Option<Reply>,
}

impl Effects {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

/// The headers and body of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageContent {
    Own(Arc<Payload>),
    /// The body of the handled event, by reference, with these headers added.
    ///
    /// The content type is the event's.
    Forward {
        headers: Vec<(Box<str>, Bytes)>,
    },
}

/// A message to a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its outward id, from [`OutwardIds`].
    pub id: MessageId,
    pub destination: DestinationName,
    pub content: MessageContent,
    pub timing: Timing,
}

/// An event to route. Its source is `@` and the handler's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmittedEvent {
    /// Its outward id, from [`OutwardIds`].
    pub id: EventId,
    pub kind: EventType,
    pub payload: Arc<Payload>,
    pub timing: Timing,
}

/// The time at which an effect is due, and the key that can cancel it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timing {
    /// Counted from the start of the run.
    pub delay_seconds: u32,
    /// Keys are separate for each handler.
    pub key: Option<Box<str>>,
}

/// Drops queued effects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancel {
    /// The key they were given by this handler.
    pub key: Box<str>,
    /// Also drops effects that get this key within this time.
    pub ahead_seconds: u32,
}

/// One key of a handler's state, as a run left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateWrite {
    pub key: Box<str>,
    /// None removes the key.
    pub value: Option<Box<str>>,
    pub expires_at: Option<Timestamp>,
}

/// An answer to the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status, 200 to 599.
    pub status: u16,
    pub payload: Payload,
}

/// Makes the outward ids of one run's effects (INV-5).
///
/// An id is a hash of the handled event, the handler, the target and the content; identical twins
/// within the run differ by a number. A repeat of the same effect gets the same id, in any order;
/// a changed effect gets a new one.
#[derive(Debug)]
pub struct OutwardIds {
    run: Sha256,
    twins: HashMap<u128, u32>,
}

impl OutwardIds {
    /// For a run of `handler` on an event, given by its public id. Another `round` gives the same
    /// effects other ids: it rises when an operator asks for new ids.
    #[must_use]
    pub fn new(event: EventId, handler: &HandlerName, round: u32) -> Self {
        let mut run = Sha256::new();
        run.update(b"weir outward 1\0");
        run.update(event.bits().to_be_bytes());
        field(&mut run, handler.as_str().as_bytes());
        in_round(&mut run, round);
        Self { run, twins: HashMap::new() }
    }

    pub fn message(&mut self, to: &DestinationName, content_type: &str, body: &[u8]) -> MessageId {
        MessageId::from_bits(self.id(b"message", to.as_str(), content_type, body))
    }

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

/// The outward id of an event that a route sends to a destination. `round` as in
/// [`OutwardIds::new`].
#[must_use]
pub fn routed_message_id(event: EventId, to: &DestinationName, round: u32) -> MessageId {
    let mut hash = Sha256::new();
    hash.update(b"weir routed 1\0");
    hash.update(event.bits().to_be_bytes());
    field(&mut hash, to.as_str().as_bytes());
    in_round(&mut hash, round);
    MessageId::from_bits(truncated(hash))
}

/// The outward id of a message that a route makes of an event: equal bytes, equal id.
#[must_use]
pub fn shaped_message_id(
    event: EventId,
    to: &DestinationName,
    round: u32,
    content: &Payload,
    path: Option<&str>,
) -> MessageId {
    let mut hash = Sha256::new();
    hash.update(b"weir shaped 1\0");
    hash.update(event.bits().to_be_bytes());
    field(&mut hash, to.as_str().as_bytes());
    for (name, value) in &content.headers {
        field(&mut hash, name.as_bytes());
        field(&mut hash, value);
    }
    field(&mut hash, &content.body);
    // Without a path the id is the one of before paths existed.
    if let Some(path) = path {
        field(&mut hash, path.as_bytes());
    }
    in_round(&mut hash, round);
    MessageId::from_bits(truncated(hash))
}

/// The id of the event that the answer to a message becomes: the same for an equal answer.
#[must_use]
pub fn answer_event_id(
    message: MessageId,
    from: &DestinationName,
    kind: &EventType,
    answer: &Payload,
) -> EventId {
    let mut hash = Sha256::new();
    hash.update(b"weir answer 1\0");
    hash.update(message.bits().to_be_bytes());
    for part in [from.as_str(), kind.as_str()] {
        field(&mut hash, part.as_bytes());
    }
    for (name, value) in &answer.headers {
        field(&mut hash, name.as_bytes());
        field(&mut hash, value);
    }
    field(&mut hash, &answer.body);
    EventId::from_bits(truncated(hash))
}

/// The new outward id of a message that a replay sends as if it were another one.
#[must_use]
pub fn reissued(id: MessageId, generation: u32) -> MessageId {
    let mut hash = Sha256::new();
    hash.update(b"weir reissued 1\0");
    hash.update(id.bits().to_be_bytes());
    hash.update(generation.to_be_bytes());
    MessageId::from_bits(truncated(hash))
}

/// Round 0 adds nothing, so that its ids stay those of before rounds existed.
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
    fn message_gets_a_new_id_in_another_round_and_keeps_it() {
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
    fn same_message_gets_the_same_id_in_any_order() {
        let (ops, ledger) =
            (DestinationName::new("ops").unwrap(), DestinationName::new("ledger").unwrap());
        let (mut one, mut two) = (ids(), ids());
        let a = one.message(&ops, "text/plain", b"a");
        let b = one.message(&ledger, "text/plain", b"a");
        assert_eq!(two.message(&ledger, "text/plain", b"a"), b);
        assert_eq!(two.message(&ops, "text/plain", b"a"), a);
    }

    #[test]
    fn changed_message_gets_a_new_id() {
        let ops = DestinationName::new("ops").unwrap();
        let id = ids().message(&ops, "text/plain", b"a");
        assert_ne!(ids().message(&ops, "text/plain", b"b"), id);
        assert_ne!(ids().message(&ops, "text/html", b"a"), id);
        // The hash covers the length of each field.
        assert_ne!(ids().message(&ops, "text/plaina", b""), id);
    }

    #[test]
    fn identical_twins_in_one_run_get_different_ids() {
        let ops = DestinationName::new("ops").unwrap();
        let mut run = ids();
        let (a, b) = (run.message(&ops, "", b"x"), run.message(&ops, "", b"x"));
        assert_ne!(a, b);
        let mut again = ids();
        assert_eq!((again.message(&ops, "", b"x"), again.message(&ops, "", b"x")), (a, b));
    }
}
