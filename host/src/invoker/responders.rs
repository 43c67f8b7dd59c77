//! ResponderHandle: handlers whose reply is the answer to the sender. A run of one is a run like any other, begun at once
//! with a claim that was made with the commit of its event, and somebody waits for what it says.
//!
//! What may not live here: what a sender is told when nobody says anything, which is ingress's to know.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use weir_core::effect::Reply;
use weir_core::name::{HandlerName, SourceName};
use weir_core::payload::Payload;
use weir_store::{Claim, DedupKey, NewReply};

use super::reply_broker::{ReplyBroker, ReplyReceiver, ReplySender};
use super::run::{Batch, Runner};
use super::versions::HandlerRuntime;
use crate::claims::Held;
use crate::config::ConfiguredSources;
use crate::runtime::tasks::{OnFailure, Tasks};

/// The headers that a reply may have beside its content type. The list is short because an answer goes through proxies,
/// some of which take orders from headers (`x-accel-redirect`), and comes from a name that cookies may belong to.
pub(crate) const REPLY_HEADERS: [&str; 6] =
    ["cache-control", "content-language", "etag", "location", "retry-after", "vary"];

/// Which handler answers for which source, and for how long its answers are kept.
#[derive(Debug)]
pub(crate) struct ResponderPolicy {
    sources: ConfiguredSources,
    keep: Duration,
}

impl ResponderPolicy {
    pub(crate) fn new(sources: ConfiguredSources, keep: Duration) -> Self {
        Self { sources, keep }
    }

    /// For how long the reply of this handler to an event of this source is kept; none if it is not the one to reply. One
    /// that is awaited is kept, whoever is to reply by now.
    pub(crate) fn keeps(
        &self,
        source: &SourceName,
        handler: &HandlerName,
        is_awaited: bool,
    ) -> Option<Duration> {
        let is_to_reply = || {
            let sources = self.sources.current();
            let responder = sources.get(source).and_then(|source| source.responder.as_ref());
            responder.is_some_and(|responder| responder.handler == *handler)
        };
        (is_awaited || is_to_reply()).then_some(self.keep)
    }
}

/// A reply as it is kept and sent, and the names of headers that are left out of it.
pub(crate) fn kept(reply: Reply, keep: Duration) -> (NewReply, Vec<Box<str>>) {
    let Reply { status, payload: Payload { headers, body } } = reply;
    let allowed = |name: &str| name == "content-type" || REPLY_HEADERS.contains(&name);
    let (headers, left_out): (Vec<_>, Vec<_>) =
        headers.into_iter().partition(|(name, _)| allowed(name));
    let left_out = left_out.into_iter().map(|(name, _)| name).collect();
    (NewReply { status, payload: Payload { headers, body }, keep }, left_out)
}

/// Runs responders for ingress. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ResponderHandle {
    pub(super) runner: Arc<Runner>,
    pub(super) tasks: Tasks,
    pub(super) guests: Handle,
    pub(super) reply_broker: ReplyBroker,
}

/// Room for one more event of a handler, until dropped or run with.
#[derive(Debug)]
pub struct RunPermit {
    runtime: Arc<HandlerRuntime>,
    in_hand: Held,
}

impl ResponderHandle {
    /// A part in what a request is answered with. Join before storing it: whoever repeats it meanwhile then waits for the
    /// same word.
    #[must_use]
    pub fn join(
        &self,
        source: &SourceName,
        dedup: Option<&DedupKey>,
    ) -> (ReplySender, ReplyReceiver) {
        self.reply_broker.join(dedup.map(|key| (source.clone(), key.material.clone())))
    }

    /// Room for one more event; none if no version of the handler serves, or so many of its events are in hand already
    /// that this one had better wait its turn.
    #[must_use]
    pub fn seat(&self, handler: &HandlerName) -> Option<RunPermit> {
        let Runner { versions, freed, drain, .. } = &*self.runner;
        let runtime = versions.runtime_of(handler)?;
        // One that is left alone is tried with what waits longest.
        runtime.gate.enter()?;
        let room = runtime.batching.lock().window().saturating_sub(runtime.in_hand.count());
        if room == 0 || drain.is_draining() {
            return None;
        }
        let in_hand = runtime.in_hand.take(1, freed);
        Some(RunPermit { runtime, in_hand })
    }

    /// Runs a claimed event and sees it through, whoever still waits for it.
    pub fn run(&self, seat: RunPermit, claim: Claim, part: ReplySender) {
        let RunPermit { runtime, in_hand } = seat;
        let running = runtime.batches.take(1, &self.runner.freed);
        let batch =
            Batch { runtime, claims: vec![claim], in_hand, running, part: Some(part), probe: None };
        let attending = Arc::clone(&self.runner).attend(batch);
        self.tasks.spawn_on("responder", OnFailure::Log, &self.guests, attending);
    }
}

#[cfg(test)]
mod tests {
    use crate::config;

    use super::*;

    #[test]
    fn the_replies_of_who_answers_now_are_kept_and_those_that_are_awaited_too() {
        let folder = tempfile::tempdir().unwrap();
        let sources = |responder: &str| {
            let text = format!(
                "[sources.a]\nprovider = \"github\"\nsecrets = [\"secret of a\"]\nresponder = \"{responder}\"\n"
            );
            config::load_text("weir.toml", &text, folder.path(), true).unwrap().config.sources
        };
        let in_force = ConfiguredSources::new(sources("one"));
        let responder_policy = ResponderPolicy::new(in_force.clone(), Duration::from_secs(1));
        let keeps = |source: &str, handler: &str, is_awaited| {
            let (source, handler) = (SourceName::stored(source), handler.parse().unwrap());
            responder_policy.keeps(&source, &handler, is_awaited).is_some()
        };
        assert!(keeps("a", "one", false) && !keeps("a", "two", false) && !keeps("b", "one", false));
        in_force.replace(sources("two"));
        assert!(!keeps("a", "one", false) && keeps("a", "two", false));
        assert!(keeps("a", "one", true), "a sender waits for it still");
    }
}
