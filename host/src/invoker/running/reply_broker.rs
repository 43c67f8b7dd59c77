//! Hands the reply of a responder's run to the request that brought the event, and to its
//! repetitions meanwhile.
//!
//! Not here: runs, and what a sender gets when there is no reply.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::watch;
use weir_core::name::SourceName;
use weir_core::payload::Payload;

/// The result of a responder's run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunReply {
    Reply {
        /// HTTP status, 200 to 599.
        status: u16,
        /// Headers and body.
        payload: Arc<Payload>,
    },
    /// The run succeeded without a reply.
    Nothing,
    Failed,
}

/// Requests with the same source and dedup material share a reply.
type ReplyKey = (SourceName, Bytes);

/// The replies that are waited for.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReplyBroker(Arc<Mutex<FxHashMap<ReplyKey, Weak<PendingReply>>>>);

/// One reply that is waited for.
#[derive(Debug)]
struct PendingReply {
    state: watch::Sender<ReplyState>,
    /// Its key in its broker, if repetitions can find it.
    shared: Option<(ReplyKey, ReplyBroker)>,
}

#[derive(Debug, Default)]
struct ReplyState {
    /// Senders that have not been dropped.
    senders: usize,
    reply: Option<RunReply>,
}

/// May send the reply: a request that may be the first of its kind, and then the run. When the last
/// sender of a reply is dropped, its receivers stop waiting.
#[derive(Debug)]
pub struct ReplySender(Arc<PendingReply>);

/// Waits for a reply.
#[derive(Debug)]
pub struct ReplyReceiver {
    state: watch::Receiver<ReplyState>,
    _pending: Arc<PendingReply>,
}

impl ReplyBroker {
    /// A sender and a receiver of the reply that requests with this key share. With no key, the
    /// reply is not shared.
    pub(crate) fn join(&self, key: Option<ReplyKey>) -> (ReplySender, ReplyReceiver) {
        let new = |shared| Arc::new(PendingReply { state: watch::Sender::default(), shared });
        let pending = match key {
            None => new(None),
            Some(key) => {
                let mut replies = self.0.lock();
                let known = replies.get(&key).and_then(Weak::upgrade);
                known.unwrap_or_else(|| {
                    let pending = new(Some((key.clone(), self.clone())));
                    replies.insert(key, Arc::downgrade(&pending));
                    pending
                })
            }
        };
        pending.state.send_modify(|state| state.senders += 1);
        let receiver =
            ReplyReceiver { state: pending.state.subscribe(), _pending: pending.clone() };
        (ReplySender(pending), receiver)
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        let Some((key, broker)) = &self.shared else { return };
        let mut replies = broker.0.lock();
        // A request may have come since and begun another one with the same key.
        if replies.get(key).is_some_and(|pending| pending.strong_count() == 0) {
            replies.remove(key);
        }
    }
}

impl ReplySender {
    pub(crate) fn send(&self, reply: RunReply) {
        self.0.state.send_modify(|state| state.reply = Some(reply));
    }
}

impl Drop for ReplySender {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.senders -= 1);
    }
}

impl ReplyReceiver {
    /// Waits for the reply. None once every sender has been dropped without sending one.
    pub async fn recv(&mut self) -> Option<RunReply> {
        let over = |state: &ReplyState| state.reply.is_some() || state.senders == 0;
        // The watch channel lives as long as this receiver.
        self.state.wait_for(over).await.ok()?.reply.clone()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    fn key(material: &'static str) -> Option<ReplyKey> {
        Some((SourceName::stored("slack"), Bytes::from_static(material.as_bytes())))
    }

    #[tokio::test]
    async fn requests_with_the_same_key_get_the_same_reply() {
        let broker = ReplyBroker::default();
        let (first, mut one) = broker.join(key("a"));
        let (second, mut other) = broker.join(key("a"));
        drop(second);
        let mut waiting = Box::pin(other.recv());
        assert!(poll!(&mut waiting).is_pending());
        first.send(RunReply::Nothing);
        assert_eq!(
            (waiting.await, one.recv().await),
            (Some(RunReply::Nothing), Some(RunReply::Nothing))
        );
    }

    #[tokio::test]
    async fn receivers_stop_waiting_when_the_last_sender_is_dropped() {
        let broker = ReplyBroker::default();
        let (first, mut one) = broker.join(key("a"));
        let (second, mut other) = broker.join(key("a"));
        drop((first, second));
        assert_eq!((one.recv().await, other.recv().await), (None, None));
    }

    #[tokio::test]
    async fn different_keys_have_different_replies_and_are_forgotten() {
        let broker = ReplyBroker::default();
        let (a, mut of_a) = broker.join(key("a"));
        let (b, mut of_b) = broker.join(key("b"));
        let (alone, mut of_alone) = broker.join(None);
        a.send(RunReply::Nothing);
        drop((b, alone));
        assert_eq!(of_a.recv().await, Some(RunReply::Nothing));
        assert_eq!((of_b.recv().await, of_alone.recv().await), (None, None));
        drop((a, of_a, of_b));
        assert!(broker.0.lock().is_empty());
    }
}
