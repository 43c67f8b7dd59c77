//! Who waits for a responder's word, and gets it: the request that brought the event, and whoever repeats it meanwhile.
//!
//! What may not live here: running handlers, and what is answered when nothing is said.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::watch;
use weir_core::name::SourceName;
use weir_core::payload::Payload;

/// What became of a responder's run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunReply {
    /// This is its answer.
    Reply {
        /// HTTP status, 200 to 599.
        status: u16,
        /// Headers and body.
        payload: Arc<Payload>,
    },
    /// It went well and had no answer to give.
    Nothing,
    /// It failed.
    Failed,
}

/// What makes two requests say the same: source and dedup material.
type Key = (SourceName, Bytes);

/// The words that are waited for, by what makes two requests the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReplyBroker(Arc<Mutex<FxHashMap<Key, Weak<PendingReply>>>>);

/// One word that is waited for.
#[derive(Debug)]
struct PendingReply {
    state: watch::Sender<State>,
    /// Where others find it, and its name there.
    known: Option<(Key, ReplyBroker)>,
}

#[derive(Debug, Default)]
struct State {
    /// Parts that may still bring it.
    open: usize,
    said: Option<RunReply>,
}

/// Somebody who may bring the word: a request of which it is not known yet whether it is the first, then the run. When
/// the last part of a word is dropped, nobody need wait for it any more.
#[derive(Debug)]
pub struct ReplySender(Arc<PendingReply>);

/// Waits for a word.
#[derive(Debug)]
pub struct ReplyReceiver {
    state: watch::Receiver<State>,
    _word: Arc<PendingReply>,
}

impl ReplyBroker {
    /// A part in the word that requests of this kind wait for; of one of its own, if nothing makes two of them the same.
    pub(crate) fn join(&self, key: Option<Key>) -> (ReplySender, ReplyReceiver) {
        let word = match key {
            None => Arc::new(PendingReply { state: watch::Sender::default(), known: None }),
            Some(key) => {
                let mut words = self.0.lock();
                let known = words.get(&key).and_then(Weak::upgrade);
                known.unwrap_or_else(|| {
                    let known = Some((key.clone(), self.clone()));
                    let word = Arc::new(PendingReply { state: watch::Sender::default(), known });
                    words.insert(key, Arc::downgrade(&word));
                    word
                })
            }
        };
        word.state.send_modify(|state| state.open += 1);
        let receiver = ReplyReceiver { state: word.state.subscribe(), _word: Arc::clone(&word) };
        (ReplySender(word), receiver)
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        let Some((key, reply_broker)) = &self.known else { return };
        let mut words = reply_broker.0.lock();
        // Somebody may have come since and begun another one.
        if words.get(key).is_some_and(|word| word.strong_count() == 0) {
            words.remove(key);
        }
    }
}

impl ReplySender {
    /// The word is this.
    pub(crate) fn say(&self, said: RunReply) {
        self.0.state.send_modify(|state| state.said = Some(said));
    }
}

impl Drop for ReplySender {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.open -= 1);
    }
}

impl ReplyReceiver {
    /// The word, once it is said; none once nobody is left to say it.
    pub async fn said(&mut self) -> Option<RunReply> {
        let over = |state: &State| state.said.is_some() || state.open == 0;
        // The sender lives as long as this does.
        self.state.wait_for(|state| over(state)).await.ok()?.said.clone()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    fn key(material: &'static str) -> Option<Key> {
        Some((SourceName::stored("slack"), Bytes::from_static(material.as_bytes())))
    }

    #[tokio::test]
    async fn twins_wait_for_one_word_and_all_get_it() {
        let reply_broker = ReplyBroker::default();
        let (first, mut its) = reply_broker.join(key("a"));
        let (second, mut theirs) = reply_broker.join(key("a"));
        drop(second);
        let mut waiting = Box::pin(theirs.said());
        assert!(poll!(&mut waiting).is_pending());
        first.say(RunReply::Nothing);
        assert_eq!(
            (waiting.await, its.said().await),
            (Some(RunReply::Nothing), Some(RunReply::Nothing))
        );
    }

    #[tokio::test]
    async fn nobody_waits_for_a_word_that_nobody_is_left_to_say() {
        let reply_broker = ReplyBroker::default();
        let (first, mut its) = reply_broker.join(key("a"));
        let (second, mut theirs) = reply_broker.join(key("a"));
        drop((first, second));
        assert_eq!((its.said().await, theirs.said().await), (None, None));
    }

    #[tokio::test]
    async fn different_requests_wait_for_different_words_and_words_are_forgotten() {
        let reply_broker = ReplyBroker::default();
        let (a, mut of_a) = reply_broker.join(key("a"));
        let (b, mut of_b) = reply_broker.join(key("b"));
        let (alone, mut of_alone) = reply_broker.join(None);
        a.say(RunReply::Nothing);
        drop((b, alone));
        assert_eq!(of_a.said().await, Some(RunReply::Nothing));
        assert_eq!((of_b.said().await, of_alone.said().await), (None, None));
        drop((a, of_a, of_b));
        assert!(reply_broker.0.lock().is_empty());
    }
}
