//! A rule: it binds events to one target, and decides on each event.

use std::fmt;
use std::sync::Arc;

use crate::event::{Category, EventType};
use crate::name::{SourceName, Target};
use crate::payload::Payload;
use crate::request::RequestView;
use crate::selector::Selector;

use super::pattern::Pattern;

/// Largest order key, in bytes.
const ORDER_KEY_BYTES_MAX: usize = 200;

/// A rule: events that match it are delivered to its target.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Unique in its table: `handler:NAME`, `route:N` or `responder:SOURCE`.
    pub id: Box<str>,
    pub target: Target,
    /// One match is enough; the first that matches is the reason given.
    pub patterns: Vec<Pattern>,
    /// Must hold too, if there is one.
    pub condition: Option<Arc<dyn Condition>>,
    /// Deliveries whose events have the same value here are attempted one at a time, in order.
    pub order_by: Option<Selector>,
}

impl Rule {
    /// A rule without a condition and without an order.
    #[must_use]
    pub fn new(id: impl Into<Box<str>>, target: Target, patterns: Vec<Pattern>) -> Self {
        Self { id: id.into(), target, patterns, condition: None, order_by: None }
    }
}

/// A condition on an event. Pure: the same facts give the same answer.
pub trait Condition: fmt::Debug + Send + Sync {
    /// The condition as it was written.
    fn as_str(&self) -> &str;

    /// The part that is false for these facts, or none if the condition holds.
    ///
    /// # Errors
    /// A reason for people, if it cannot be evaluated on these facts.
    fn false_clause(&self, facts: &EventFacts<'_>) -> Result<Option<&str>, Box<str>>;
}

/// The facts of an event that rules decide on.
#[derive(Debug, Clone, Copy)]
pub struct EventFacts<'a> {
    pub source: &'a SourceName,
    pub kind: &'a EventType,
    pub category: Option<Category>,
    /// Headers and body as they are stored. May be none only for a table that does not read them
    /// (`RouteTable::reads_payload`).
    pub payload: Option<&'a Payload>,
}

/// The decision of one rule on an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<'t> {
    /// Its target gets the event.
    Deliver { order_key: Option<Box<str>> },
    /// A pattern matches, and this part of the condition is false.
    NotMatched { clause: &'t str },
    /// The condition or the order key cannot be evaluated on this event. It is not delivered.
    Error { reason: Box<str> },
}

/// A decision, and the rule that made it.
#[derive(Debug, Clone)]
pub struct RuleDecision<'t> {
    pub rule: &'t Rule,
    pub decision: Decision<'t>,
    /// True if another rule of the table has the same target.
    pub(super) shares_target: bool,
}

impl Rule {
    /// The decision on an event; none if no pattern matches. Allocates only an order key
    /// and the reason of an error.
    pub(super) fn decide(&self, facts: &EventFacts<'_>) -> Option<Decision<'_>> {
        self.matching_pattern(facts)?;
        Some(match self.condition.as_ref().map(|condition| condition.false_clause(facts)) {
            None | Some(Ok(None)) => match self.order_key(facts) {
                Ok(order_key) => Decision::Deliver { order_key },
                Err(reason) => Decision::Error { reason },
            },
            Some(Ok(Some(clause))) => Decision::NotMatched { clause },
            Some(Err(reason)) => Decision::Error { reason },
        })
    }

    /// The first pattern that matches an event.
    #[must_use]
    pub fn matching_pattern(&self, facts: &EventFacts<'_>) -> Option<&Pattern> {
        let matches = |p: &&Pattern| p.matches(facts.source, facts.kind, facts.category);
        self.patterns.iter().find(matches)
    }

    /// The order key of an event; none if the rule has no order, or the event no such value.
    fn order_key(&self, facts: &EventFacts<'_>) -> Result<Option<Box<str>>, Box<str>> {
        let Some(selector) = &self.order_by else { return Ok(None) };
        let payload = facts.payload.ok_or("the order key cannot be read: no payload")?;
        let headers: Vec<_> = payload.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        let (url, body) = ("", &*payload.body);
        let view = RequestView { method: "POST", url, headers: &headers, body };
        let key = selector
            .read(&view, 0)
            .map_err(|error| format!("the order key at {selector} cannot be read: {error}"))?;
        let Some(key) = key else { return Ok(None) };
        if key.len() > ORDER_KEY_BYTES_MAX {
            let (length, most) = (key.len(), ORDER_KEY_BYTES_MAX);
            let reason = format!(
                "the order key at {selector} has {length} bytes; at most {most} are allowed"
            );
            return Err(reason.into());
        }
        match std::str::from_utf8(&key) {
            Ok(text) => Ok(Some(text.into())),
            Err(_) => Err(format!("the order key at {selector} is not UTF-8").into()),
        }
    }
}
