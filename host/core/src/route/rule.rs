//! A rule: it binds events to one target, and decides on each event.

use std::sync::Arc;

use crate::condition::{Condition, LazyEvent, OrderKey};
use crate::event::EventFacts;
use crate::name::Target;

use super::pattern::Pattern;

/// A rule: events that match it are delivered to its target.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Unique in its table: `handler:NAME`, `route:N` or `responder:SOURCE`.
    pub id: Box<str>,
    pub target: Target,
    /// One match is enough; the first that matches is the reason given.
    pub patterns: Vec<Pattern>,
    /// Must hold too, if there is one.
    pub condition: Option<Arc<Condition>>,
    /// Deliveries whose events have the same value here are attempted one at a time, in order.
    pub order_by: Option<Arc<OrderKey>>,
}

impl Rule {
    /// A rule without a condition and without an order.
    #[must_use]
    pub fn new(id: impl Into<Box<str>>, target: Target, patterns: Vec<Pattern>) -> Self {
        Self { id: id.into(), target, patterns, condition: None, order_by: None }
    }
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
    /// The decision on an event; none if no pattern matches. Without a condition and an order key
    /// it allocates nothing.
    #[must_use]
    pub fn decide(&self, event: &LazyEvent<'_>) -> Option<Decision<'_>> {
        self.matching_pattern(event.facts())?;
        Some(self.decide_on_facts(event).unwrap_or_else(|what| {
            let reason = format!("{}: {what}", self.id).into();
            Decision::Error { reason }
        }))
    }

    fn decide_on_facts(&self, event: &LazyEvent<'_>) -> Result<Decision<'_>, Box<str>> {
        if let Some(condition) = &self.condition
            && let Some(clause) = condition.false_clause(event)?
        {
            return Ok(Decision::NotMatched { clause });
        }
        let order_key = self.order_by.as_ref().map(|order_by| order_by.key(event)).transpose()?;
        Ok(Decision::Deliver { order_key: order_key.flatten() })
    }

    /// True if it reads headers, query or body of an event.
    #[must_use]
    pub fn reads_payload(&self) -> bool {
        self.condition.as_ref().is_some_and(|condition| condition.reads_payload())
            || self.order_by.as_ref().is_some_and(|order_by| order_by.reads_payload())
    }

    /// The first pattern that matches an event.
    #[must_use]
    pub fn matching_pattern(&self, facts: &EventFacts<'_>) -> Option<&Pattern> {
        let matches = |p: &&Pattern| p.matches(facts.source, facts.kind, facts.category);
        self.patterns.iter().find(matches)
    }
}
