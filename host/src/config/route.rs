//! `[[route]]`: routes from sources to a destination.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::HeaderName;
use weir_core::alert::ALERT_TYPES;
use weir_core::bounds::SUBSCRIPTIONS_MAX;
use weir_core::condition::{Condition, MessageTemplate, OrderKey, TemplatePart};
use weir_core::event::EventType;
use weir_core::name::{DestinationName, HUB_SOURCE, SourceName};
use weir_core::provider::CREDENTIAL_HEADERS;
use weir_core::route::Pattern;
use weir_core::unmatched;

use super::destination::{Destination, DestinationKind};
use super::expression;
use super::handler::no_destination;
use super::tree::Section;
use crate::config::SourcesByName;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Patterns of events.
    pub on: Vec<Pattern>,
    pub to: DestinationName,
    /// Headers of the sender's request that are passed on, in lower case; default: those that its
    /// provider names.
    pub pass_headers: Option<Vec<Box<str>>>,
    /// The condition of its events.
    pub when: Option<Arc<Condition>>,
    /// Its events with the same key are sent one at a time, in order.
    pub order_by: Option<Arc<OrderKey>>,
    /// The message that is sent instead of the unchanged body.
    pub template: MessageTemplate,
}

impl Route {
    /// A route that forwards every event of its patterns unchanged.
    #[must_use]
    pub fn new(on: Vec<Pattern>, to: DestinationName) -> Self {
        let template = MessageTemplate::default();
        Self { on, to, pass_headers: None, when: None, order_by: None, template }
    }
}

const HEADERS_MAX: usize = 64;

type Destinations = BTreeMap<DestinationName, Arc<Destination>>;

pub(super) fn read(
    sections: Vec<Section<'_>>,
    (destinations, valid): (&BTreeSet<DestinationName>, &Destinations),
    sources: &BTreeSet<String>,
    known: &SourcesByName,
) -> Vec<Route> {
    let read = |section| one(section, (destinations, valid), sources, known);
    sections.into_iter().filter_map(read).collect()
}

fn one(
    mut section: Section<'_>,
    (destinations, valid): (&BTreeSet<DestinationName>, &Destinations),
    sources: &BTreeSet<String>,
    known: &SourcesByName,
) -> Option<Route> {
    let given = section.has("on");
    let on = section.list::<Pattern>("on");
    match &on {
        None if !given => section.problem("on", "is missing"),
        Some(on) if on.len() > SUBSCRIPTIONS_MAX => {
            section.problem("on", format!("lists more than {SUBSCRIPTIONS_MAX} patterns"));
        }
        Some(on) if on.is_empty() && section.items("on").is_some_and(|list| list.is_empty()) => {
            section.problem("on", "lists no pattern, so nothing would match");
        }
        _ => {}
    }
    warn_of_what_never_matches(&section, on.as_deref().unwrap_or_default(), sources, known);
    let to = section.checked("to", |name: &DestinationName| {
        if destinations.contains(name) {
            Ok(())
        } else {
            Err(no_destination(name.as_str(), destinations))
        }
    });
    let pass_headers = pass_headers(&mut section);
    let when = expression::read(&mut section, "when", Condition::parse).map(Arc::new);
    let order_by = expression::read(&mut section, "order_by", OrderKey::parse).map(Arc::new);
    let mut template = MessageTemplate::default();
    for part in TemplatePart::ALL.iter().copied() {
        expression::read(&mut section, part.as_str(), |text| template.set(part, text));
    }
    let kind = to.as_ref().and_then(|to| Some(valid.get(to)?.transport.kind()));
    if template.text(TemplatePart::Path).is_some()
        && let Some(kind) = kind.filter(|kind| *kind != DestinationKind::Webhook)
    {
        section.problem("path", format!("is for a webhook, and the destination is of kind {kind}"));
    }
    section.finish();
    Some(Route { on: on?, to: to?, pass_headers, when, order_by, template })
}

fn pass_headers(section: &mut Section<'_>) -> Option<Vec<Box<str>>> {
    let names = section.list::<String>("pass_headers")?;
    if names.len() > HEADERS_MAX {
        section.problem("pass_headers", format!("lists more than {HEADERS_MAX} headers"));
    }
    let mut passed = Vec::with_capacity(names.len());
    for (index, text) in names.iter().enumerate() {
        let place = format!("pass_headers[{index}]");
        match HeaderName::try_from(text) {
            Err(_) => section.problem(&place, "is not the name of a header"),
            Ok(name) if CREDENTIAL_HEADERS.contains(&name.as_str()) => {
                section
                    .problem(&place, "is a credential of the sender's, which is never passed on");
            }
            Ok(name) if is_framing(&name) || is_the_hubs(&name) => {
                section.problem(&place, "is set by the hub and cannot be passed on");
            }
            Ok(name) => passed.push(name.as_str().into()),
        }
    }
    Some(passed)
}

/// Headers that describe the framing of a message.
fn is_framing(name: &HeaderName) -> bool {
    const FRAMING: [&str; 7] = [
        "host",
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
        "te",
        "upgrade",
    ];
    FRAMING.contains(&name.as_str())
}

fn is_the_hubs(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("weir-") || name.starts_with("x-weir-") || name == "user-agent"
}

/// A pattern that names an unknown source or type may be correct later, or misspelt.
pub(super) fn warn_of_what_never_matches(
    section: &Section<'_>,
    patterns: &[Pattern],
    sources: &BTreeSet<String>,
    known: &SourcesByName,
) {
    for said in patterns.iter().filter_map(|pattern| unmatched(pattern, known)) {
        section.warning("on", said);
    }
    for pattern in patterns {
        let Some(source) = pattern.exact_source() else { continue };
        if source == HUB_SOURCE && !tells_of(pattern) {
            let what = format!(
                "`{pattern}` matches nothing: the alert types are {}",
                ALERT_TYPES.join(", ")
            );
            section.warning("on", what);
        }
        if !sources.contains(source) && !SourceName::stored(source).must_be_named() {
            section.warning(
                "on",
                format!("`{pattern}` matches nothing: there is no [sources.{source}]"),
            );
        }
    }
}

/// The reason why a pattern matches no event of these sources, if so.
pub(crate) fn unmatched(pattern: &Pattern, sources: &SourcesByName) -> Option<String> {
    let known = sources.iter().map(|(name, source)| (name, &*source.provider));
    unmatched::explain_unmatched(pattern, known)
}

/// True if an alert matches the pattern.
fn tells_of(pattern: &Pattern) -> bool {
    let hub = SourceName::hub();
    let mut kinds = ALERT_TYPES.iter().filter_map(|kind| EventType::new(kind).ok());
    kinds.any(|kind| pattern.matches(&hub, &kind, None))
}
