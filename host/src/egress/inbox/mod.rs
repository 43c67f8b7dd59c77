//! The `inbox` kind of destination: keeps the last messages in memory, for developing handlers.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::Serialize;
use weir_core::id::{DeliveryId, EventId, MessageId};
use weir_core::name::{DestinationName, HandlerName, SourceName};
use weir_core::time::Timestamp;

use super::outgoing::Outgoing;
use super::transport::{SendOutcome, Transport};
use crate::config::DestinationKind;

/// The most messages that are kept. The oldest are dropped first.
const MESSAGES_MAX: usize = 1_000;
/// Bytes of a message's body that are kept.
const BODY_BYTES_KEPT: usize = 64 * 1024;

/// A message in an inbox.
#[derive(Debug, Clone, Serialize)]
pub struct InboxMessage {
    /// Counts from 1, over all messages since the process started.
    pub number: u64,
    pub at: Timestamp,
    pub destination: DestinationName,
    /// The outward id.
    pub id: MessageId,
    pub delivery: DeliveryId,
    pub event: EventId,
    pub source: SourceName,
    /// The handler that sent it; none for a routed event.
    pub handler: Option<HandlerName>,
    pub content_type: Box<str>,
    /// As text, at most 64 KiB.
    pub body: Box<str>,
}

/// The messages of all inbox destinations of this process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Inbox(Arc<Mutex<Messages>>);

#[derive(Debug, Default)]
struct Messages {
    last: u64,
    kept: VecDeque<InboxMessage>,
}

impl Inbox {
    /// The messages that are kept, oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<InboxMessage> {
        self.0.lock().kept.iter().cloned().collect()
    }

    fn put(&self, destination: &DestinationName, out: &Outgoing, at: Timestamp) {
        let body = &out.body[..out.body.len().min(BODY_BYTES_KEPT)];
        let mut messages = self.0.lock();
        messages.last += 1;
        let message = InboxMessage {
            number: messages.last,
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
        if messages.kept.len() == MESSAGES_MAX {
            messages.kept.pop_front();
        }
        messages.kept.push_back(message);
    }
}

/// Puts the messages of one destination into the inbox.
#[derive(Debug)]
pub(super) struct InboxTransport {
    pub(super) inbox: Inbox,
    pub(super) destination: DestinationName,
}

#[async_trait]
impl Transport for InboxTransport {
    fn kind(&self) -> DestinationKind {
        DestinationKind::Inbox
    }

    async fn send(&self, message: &Outgoing, at: Timestamp) -> SendOutcome {
        self.inbox.put(&self.destination, message, at);
        SendOutcome::Accepted { receipt: None }
    }

    async fn check(&self, _: Timestamp) -> Result<(), Box<str>> {
        Ok(())
    }
}
