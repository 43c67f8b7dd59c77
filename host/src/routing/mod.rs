//! The routing table in force: rules from the handlers' subscriptions, from the configured routes,
//! and for the responders of sources.
//!
//! Readers take a snapshot. A change builds a new table, stores it, because events refer to it, and
//! swaps.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use weir_core::condition::{Condition, OrderKey};
use weir_core::event::EventFacts;
use weir_core::name::{DestinationName, HandlerName, Target};
use weir_core::route::{Pattern, RouteTable, RoutedTo, Rule, decisions_text, deliveries};
use weir_store::query::EventDetail;
use weir_store::upkeep::ReroutedEvent;
use weir_store::{NewDelivery, Routed};
use weir_store::{Store, StoreError};

use crate::config::{Config, EffectiveSettings, Route, Source, SourcesByName};

/// The routing table in force.
#[derive(Debug)]
pub struct Routes {
    current: ArcSwap<RouteTable>,
    parts: Mutex<RuleSets>,
    store: Arc<dyn Store>,
}

/// The events that a handler gets, and their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    pub patterns: Vec<Pattern>,
    pub condition: Option<Arc<Condition>>,
    pub order_by: Option<Arc<OrderKey>>,
}

impl Subscription {
    /// The events that a handler with these settings gets.
    pub(crate) fn of(settings: &EffectiveSettings) -> Self {
        Self {
            patterns: settings.subscriptions.clone(),
            condition: settings.when.clone(),
            order_by: settings.order_by.clone(),
        }
    }
}

impl From<Vec<Pattern>> for Subscription {
    fn from(patterns: Vec<Pattern>) -> Self {
        Self { patterns, ..Self::default() }
    }
}

#[derive(Debug, Default, Clone)]
struct RuleSets {
    routes: Vec<Rule>,
    responders: Vec<Rule>,
    handlers: BTreeMap<HandlerName, Subscription>,
}

impl Routes {
    /// The table of the configuration and of the handlers known so far.
    pub async fn build(
        store: Arc<dyn Store>,
        config: &Config,
        handlers: BTreeMap<HandlerName, Subscription>,
    ) -> Result<Self, StoreError> {
        let routes = to_destinations(&config.routes);
        let parts = RuleSets { routes, responders: to_responders(&config.sources), handlers };
        let table = parts.table();
        store.keep_table(&table).await?;
        Ok(Self { current: ArcSwap::from_pointee(table), parts: Mutex::new(parts), store })
    }

    #[must_use]
    pub fn current(&self) -> Arc<RouteTable> {
        self.current.load_full()
    }

    /// Changes the subscription of a handler; none removes it. Returns true if the table changed.
    pub async fn set_handler(
        &self,
        handler: &HandlerName,
        subscription: Option<Subscription>,
    ) -> Result<bool, StoreError> {
        self.change(|parts| {
            match subscription {
                Some(subscription) => parts.handlers.insert(handler.clone(), subscription),
                None => parts.handlers.remove(handler),
            };
        })
        .await
    }

    /// Changes the configured routes and the responders of sources. Returns true if the table
    /// changed.
    pub async fn set_configured(
        &self,
        routes: &[Route],
        sources: &SourcesByName,
    ) -> Result<bool, StoreError> {
        self.change(|parts| {
            parts.routes = to_destinations(routes);
            parts.responders = to_responders(sources);
        })
        .await
    }

    /// Changes nothing if the store cannot keep the new table, because events could not refer to
    /// it.
    async fn change(&self, change: impl FnOnce(&mut RuleSets)) -> Result<bool, StoreError> {
        let mut parts = self.parts.lock().await;
        let mut changed = parts.clone();
        change(&mut changed);
        let table = changed.table();
        let is_new = table.hash() != self.current.load().hash();
        if is_new {
            self.store.keep_table(&table).await?;
            self.current.store(Arc::new(table));
        }
        *parts = changed;
        Ok(is_new)
    }
}

fn to_destinations(routes: &[Route]) -> Vec<Rule> {
    let rule = |(index, route): (usize, &Route)| {
        let (number, target) = (index + 1, Target::Destination(route.to.clone()));
        Rule {
            condition: route.when.clone(),
            order_by: route.order_by.clone(),
            ..Rule::new(format!("route:{number}"), target, route.on.clone())
        }
    };
    routes.iter().enumerate().map(rule).collect()
}

fn to_responders(sources: &SourcesByName) -> Vec<Rule> {
    sources.values().filter_map(|source| to_responder(source)).collect()
}

/// A responder gets all events of its source, besides its own subscriptions and also while it is
/// missing.
fn to_responder(source: &Source) -> Option<Rule> {
    let target = Target::Handler(source.responder.as_ref()?.handler.clone());
    // The name of a source is always a pattern.
    let all = Pattern::parse(&format!("{}:*", source.name)).ok()?;
    Some(Rule::new(format!("responder:{}", source.name), target, vec![all]))
}

/// Routes an event by a table, for the store.
#[must_use]
pub fn routed(table: &RouteTable, facts: &EventFacts<'_>) -> Routed {
    let decided = table.route(facts);
    let decisions = decisions_text(&decided);
    let delivery = |RoutedTo { target, order_key, error }: RoutedTo<'_>| NewDelivery {
        target: target.clone(),
        order_key,
        error,
    };
    let deliveries = deliveries(decided).map(delivery).collect();
    Routed { table: table.hash(), decisions, deliveries }
}

/// The routes of an event that no rule gets.
#[must_use]
pub fn unrouted(table: &RouteTable) -> Routed {
    Routed { table: table.hash(), decisions: decisions_text(&[]), deliveries: Vec::new() }
}

/// Routes a stored event by a table. Lists of events come without payloads: each is read only if a
/// rule needs it.
pub(crate) async fn reroute(
    store: &dyn Store,
    event: &EventDetail,
    table: &RouteTable,
) -> Result<ReroutedEvent, StoreError> {
    let mut payload = event.payload.clone();
    if payload.is_none() && table.reads_payload() {
        payload = store.event(event.id).await?.and_then(|event| event.payload);
    }
    let facts = EventFacts {
        id: None,
        source: &event.source,
        kind: &event.kind,
        category: event.category,
        delivery_id: event.delivery_id.as_deref(),
        received_at: event.received_at,
        payload: payload.as_deref(),
    };
    Ok(ReroutedEvent { event: event.id, routed: routed(table, &facts) })
}

/// Routes to one destination only, also if no rule brings the event there.
pub(crate) fn only_to(to: &DestinationName, routed: Routed) -> Routed {
    let target = Target::Destination(to.clone());
    let by_rule = |delivery: &NewDelivery| delivery.target == target && delivery.error.is_none();
    let delivery = routed.deliveries.into_iter().find(by_rule);
    let delivery = delivery.unwrap_or(NewDelivery { target, order_key: None, error: None });
    Routed { deliveries: vec![delivery], ..routed }
}

impl RuleSets {
    fn table(&self) -> RouteTable {
        let handlers = self.handlers.iter().map(|(name, subscription)| {
            let target = Target::Handler(name.clone());
            let Subscription { patterns, condition, order_by } = subscription.clone();
            Rule { condition, order_by, ..Rule::new(target.to_string(), target, patterns) }
        });
        let configured = self.responders.iter().chain(&self.routes).cloned();
        RouteTable::new(handlers.chain(configured))
    }
}
