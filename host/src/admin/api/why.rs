//! `/api/v1/events/{id}/why`: who got an event and who did not, by the routing table that held when it was routed.

use serde::Serialize;
use serde_json::{Value, json};
use weir_core::id::EventId;
use weir_core::route::{self, Subscription, TableHash};
use weir_store::hold::Hold;
use weir_store::query::EventDetail;

use super::{Answer, Hub, Id, Problem, StatusCode, Uri, id, json, query};

/// A subscription that was considered.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Considered {
    target: String,
    /// The pattern by which it got the event; none if none matched.
    matched: Option<String>,
    /// The patterns that did not match, looked at before one that did.
    refused: Vec<String>,
}

/// Why an event went where it went, and what keeps it from being worked on.
pub(in crate::admin) async fn why(hub: Hub, path: Id, uri: Uri) -> Answer {
    let event: EventId = id(path)?;
    query::none(uri.query())?;
    let event = hub.store.event(event).await?.ok_or_else(|| {
        let detail = "there is no event with this id; it may be past its retention";
        Problem::not_found("event_not_found", detail)
    })?;
    let text = match hash(&event.table) {
        Some(hash) => hub.store.table(hash).await?,
        None => None,
    };
    let table = text.as_deref().map(route::read_table).transpose().map_err(|error| {
        tracing::error!(%error, table = event.table, "a stored routing table cannot be read");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "table_damaged", error.to_string())
    })?;
    let holds = hub.store.holds().await?;
    let answer = json!({
        "event": event.id,
        "source": event.source,
        "type": event.kind,
        "category": event.category,
        "status": event.status,
        "table": event.table,
        "considered": table.map(|table| considered(&event, &table)),
        "deliveries": deliveries(&event, &holds),
    });
    json::answer(StatusCode::OK, &answer)
}

fn hash(text: &str) -> Option<TableHash> {
    let mut hash = [0; 16];
    hex::decode_to_slice(text, &mut hash).ok().map(|()| TableHash(hash))
}

fn considered(event: &EventDetail, table: &[Subscription]) -> Vec<Considered> {
    let one = |subscription: &Subscription| {
        let mut refused = Vec::new();
        let mut matched = None;
        for pattern in &subscription.patterns {
            if pattern.matches(&event.source, &event.kind, event.category) {
                matched = Some(pattern.to_string());
                break;
            }
            refused.push(pattern.to_string());
        }
        Considered { target: subscription.target.to_string(), matched, refused }
    };
    table.iter().map(one).collect()
}

/// How it stands with each delivery, and the holds on it.
fn deliveries(event: &EventDetail, holds: &[Hold]) -> Vec<Value> {
    let one = |delivery: &weir_store::query::DeliveryDetail| {
        let on = |hold: &&Hold| hold.hold.scope.covers(&event.source, &delivery.target);
        let holds: Vec<Value> = holds
            .iter()
            .filter(|_| !delivery.state.is_final())
            .filter(on)
            .map(|held| json!({ "id": held.id, "scope": held.hold.scope.to_string(), "reason": held.hold.reason }))
            .collect();
        json!({
            "id": delivery.id,
            "target": delivery.target,
            "state": delivery.state,
            "reason": delivery.reason,
            "holds": holds,
        })
    };
    event.deliveries.iter().map(one).collect()
}
