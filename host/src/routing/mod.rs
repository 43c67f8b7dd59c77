//! The routing table in force: rules from the handlers' subscriptions, from the configured routes,
//! and for the responders of sources.
//!
//! Readers take a snapshot. A change builds a new table, stores it, because events refer to it, and
//! swaps.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use weir_core::name::{HandlerName, Target};
use weir_core::route::{EventFacts, Pattern, RouteTable, Rule, decisions_text, deliveries};
use weir_store::{NewDelivery, Routed};
use weir_store::{Store, StoreError};

use crate::config::{Config, Route, Source, SourcesByName};

/// The routing table in force.
#[derive(Debug)]
pub struct Routes {
    current: ArcSwap<RouteTable>,
    parts: Mutex<RuleSets>,
    store: Arc<dyn Store>,
}

#[derive(Debug, Default, Clone)]
struct RuleSets {
    routes: Vec<Rule>,
    responders: Vec<Rule>,
    handlers: BTreeMap<HandlerName, Vec<Pattern>>,
}

impl Routes {
    /// The table of the configuration and of the handlers known so far.
    pub async fn build(
        store: Arc<dyn Store>,
        config: &Config,
        handlers: BTreeMap<HandlerName, Vec<Pattern>>,
    ) -> Result<Self, StoreError> {
        let to_destination = |(index, route): (usize, &Route)| {
            let (number, target) = (index + 1, Target::Destination(route.to.clone()));
            Rule::new(format!("route:{number}"), target, route.on.clone())
        };
        let routes = config.routes.iter().enumerate().map(to_destination).collect();
        let parts = RuleSets { routes, responders: to_responders(&config.sources), handlers };
        let table = parts.table();
        store.keep_table(&table).await?;
        Ok(Self { current: ArcSwap::from_pointee(table), parts: Mutex::new(parts), store })
    }

    #[must_use]
    pub fn current(&self) -> Arc<RouteTable> {
        self.current.load_full()
    }

    /// Changes the subscriptions of a handler; none removes them. Returns true if the table
    /// changed.
    pub async fn set_handler(
        &self,
        handler: &HandlerName,
        patterns: Option<Vec<Pattern>>,
    ) -> Result<bool, StoreError> {
        self.change(|parts| {
            match patterns {
                Some(patterns) => parts.handlers.insert(handler.clone(), patterns),
                None => parts.handlers.remove(handler),
            };
        })
        .await
    }

    /// Changes the responders of sources. Returns true if the table changed.
    pub async fn set_responders(&self, sources: &SourcesByName) -> Result<bool, StoreError> {
        self.change(|parts| parts.responders = to_responders(sources)).await
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
    let delivery = |(target, order_key): (&Target, Option<Box<str>>)| NewDelivery {
        target: target.clone(),
        order_key,
    };
    let deliveries = deliveries(decided).map(delivery).collect();
    Routed { table: table.hash(), decisions, deliveries }
}

impl RuleSets {
    fn table(&self) -> RouteTable {
        let handlers = self.handlers.iter().map(|(name, patterns)| {
            let target = Target::Handler(name.clone());
            Rule::new(target.to_string(), target, patterns.clone())
        });
        let configured = self.responders.iter().chain(&self.routes).cloned();
        RouteTable::new(handlers.chain(configured))
    }
}
