//! The headers of a sender's request that are sent with a forwarded event, so that its receiver can
//! verify the provider's signature. Pure, except that it reads the sources in force.

use std::fmt;

use bytes::Bytes;
use weir_core::event::Event;
use weir_core::name::DestinationName;
use weir_core::provider::{CREDENTIAL_HEADERS, Provider};
use weir_core::selector::{HeaderPattern, Selector};

use crate::config::ConfiguredSources;
use crate::config::Route;

/// Headers of the hub with facts of the event. They are always sent.
const FACTS: [&str; 2] = ["weir-path", "weir-query"];

/// Decides which headers are sent with a forwarded event.
#[derive(Clone)]
pub(super) struct HeaderForwarding {
    routes: Vec<Route>,
    sources: ConfiguredSources,
}

impl fmt::Debug for HeaderForwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderForwarding").field("routes", &self.routes).finish_non_exhaustive()
    }
}

impl HeaderForwarding {
    pub(super) fn new(routes: &[Route], sources: &ConfiguredSources) -> Self {
        Self { routes: routes.to_vec(), sources: sources.clone() }
    }

    /// The headers of an event that are sent to a destination, in their order.
    pub(super) fn headers(&self, event: &Event, to: &DestinationName) -> Vec<(Box<str>, Bytes)> {
        let sources = self.sources.current();
        let provider = sources.get(&event.source).map(|source| &*source.provider);
        let lists: Vec<_> = self
            .routes
            .iter()
            .filter(|route| route.to == *to)
            .filter(|route| {
                route.on.iter().any(|p| p.matches(&event.source, &event.kind, event.category))
            })
            .map(|route| route.pass_headers.as_deref())
            .collect();
        // Replayed by an operator, or forwarded by a route that has been removed since.
        let lists = if lists.is_empty() { vec![None] } else { lists };
        let named = |name: &str| {
            lists.iter().any(|list| match list {
                Some(names) => names.iter().any(|passed| &**passed == name),
                None => provider.is_some_and(|provider| is_in(&provider.pass_headers, name)),
            })
        };
        let headers = event.payload.headers.iter().filter(|(name, _)| {
            FACTS.contains(&&**name) || (named(name) && !is_credential(name, provider))
        });
        headers.cloned().collect()
    }
}

fn is_in(patterns: &[HeaderPattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

/// True for headers that are stored as fingerprints only, which no receiver can use.
fn is_credential(name: &str, provider: Option<&Provider>) -> bool {
    let secret = provider.into_iter().flat_map(|provider| &provider.secret_fields);
    CREDENTIAL_HEADERS.contains(&name)
        || secret.into_iter().any(|field| match field {
            Selector::Header(names) => names.iter().any(|secret| secret.eq_ignore_ascii_case(name)),
            Selector::Headers(patterns) => is_in(patterns, name),
            _ => false,
        })
}
