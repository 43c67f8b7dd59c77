//! Decides which handler's replies are kept for senders, and what of them.

use std::time::Duration;

use weir_core::effect::Reply;
use weir_core::name::{HandlerName, SourceName};
use weir_core::payload::Payload;
use weir_store::NewReply;

use crate::config::ConfiguredSources;

/// The headers that a reply may have beside its content type. No others, because some proxies obey
/// headers of a response (`x-accel-redirect`), and the hub's domain may have cookies.
pub(super) const REPLY_HEADERS: [&str; 6] =
    ["cache-control", "content-language", "etag", "location", "retry-after", "vary"];

/// Decides whether a reply is kept.
#[derive(Debug)]
pub(crate) struct ResponderPolicy {
    sources: ConfiguredSources,
    keep: Duration,
}

impl ResponderPolicy {
    /// Keeps replies for `keep`.
    pub(crate) fn new(sources: ConfiguredSources, keep: Duration) -> Self {
        Self { sources, keep }
    }

    /// The time for which a handler's reply to an event of a source is kept; none if the handler is
    /// not the source's responder. A reply that a sender waits for is always kept.
    pub(super) fn keeps(
        &self,
        source: &SourceName,
        handler: &HandlerName,
        sender_waits: bool,
    ) -> Option<Duration> {
        let is_responder = || {
            let sources = self.sources.current();
            let responder = sources.get(source).and_then(|source| source.responder.as_ref());
            responder.is_some_and(|responder| responder.handler == *handler)
        };
        (sender_waits || is_responder()).then_some(self.keep)
    }
}

/// A reply as it is stored and sent, and the names of the headers that are removed from it.
pub(super) fn without_forbidden_headers(reply: Reply, keep: Duration) -> (NewReply, Vec<Box<str>>) {
    let Reply { status, payload: Payload { headers, body } } = reply;
    let allowed = |name: &str| name == "content-type" || REPLY_HEADERS.contains(&name);
    let (headers, removed): (Vec<_>, Vec<_>) =
        headers.into_iter().partition(|(name, _)| allowed(name));
    let removed = removed.into_iter().map(|(name, _)| name).collect();
    (NewReply { status, payload: Payload { headers, body }, keep }, removed)
}

#[cfg(test)]
mod tests {
    use crate::config;

    use super::*;

    #[test]
    fn replies_are_kept_if_configured_now_or_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let sources = |responder: &str| {
            let text = format!(
                "[sources.a]\nprovider = \"github\"\nsecrets = [\"secret of a\"]\n\
                 responder = \"{responder}\"\n"
            );
            config::load_text("weir.toml", &text, folder.path(), crate::config::Mode::Development)
                .unwrap()
                .config
                .sources
        };
        let in_force = ConfiguredSources::new(sources("one"));
        let policy = ResponderPolicy::new(in_force.clone(), Duration::from_secs(1));
        let keeps = |source: &str, handler: &str, sender_waits| {
            let (source, handler) = (SourceName::stored(source), handler.parse().unwrap());
            policy.keeps(&source, &handler, sender_waits).is_some()
        };
        assert!(keeps("a", "one", false) && !keeps("a", "two", false) && !keeps("b", "one", false));
        in_force.replace(sources("two"));
        assert!(!keeps("a", "one", false) && keeps("a", "two", false));
        assert!(keeps("a", "one", true), "a sender waits for it still");
    }
}
