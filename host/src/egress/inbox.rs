//! The `inbox` destination: the last messages, kept in memory for whoever develops a handler.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use weir_core::id::{DeliveryId, EventId, MessageId};
use weir_core::name::{DestinationName, HandlerName, SourceName};
use weir_core::time::Timestamp;

use super::outgoing::Outgoing;

/// Messages kept; older ones make room.
pub const MESSAGES_MAX: usize = 1_000;
/// Bytes of one message's body that are kept.
const BODY_BYTES_KEPT: usize = 64 * 1024;

/// A message that came into an inbox.
#[derive(Debug, Clone, Serialize)]
pub struct InboxMessage {
    /// Its place among all that ever came, from 1.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// The inbox.
    pub destination: DestinationName,
    /// Its outward id.
    pub id: MessageId,
    /// The delivery that brought it.
    pub delivery: DeliveryId,
    /// The event that it came of.
    pub event: EventId,
    /// That event's source.
    pub source: SourceName,
    /// Who sent it; none for an event that a route sent.
    pub handler: Option<HandlerName>,
    /// What it says it is.
    pub content_type: Box<str>,
    /// What it says, as text and at most 64 KiB of it.
    pub body: Box<str>,
}

/// The inbox of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Inbox {
    kept: Arc<Mutex<Kept>>,
    arrived: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    messages: VecDeque<InboxMessage>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Inbox {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { kept: Arc::default(), arrived: Arc::new(watch::Sender::new(0)) }
    }

    /// What is kept, oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<InboxMessage> {
        self.kept.lock().messages.iter().cloned().collect()
    }

    /// What came after message `number`, as far as it is kept, oldest first.
    #[must_use]
    pub fn after(&self, number: u64) -> Vec<InboxMessage> {
        self.kept.lock().messages.iter().filter(|m| m.number > number).cloned().collect()
    }

    /// The number of the last message that came; changes with each.
    #[must_use]
    pub fn arrived(&self) -> watch::Receiver<u64> {
        self.arrived.subscribe()
    }

    pub(crate) fn put(&self, destination: &DestinationName, out: &Outgoing, at: Timestamp) {
        let body = &out.body[..out.body.len().min(BODY_BYTES_KEPT)];
        let mut kept = self.kept.lock();
        kept.last += 1;
        let message = InboxMessage {
            number: kept.last,
            at,
            destination: destination.clone(),
            id: out.id,
            delivery: out.delivery,
            event: out.event,
            source: out.source.clone(),
            handler: out.handler.clone(),
            content_type: out.content_type.as_str().into(),
            body: String::from_utf8_lossy(body).into(),
        };
        if kept.messages.len() == MESSAGES_MAX {
            kept.messages.pop_front();
        }
        kept.messages.push_back(message);
        self.arrived.send_replace(kept.last);
    }
}
