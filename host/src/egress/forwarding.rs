//! The headers of a sender's request that are sent with a forwarded event, so that its receiver can
//! verify the provider's signature. Pure, except that it reads the sources in force.

use std::fmt;

use bytes::Bytes;
use weir_core::condition::{LazyEvent, ShapedMessage, TemplatePart};
use weir_core::event::{Event, EventFacts};
use weir_core::name::DestinationName;
use weir_core::provider::{CREDENTIAL_HEADERS, Provider};
use weir_core::reserved_headers::{METHOD_HEADER, PATH_HEADER, QUERY_HEADER};
use weir_core::route::Pattern;
use weir_core::selector::{HeaderPattern, Selector};

use crate::config::{ConfiguredRoutes, ConfiguredSources, Route};

/// Headers of the hub with facts of the event. They are always sent.
const FACTS: [&str; 3] = [METHOD_HEADER, PATH_HEADER, QUERY_HEADER];

/// Decides which headers are sent with a forwarded event.
#[derive(Clone)]
pub(super) struct HeaderForwarding {
    routes: ConfiguredRoutes,
    sources: ConfiguredSources,
}

impl fmt::Debug for HeaderForwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderForwarding").field("routes", &self.routes).finish_non_exhaustive()
    }
}

impl HeaderForwarding {
    pub(super) fn new(routes: ConfiguredRoutes, sources: ConfiguredSources) -> Self {
        Self { routes, sources }
    }

    /// The headers of an event that are sent to a destination, in their order.
    pub(super) fn headers(&self, event: &Event, to: &DestinationName) -> Vec<(Box<str>, Bytes)> {
        let facts = EventFacts::of(event);
        let sources = self.sources.current();
        let provider = sources.get(&event.source).map(|source| &*source.provider);
        let routes = self.routes.current();
        let lists: Vec<_> = routes
            .iter()
            .filter(|route| leads_to(route, &facts, to))
            // A signature of the sender's says nothing of another body.
            .map(|route| match &route.pass_headers {
                None if shapes_body(route) => Some(&[][..]),
                headers => headers.as_deref(),
            })
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

impl HeaderForwarding {
    /// The message of the first route that brought an event here; none if it forwards the event as
    /// it is.
    ///
    /// # Errors
    /// A reason for people, if the message cannot be made of the event.
    pub(super) fn shape(
        &self,
        event: &Event,
        to: &DestinationName,
    ) -> Result<Option<ShapedMessage>, Box<str>> {
        let facts = EventFacts::of(event);
        let routes = self.routes.current();
        let mut leading = routes.iter().filter(|route| leads_to(route, &facts, to));
        if leading.clone().all(|route| route.template.is_empty()) {
            return Ok(None);
        }
        let event = LazyEvent::new(facts);
        // As when it was routed. A condition that fails now failed then.
        let holds = |route: &&Route| match &route.when {
            None => true,
            Some(when) => matches!(when.false_clause(&event), Ok(None)),
        };
        leading.find(holds).map(|route| route.template.shape(&event)).transpose()
    }
}

/// True if the patterns of a route bring an event to a destination.
fn leads_to(route: &Route, facts: &EventFacts<'_>, to: &DestinationName) -> bool {
    let matches = |p: &Pattern| p.matches(facts.source, facts.kind, facts.category);
    route.to == *to && route.on.iter().any(matches)
}

fn shapes_body(route: &Route) -> bool {
    route.template.text(TemplatePart::Body).is_some()
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
