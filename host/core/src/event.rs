//! An event: one thing that happened, with the facts that rules see.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;

use crate::bounds::EVENT_TYPE_BYTES_MAX;
use crate::id::EventId;
use crate::name::SourceName;
use crate::payload::Payload;
use crate::time::Timestamp;
use crate::word_enum;

/// The sender's own word for what happened, such as `push` or `invoice.paid`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct EventType(Arc<str>);

/// A type that cannot be a column and a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidEventType {
    /// Nothing there.
    #[error("event type is empty")]
    Empty,
    /// Longer than [`EVENT_TYPE_BYTES_MAX`].
    #[error("event type is {0} bytes long, at most {EVENT_TYPE_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// A control character, which could forge lines in logs and terminals.
    #[error("event type holds a control character")]
    Control,
}

impl EventType {
    /// Checks and takes a type.
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

    /// The type as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
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
    /// The common word for what happened, so that one rule can serve Stripe, PayPal and Square.
    Category {
        /// Something new exists.
        Created = "created",
        /// Something changed.
        Updated = "updated",
        /// Something is gone.
        Deleted = "deleted",
        /// Money arrived.
        PaymentReceived = "payment.received",
        /// Money did not arrive.
        PaymentFailed = "payment.failed",
        /// A person joined.
        UserSignup = "user.signup",
        /// Somebody ordered something.
        OrderPlaced = "order.placed",
        /// Somebody said something.
        MessageReceived = "message.received",
        /// A thing moved to another state.
        StatusChanged = "status.changed",
        /// None of the others.
        Custom = "custom",
    }
}

/// Where an event stands in a line of emitted ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    /// The first event of the line: the one that came from outside.
    pub root: EventId,
    /// The event whose handler emitted this one.
    pub parent: EventId,
    /// Emits between the root and this one, from 1.
    pub depth: u8,
}

/// One thing that happened. Immutable once stored.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its row id: what operators look it up by.
    pub id: EventId,
    /// What handlers and receivers see: the row id, or for an emitted event its outward id, which is the same
    /// when a replay emits the same thing again.
    pub public_id: EventId,
    /// Where it came in.
    pub source: SourceName,
    /// The sender's word for it.
    pub kind: EventType,
    /// The common word for it.
    pub category: Option<Category>,
    /// The sender's id for this delivery.
    pub delivery_id: Option<Arc<str>>,
    /// When it was received, or emitted.
    pub received_at: Timestamp,
    /// None for what came from outside.
    pub lineage: Option<Lineage>,
    /// Its headers and body.
    pub payload: Arc<Payload>,
}

impl Event {
    /// Emits between the root and this event; 0 for what came from outside.
    #[must_use]
    pub fn depth(&self) -> u8 {
        self.lineage.map_or(0, |l| l.depth)
    }

    /// The first event of its line, itself if it came from outside.
    #[must_use]
    pub fn root(&self) -> EventId {
        self.lineage.map_or(self.id, |l| l.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_could_forge_a_log_line_is_refused() {
        assert_eq!(EventType::new("push\n2026 ERROR"), Err(InvalidEventType::Control));
        assert_eq!(EventType::new(""), Err(InvalidEventType::Empty));
        assert!(
            EventType::new(&"a".repeat(200)).is_ok() && EventType::new(&"a".repeat(201)).is_err()
        );
    }

    #[test]
    fn every_category_survives_its_word() {
        for category in Category::ALL {
            assert_eq!(Category::parse(category.as_str()), Some(*category));
        }
    }
}
