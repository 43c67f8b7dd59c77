//! The reason why a delivery waits, and until when: a hold, a target that fails or asked to be left alone, the next
//! attempt, or its turn.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_core::name::{SourceName, Target};
use weir_core::time::Timestamp;
use weir_store::StoreError;
use weir_store::hold::Hold;
use weir_store::query::{DeliveryDetail, EventDetail};

use super::AdminService;
use crate::delivery::breakers::is_breaker_hold;

/// The state of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TargetState {
    state: String,
    reason: Option<String>,
    next_try: Option<Timestamp>,
}

/// All present reasons to wait.
#[derive(Debug)]
pub(super) struct Waits {
    holds: Vec<Hold>,
    /// By target.
    standings: BTreeMap<String, TargetState>,
    now: Timestamp,
}

impl Waits {
    /// Asks the store and the keepers.
    pub(super) async fn of(hub: &AdminService) -> Result<Self, StoreError> {
        let mut standings = of_kind("handler", "health", "health_reason", &(hub.handlers)());
        standings.extend(of_kind("destination", "state", "reason", &(hub.destinations)()));
        Ok(Self { holds: hub.store.holds().await?, standings, now: hub.clock.now() })
    }

    /// An event with its deliveries, each with the reason why it waits.
    pub(super) fn event(&self, event: &EventDetail) -> Value {
        let mut shown = json!(event);
        let deliveries = event.deliveries.iter();
        shown["deliveries"] = deliveries.map(|d| self.delivery(&event.source, d)).collect();
        shown
    }

    /// A delivery of a source's event, with its attempts and the reason why it waits.
    pub(super) fn delivery(&self, source: &SourceName, delivery: &DeliveryDetail) -> Value {
        let mut shown = json!(delivery);
        if let Some((waiting, due)) = self.waiting(source, delivery) {
            shown["due_at"] = json!(due);
            shown["waiting"] = waiting;
        }
        // A hold on the source `@handler` covers the messages of a handler.
        let sent_by = match &delivery.target {
            Target::Handler(name) => SourceName::emitted_by(name),
            Target::Destination(_) => source.clone(),
        };
        for (index, attempt) in delivery.history.iter().enumerate() {
            let messages = attempt.messages.iter();
            shown["history"][index]["messages"] =
                messages.map(|message| self.delivery(&sent_by, message)).collect();
        }
        shown
    }

    /// The holds on a delivery of a source's event.
    pub(super) fn holds_on(&self, source: &SourceName, delivery: &DeliveryDetail) -> Vec<&Hold> {
        if delivery.state.is_final() {
            return Vec::new();
        }
        let on = |held: &&Hold| held.hold.scope.covers(source, &delivery.target);
        self.holds.iter().filter(on).collect()
    }

    /// The reason why a delivery waits, and the time of its next try, if known. None once it is over or under way.
    fn waiting(
        &self,
        source: &SourceName,
        delivery: &DeliveryDetail,
    ) -> Option<(Value, Option<Timestamp>)> {
        use weir_core::delivery::DeliveryState::{Pending, Retrying};
        if !matches!(delivery.state, Pending | Retrying) {
            return None;
        }
        let due = delivery.due_at;
        let later = |until: Option<Timestamp>| due.max(until);
        let holds = self.holds_on(source, delivery);
        if let Some(held) = holds.iter().find(|held| !is_breaker_hold(&held.hold)) {
            let Hold { id, hold, .. } = held;
            let waiting = json!({
                "for": "hold", "hold": id, "scope": hold.scope.to_string(), "by": hold.by, "reason": hold.reason,
                "until": hold.until,
            });
            return Some((waiting, hold.until.and_then(|until| later(Some(until)))));
        }
        let standing = self.standings.get(&delivery.target.to_string());
        if let Some(TargetState { state, reason, next_try }) = standing.filter(|s| s.state != "ok")
        {
            let next = later(*next_try);
            let hold = holds.first().map(|held| held.id);
            let waiting =
                json!({ "for": state, "hold": hold, "reason": reason, "until": next_try });
            return Some((waiting, next));
        }
        match due.filter(|due| *due > self.now) {
            Some(due) => Some((json!({ "for": "retry", "until": due }), Some(due))),
            None => Some((json!({ "for": "turn" }), due)),
        }
    }
}

fn of_kind(kind: &str, state: &str, reason: &str, items: &Value) -> BTreeMap<String, TargetState> {
    let items = items.as_array().into_iter().flatten();
    let standing = |item: &Value| {
        let standing = TargetState {
            state: item[state].as_str().unwrap_or("ok").to_owned(),
            reason: item[reason].as_str().map(str::to_owned),
            next_try: serde_json::from_value(item["next_try"].clone()).ok(),
        };
        Some((format!("{kind}:{}", item["name"].as_str()?), standing))
    };
    items.filter_map(standing).collect()
}

#[cfg(test)]
mod tests {
    use weir_core::delivery::DeliveryState;
    use weir_core::id::{DeliveryId, EventId};
    use weir_store::hold::{HoldId, HoldScope, NewHold};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);

    fn at(seconds: u64) -> Timestamp {
        NOW.after(std::time::Duration::from_secs(seconds))
    }

    fn waits(state: &str, next_try: Option<Timestamp>) -> Waits {
        let items = json!([{
            "name": "ops", "state": state, "reason": "answered 429", "next_try": next_try,
        }]);
        let standings = of_kind("destination", "state", "reason", &items);
        Waits { holds: Vec::new(), standings, now: at(10) }
    }

    fn delivery(due_at: Option<Timestamp>) -> DeliveryDetail {
        DeliveryDetail {
            id: DeliveryId::from_bits(1),
            event: EventId::from_bits(2),
            cause: None,
            message: None,
            target: "destination:ops".parse().unwrap(),
            state: DeliveryState::Retrying,
            held: false,
            generation: 0,
            attempts: 1,
            due_at,
            reason: None,
            history: Vec::new(),
        }
    }

    fn told(waits: &Waits, delivery: &DeliveryDetail) -> (String, Option<Timestamp>) {
        let (waiting, due) = waits.waiting(&SourceName::stored("github"), delivery).unwrap();
        (waiting["for"].as_str().unwrap().to_owned(), due)
    }

    #[test]
    fn a_delivery_is_due_when_its_target_is_tried_again_and_not_before() {
        let told = |state: &str, next, due| told(&waits(state, next), &delivery(due));
        assert_eq!(told("paused", Some(at(60)), Some(at(5))), ("paused".into(), Some(at(60))));
        assert_eq!(told("paused", Some(at(60)), Some(at(90))), ("paused".into(), Some(at(90))));
        assert_eq!(told("failing", Some(at(30)), None), ("failing".into(), Some(at(30))));
        assert_eq!(told("ok", None, Some(at(20))), ("retry".into(), Some(at(20))));
        assert_eq!(told("ok", None, Some(at(5))), ("turn".into(), Some(at(5))));
        assert_eq!(told("ok", None, None), ("turn".into(), None));
    }

    #[test]
    fn a_hold_without_an_end_says_no_time() {
        let scope = HoldScope::Source(SourceName::stored("github"));
        let hold = NewHold { scope, reason: "flood".into(), by: "operator".into(), until: None };
        let mut waits = waits("failing", Some(at(30)));
        waits.holds.push(Hold { id: HoldId(3), hold, at: NOW });
        assert_eq!(told(&waits, &delivery(Some(at(5)))), ("hold".into(), None));
        waits.holds[0].hold.until = Some(at(50));
        assert_eq!(told(&waits, &delivery(Some(at(5)))), ("hold".into(), Some(at(50))));
        let over = DeliveryDetail { state: DeliveryState::Processed, ..delivery(None) };
        assert_eq!(waits.waiting(&SourceName::stored("github"), &over), None);
    }
}
