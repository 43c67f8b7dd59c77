//! The state of handlers and destinations, with the holds of operators counted in.

use serde_json::Value;
use weir_core::name::Target;
use weir_store::hold::{Hold, HoldScope};

use super::AdminService;
use crate::delivery::breakers::is_breaker_hold;

/// The holds of operators, and of the hub for what has no file any more: what they cover is paused.
async fn pausing(hub: &AdminService) -> Vec<Hold> {
    let holds = hub.store.holds().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "store does not tell the holds");
        Vec::new()
    });
    holds.into_iter().filter(|held| !is_breaker_hold(&held.hold)).collect()
}

/// The destinations, an array.
pub(super) async fn destinations(hub: &AdminService) -> Value {
    let mut destinations = (hub.destinations)();
    let holds = pausing(hub).await;
    for item in destinations.as_array_mut().into_iter().flatten() {
        let held = held(&holds, "destination", item);
        if let Some(held) = held {
            item["state"] = "paused".into();
            item["reason"] = why(held).into();
            item["next_try"] = serde_json::json!(held.hold.until);
        }
    }
    destinations
}

/// The handlers, an array.
pub(super) async fn handlers(hub: &AdminService) -> Value {
    let mut handlers = (hub.handlers)();
    let holds = pausing(hub).await;
    for item in handlers.as_array_mut().into_iter().flatten() {
        if let Some(held) = held(&holds, "handler", item) {
            item["health"] = "paused".into();
            item["health_reason"] = why(held).into();
            item["next_try"] = serde_json::json!(held.hold.until);
        }
    }
    handlers
}

/// The state of each handler and destination, by target.
pub(super) async fn states(hub: &AdminService) -> Vec<(String, String)> {
    let of = |kind: &str, key: &str, items: Value| {
        let items = items.as_array().cloned().unwrap_or_default();
        let state = |item: Value| {
            Some((format!("{kind}:{}", item["name"].as_str()?), item[key].as_str()?.to_owned()))
        };
        items.into_iter().filter_map(state).collect::<Vec<_>>()
    };
    let mut states = of("handler", "health", handlers(hub).await);
    states.extend(of("destination", "state", destinations(hub).await));
    states
}

fn held<'a>(holds: &'a [Hold], kind: &str, item: &Value) -> Option<&'a Hold> {
    let target: Target = format!("{kind}:{}", item["name"].as_str()?).parse().ok()?;
    let scope = match target {
        Target::Handler(name) => HoldScope::Handler(name),
        Target::Destination(name) => HoldScope::Destination(name),
    };
    holds.iter().find(|held| held.hold.scope == scope)
}

fn why(held: &Hold) -> String {
    format!("hold {} by {}: {}", held.id, held.hold.by, held.hold.reason)
}
