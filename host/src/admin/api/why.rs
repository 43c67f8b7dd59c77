//! `/api/v1/events/{id}/why`: who got an event and who did not, by the routing table that held when it was routed.

use serde::Serialize;
use serde_json::{Value, json};
use weir_core::route::{self, NotDelivered, StoredRule, TableHash};
use weir_store::query::{AttemptDetail, DeliveryDetail, EventDetail};

use super::waits::Waits;
use crate::config;
use crate::config::SourcesByName;

use super::{ApiError, ApiResult, Id, ServiceState, StatusCode, Uri, any_id, json, query, seek};

/// A rule of the table that routed the event.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Considered {
    rule: String,
    target: String,
    /// The pattern by which it got the event; none if none matched.
    matched: Option<String>,
    /// The patterns that did not match, looked at before one that did.
    refused: Vec<String>,
    /// Why some of those never match, by what is known now of the types of their sources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    never: Vec<String>,
    /// The part of the rule's condition that was false. Stored with the event, as is the error:
    /// a condition is never evaluated again.
    #[serde(skip_serializing_if = "Option::is_none")]
    condition_false: Option<Box<str>>,
    /// The reason that the rule could not be evaluated on the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Box<str>>,
}

/// Why an event went where it went, and what keeps it from being worked on.
pub(in crate::admin) async fn why(hub: ServiceState, path: Id, uri: Uri) -> ApiResult {
    query::none(uri.query())?;
    let event = seek::event(&hub, &any_id(path)).await?;
    let event = hub.store.event(event).await?.ok_or_else(|| {
        let detail = "there is no event with this id; it may be past its retention";
        ApiError::not_found("event_not_found", detail)
    })?;
    let text = match hash(&event.table) {
        Some(hash) => hub.store.table(hash).await?,
        None => None,
    };
    let table = text.as_deref().map(route::read_table).transpose().map_err(|error| {
        tracing::error!(%error, table = event.table, "a stored routing table cannot be read");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "table_damaged", error.to_string())
    })?;
    let decisions = route::read_decisions(&event.decisions).unwrap_or_else(|| {
        tracing::error!(event = %event.id, "stored routing decisions cannot be read");
        Vec::new()
    });
    let considered = table.map(|t| considered(&event, &t, &decisions, &hub.ingress.in_force()));
    let waits = Waits::of(&hub).await?;
    let answer = json!({
        "event": event.id,
        "source": event.source,
        "type": event.kind,
        "category": event.category,
        "status": event.status,
        "table": event.table,
        "considered": considered,
        "deliveries": deliveries(&event, &waits),
    });
    json::answer(StatusCode::OK, &answer)
}

fn hash(text: &str) -> Option<TableHash> {
    let mut hash = [0; 16];
    hex::decode_to_slice(text, &mut hash).ok().map(|()| TableHash(hash))
}

fn considered(
    event: &EventDetail,
    table: &[StoredRule],
    decisions: &[NotDelivered],
    sources: &SourcesByName,
) -> Vec<Considered> {
    let one = |rule: &StoredRule| {
        let (mut refused, mut never) = (Vec::new(), Vec::new());
        let mut matched = None;
        for pattern in &rule.patterns {
            if pattern.matches(&event.source, &event.kind, event.category) {
                matched = Some(pattern.to_string());
                break;
            }
            refused.push(pattern.to_string());
            never.extend(config::unmatched(pattern, sources));
        }
        let undelivered = decisions.iter().find(|decision| decision.rule == rule.id).cloned();
        let (condition_false, error) =
            undelivered.map_or((None, None), |decision| (decision.not_matched, decision.error));
        if condition_false.is_some() || error.is_some() {
            matched = None;
        }
        let (id, target) = (rule.id.to_string(), rule.target.to_string());
        Considered { rule: id, target, matched, refused, never, condition_false, error }
    };
    table.iter().map(one).collect()
}

/// Each delivery with its waiting reason, its last attempt, and the messages that its attempts sent.
fn deliveries(event: &EventDetail, waits: &Waits) -> Vec<Value> {
    let one = |delivery: &DeliveryDetail| {
        let full = waits.delivery(&event.source, delivery);
        let holds = waits.holds_on(&event.source, delivery).into_iter();
        let holds: Vec<Value> = holds
            .map(|held| {
                let (scope, reason) = (held.hold.scope.to_string(), &held.hold.reason);
                json!({ "id": held.id, "scope": scope, "reason": reason })
            })
            .collect();
        let history = full["history"].as_array().map_or(&[][..], Vec::as_slice);
        let messages: Vec<&Value> =
            history.iter().filter_map(|a| a["messages"].as_array()).flatten().collect();
        json!({
            "id": delivery.id,
            "target": delivery.target,
            "state": delivery.state,
            "held": delivery.held,
            "attempts": delivery.attempts,
            "reason": delivery.reason,
            "due_at": full["due_at"],
            "waiting": full["waiting"],
            "last_attempt": delivery.history.last().map(last_attempt),
            "messages": messages,
            "holds": holds,
        })
    };
    event.deliveries.iter().map(one).collect()
}

fn last_attempt(attempt: &AttemptDetail) -> Value {
    json!({
        "number": attempt.number,
        "started_at": attempt.started_at,
        "outcome": attempt.outcome,
        "reason": attempt.reason,
        "response_status": attempt.response_status,
    })
}
