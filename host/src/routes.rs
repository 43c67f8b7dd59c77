//! The routing table in force, made of the configured routes and the handlers' subscriptions.
//!
//! Readers take a snapshot; a change builds a new table, stores it so that events can refer to it, then swaps.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use weir_core::name::{HandlerName, Target};
use weir_core::route::{Pattern, RouteTable, Subscription};
use weir_store::{Store, StoreError};

use crate::config::Route;

/// The routing table in force.
#[derive(Debug)]
pub struct Routes {
    current: ArcSwap<RouteTable>,
    parts: Mutex<Parts>,
    store: Arc<dyn Store>,
}

#[derive(Debug, Default)]
struct Parts {
    routes: Vec<Subscription>,
    handlers: BTreeMap<HandlerName, Vec<Pattern>>,
}

impl Routes {
    /// A table of the configured routes and of the handlers that are known already.
    pub async fn build(
        store: Arc<dyn Store>,
        routes: &[Route],
        handlers: BTreeMap<HandlerName, Vec<Pattern>>,
    ) -> Result<Self, StoreError> {
        let routes = routes
            .iter()
            .map(|r| Subscription {
                target: Target::Destination(r.to.clone()),
                patterns: r.on.clone(),
            })
            .collect();
        let parts = Parts { routes, handlers };
        let table = parts.table();
        store.keep_table(&table).await?;
        Ok(Self { current: ArcSwap::from_pointee(table), parts: Mutex::new(parts), store })
    }

    /// The table now.
    #[must_use]
    pub fn current(&self) -> Arc<RouteTable> {
        self.current.load_full()
    }

    /// Changes what a handler subscribes to; none takes it out. Returns whether the table changed.
    pub async fn set_handler(
        &self,
        handler: &HandlerName,
        patterns: Option<Vec<Pattern>>,
    ) -> Result<bool, StoreError> {
        let mut parts = self.parts.lock().await;
        let before = match patterns {
            Some(patterns) => parts.handlers.insert(handler.clone(), patterns),
            None => parts.handlers.remove(handler),
        };
        let table = parts.table();
        if table.hash() == self.current.load().hash() {
            return Ok(false);
        }
        if let Err(error) = self.store.keep_table(&table).await {
            match before {
                Some(patterns) => parts.handlers.insert(handler.clone(), patterns),
                None => parts.handlers.remove(handler),
            };
            return Err(error);
        }
        self.current.store(Arc::new(table));
        Ok(true)
    }
}

impl Parts {
    fn table(&self) -> RouteTable {
        let handlers = self.handlers.iter().map(|(name, patterns)| Subscription {
            target: Target::Handler(name.clone()),
            patterns: patterns.clone(),
        });
        RouteTable::new(handlers.chain(self.routes.iter().cloned()))
    }
}
