//! An event: one thing that happened, with its type, category, lineage and payload.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::bounds::EVENT_TYPE_BYTES_MAX;
use crate::id::EventId;
use crate::name::SourceName;
use crate::payload::Payload;
use crate::time::Timestamp;
use crate::word_enum;

/// The sender's name for what happened, such as `push` or `invoice.paid`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct EventType(Arc<str>);

/// A text that cannot be an event type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidEventType {
    #[error("event type is empty")]
    Empty,
    #[error("event type is {0} bytes long, at most {EVENT_TYPE_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Control characters could forge lines in logs and terminals.
    #[error("event type has a control character")]
    Control,
}

impl EventType {
    pub fn new(text: &str) -> Result<Self, InvalidEventType> {
        if text.is_empty() {
            return Err(InvalidEventType::Empty);
        }
        if text.len() > EVENT_TYPE_BYTES_MAX {
            return Err(InvalidEventType::TooLong(text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidEventType::Control);
        }
        Ok(Self(text.into()))
    }

    /// The type of an alert that is sent without being stored.
    #[must_use]
    pub fn of_alert() -> Self {
        Self("alert".into())
    }

    /// The type of an event that keeps a message which the hub took and cannot accept.
    #[must_use]
    pub fn of_refused_message() -> Self {
        Self("message.refused".into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

word_enum! {
    /// The meaning of an event across providers: one rule can serve Stripe, PayPal and Square.
    Category {
        Created = "created",
        Updated = "updated",
        Deleted = "deleted",
        PaymentReceived = "payment.received",
        PaymentFailed = "payment.failed",
        UserSignup = "user.signup",
        OrderPlaced = "order.placed",
        MessageReceived = "message.received",
        StatusChanged = "status.changed",
        /// None of the others applies.
        Custom = "custom",
    }
}

/// The ancestors of an emitted event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    /// The received event at the start of the chain.
    pub root: EventId,
    /// The event whose handler emitted this one.
    pub parent: EventId,
    /// Emits since the root, from 1.
    pub depth: u8,
}

/// One thing that happened. Immutable once stored.
#[derive(Debug, Clone)]
pub struct Event {
    /// The id in the store, which operators look it up by.
    pub id: EventId,
    /// The id that handlers and receivers see. For an emitted event it is the outward id, which
    /// stays the same when a replay emits the same event again.
    pub public_id: EventId,
    pub source: SourceName,
    pub kind: EventType,
    pub category: Option<Category>,
    /// The sender's own id of the event.
    pub delivery_id: Option<Arc<str>>,
    /// The time it was received or emitted.
    pub received_at: Timestamp,
    /// None for a received event.
    pub lineage: Option<Lineage>,
    pub payload: Arc<Payload>,
}

impl Event {
    /// Emits since the root; 0 for a received event.
    #[must_use]
    pub fn depth(&self) -> u8 {
        self.lineage.map_or(0, |l| l.depth)
    }

    /// The received event at the start of its lineage, which may be itself.
    #[must_use]
    pub fn root(&self) -> EventId {
        self.lineage.map_or(self.id, |l| l.root)
    }
}

/// The facts of an event that rules decide on, before it is stored or after.
#[derive(Debug, Clone, Copy)]
pub struct EventFacts<'a> {
    /// None before it is stored.
    pub id: Option<EventId>,
    pub source: &'a SourceName,
    pub kind: &'a EventType,
    pub category: Option<Category>,
    /// The sender's own id of the event.
    pub delivery_id: Option<&'a str>,
    pub received_at: Timestamp,
    /// Headers and body as they are stored. May be none only for a table that does not read them
    /// (`RouteTable::reads_payload`).
    pub payload: Option<&'a Payload>,
}

impl<'a> EventFacts<'a> {
    /// The facts of an event that has nothing but a source, a type and a time.
    #[must_use]
    pub fn new(source: &'a SourceName, kind: &'a EventType, received_at: Timestamp) -> Self {
        let (id, category, delivery_id, payload) = (None, None, None, None);
        Self { id, source, kind, category, delivery_id, received_at, payload }
    }

    /// The facts of an event that is stored.
    #[must_use]
    pub fn of(event: &'a Event) -> Self {
        Self {
            id: Some(event.public_id),
            source: &event.source,
            kind: &event.kind,
            category: event.category,
            delivery_id: event.delivery_id.as_deref(),
            received_at: event.received_at,
            payload: Some(&event.payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_that_could_forge_a_log_line_is_refused() {
        assert_eq!(EventType::new("push\n2026 ERROR"), Err(InvalidEventType::Control));
        assert_eq!(EventType::new(""), Err(InvalidEventType::Empty));
        assert!(
            EventType::new(&"a".repeat(200)).is_ok() && EventType::new(&"a".repeat(201)).is_err()
        );
    }

    #[test]
    fn every_category_parses_from_its_name() {
        for category in Category::ALL {
            assert_eq!(Category::parse(category.as_str()), Some(*category));
        }
    }
}
