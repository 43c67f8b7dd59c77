//! Explains where an event was routed, by the routing table of that time, and what its deliveries
//! wait for.

use weir_core::route::{self, NotDelivered, StoredRule, TableHash};
use weir_store::query::{AttemptDetail, DeliveryDetail, EventDetail};

use super::AdminService;
use super::views::{other_run, text, trace};
use super::waiting::WaitReasons;
use crate::admin::error::ApiError;
use crate::api::{CandidateView, HoldOnDelivery, LastAttempt, RoutedDelivery, WhyAnswer};
use crate::config;
use crate::config::SourcesByName;

impl AdminService {
    /// Explains the event that an id leads to.
    pub(crate) async fn why(&self, id: &str) -> Result<WhyAnswer, ApiError> {
        let event = self.find_event(id).await?;
        let table = match hash(&event.table) {
            Some(hash) => self.store.table(hash).await?,
            None => None,
        };
        let table = table.as_deref().map(route::read_table).transpose().map_err(|error| {
            tracing::error!(%error, table = event.table, "a stored routing table cannot be read");
            ApiError::internal("table_damaged", error.to_string())
        })?;
        let decisions = route::read_decisions(&event.decisions).unwrap_or_else(|| {
            tracing::error!(event = %event.id, "stored routing decisions cannot be read");
            Vec::new()
        });
        let sources = self.ingress.in_force();
        let deliveries = deliveries(&event, &self.wait_reasons().await?);
        Ok(WhyAnswer {
            trace: trace(&event),
            considered: table.map(|table| candidates(&event, &table, &decisions, &sources)),
            event: event.id,
            source: event.source,
            kind: event.kind,
            category: event.category,
            status: event.status,
            table: event.table,
            deliveries,
        })
    }
}

fn hash(text: &str) -> Option<TableHash> {
    let mut hash = [0; 16];
    hex::decode_to_slice(text, &mut hash).ok().map(|()| TableHash(hash))
}

/// Every rule of the table, with the pattern that matched or those that did not, and the stored
/// decision.
fn candidates(
    event: &EventDetail,
    table: &[StoredRule],
    decisions: &[NotDelivered],
    sources: &SourcesByName,
) -> Vec<CandidateView> {
    let candidate = |rule: &StoredRule| {
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
        // A condition is not evaluated again: its result was stored with the event.
        let decision = decisions.iter().find(|decision| decision.rule == rule.id).cloned();
        let (condition_false, error) =
            decision.map_or((None, None), |decision| (decision.not_matched, decision.error));
        if condition_false.is_some() || error.is_some() {
            matched = None;
        }
        CandidateView {
            rule: rule.id.to_string(),
            target: rule.target.clone(),
            matched,
            refused,
            never,
            condition: rule.condition.as_deref().map(str::to_owned),
            condition_false: text(&condition_false),
            error: text(&error),
        }
    };
    table.iter().map(candidate).collect()
}

fn deliveries(event: &EventDetail, reasons: &WaitReasons) -> Vec<RoutedDelivery> {
    let routed = |delivery: &DeliveryDetail| {
        let view = reasons.delivery(&event.source, delivery);
        let holds = reasons.holds_on(&event.source, delivery).into_iter();
        let holds = holds.map(|held| HoldOnDelivery {
            id: held.id.0,
            scope: held.hold.scope.to_string(),
            reason: held.hold.reason.to_string(),
        });
        RoutedDelivery {
            id: view.id,
            target: view.target,
            state: view.state,
            held: view.held,
            attempts: view.attempts,
            order_key: view.order_key,
            reason: view.reason,
            due_at: view.due_at,
            waiting: view.waiting,
            last_attempt: delivery.history.last().map(last_attempt),
            messages: view.history.into_iter().flat_map(|attempt| attempt.messages).collect(),
            holds: holds.collect(),
        }
    };
    event.deliveries.iter().map(routed).collect()
}

fn last_attempt(attempt: &AttemptDetail) -> LastAttempt {
    LastAttempt {
        number: attempt.number,
        started_at: attempt.started_at,
        outcome: attempt.outcome,
        reason: text(&attempt.reason),
        response_status: attempt.response_status,
        version: attempt.version.clone(),
        other: attempt.other.as_ref().map(other_run),
    }
}
