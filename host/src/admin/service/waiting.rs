//! The reason why a delivery waits: a hold, a target that is failing or paused, its next attempt,
//! or its turn.

use std::collections::BTreeMap;

use weir_core::delivery::DeliveryState;
use weir_core::name::{SourceName, Target};
use weir_core::time::Timestamp;
use weir_store::StoreError;
use weir_store::hold::Hold;
use weir_store::query::{DeliveryDetail, EventDetail};

use super::targets::TargetState;
use super::{AdminService, views};
use crate::api::{DeliveryView, EventView, HealthState, WaitReason};
use crate::delivery::breakers::is_breaker_hold;

/// All present reasons to wait.
#[derive(Debug)]
pub(super) struct WaitReasons {
    holds: Vec<Hold>,
    targets: BTreeMap<Target, TargetState>,
    now: Timestamp,
}

impl AdminService {
    /// Reads the holds and the states of all targets.
    pub(super) async fn wait_reasons(&self) -> Result<WaitReasons, StoreError> {
        let (holds, targets) = (self.store.holds().await?, self.breaker_states());
        Ok(WaitReasons { holds, targets, now: self.clock.now() })
    }
}

impl WaitReasons {
    /// An event, each delivery with what it waits for.
    pub(super) fn event(&self, event: &EventDetail) -> EventView {
        let deliveries = event.deliveries.iter();
        let deliveries = deliveries.map(|delivery| self.delivery(&event.source, delivery));
        EventView { deliveries: deliveries.collect(), ..views::event(event) }
    }

    /// A delivery of an event of this source, with what it and its messages wait for.
    pub(super) fn delivery(&self, source: &SourceName, delivery: &DeliveryDetail) -> DeliveryView {
        let mut view = views::delivery(delivery);
        if let Some((waiting, due_at)) = self.reason(source, delivery) {
            view.due_at = due_at;
            view.waiting = Some(waiting);
        }
        // A hold on the source `@handler` covers the messages of a handler.
        let sent_by = match &delivery.target {
            Target::Handler(name) => SourceName::emitted_by(name),
            Target::Destination(_) => source.clone(),
        };
        for (attempt, stored) in view.history.iter_mut().zip(&delivery.history) {
            let messages = stored.messages.iter();
            attempt.messages = messages.map(|message| self.delivery(&sent_by, message)).collect();
        }
        view
    }

    /// The holds on a delivery of an event of this source.
    pub(super) fn holds_on(&self, source: &SourceName, delivery: &DeliveryDetail) -> Vec<&Hold> {
        if delivery.state.is_final() {
            return Vec::new();
        }
        let covers = |held: &&Hold| held.hold.scope.covers(source, &delivery.target);
        self.holds.iter().filter(covers).collect()
    }

    /// The reason why a delivery waits, and the time of its next attempt if that is known. None
    /// once it is done or while it is tried.
    fn reason(
        &self,
        source: &SourceName,
        delivery: &DeliveryDetail,
    ) -> Option<(WaitReason, Option<Timestamp>)> {
        if !matches!(delivery.state, DeliveryState::Pending | DeliveryState::Retrying) {
            return None;
        }
        let due = delivery.due_at;
        let holds = self.holds_on(source, delivery);
        if let Some(held) = holds.iter().find(|held| !is_breaker_hold(&held.hold)) {
            let until = held.hold.until;
            return Some((held_by(held), until.and_then(|until| due.max(Some(until)))));
        }
        let breaker_hold = holds.first().map(|held| held.id.0);
        let target = self.targets.get(&delivery.target);
        if let Some((state, waiting)) = target.and_then(|t| Some((t, paused(t, breaker_hold)?))) {
            return Some((waiting, due.max(state.next_try)));
        }
        match due.filter(|due| *due > self.now) {
            Some(until) => Some((WaitReason::Retry { until }, Some(until))),
            None => Some((WaitReason::Turn, due)),
        }
    }
}

fn held_by(held: &Hold) -> WaitReason {
    WaitReason::Hold {
        hold: held.id.0,
        scope: held.hold.scope.to_string(),
        by: held.hold.by.to_string(),
        reason: held.hold.reason.to_string(),
        until: held.hold.until,
    }
}

/// The reason to wait for a target that is not ok.
fn paused(target: &TargetState, hold: Option<u64>) -> Option<WaitReason> {
    let (reason, until) = (target.reason.clone(), target.next_try);
    match target.health {
        HealthState::Ok => None,
        HealthState::Failing => Some(WaitReason::Failing { hold, reason, until }),
        HealthState::Paused => Some(WaitReason::Paused { hold, reason, until }),
    }
}

#[cfg(test)]
mod tests {
    use weir_core::id::{DeliveryId, EventId};
    use weir_store::hold::{HoldId, HoldScope, NewHold};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);

    fn at(seconds: u64) -> Timestamp {
        NOW.after(std::time::Duration::from_secs(seconds))
    }

    fn ops() -> Target {
        "destination:ops".parse().unwrap()
    }

    fn reasons(health: HealthState, next_try: Option<Timestamp>) -> WaitReasons {
        let state = TargetState { health, reason: Some("answered 429".into()), next_try };
        WaitReasons { holds: Vec::new(), targets: [(ops(), state)].into(), now: at(10) }
    }

    fn delivery(due_at: Option<Timestamp>) -> DeliveryDetail {
        DeliveryDetail {
            id: DeliveryId::from_bits(1),
            event: EventId::from_bits(2),
            cause: None,
            message: None,
            target: ops(),
            state: DeliveryState::Retrying,
            held: false,
            generation: 0,
            attempts: 1,
            order_key: None,
            due_at,
            reason: None,
            history: Vec::new(),
        }
    }

    fn github() -> SourceName {
        SourceName::stored("github")
    }

    fn reason(reasons: &WaitReasons, due_at: Option<Timestamp>) -> (String, Option<Timestamp>) {
        let (waiting, due) = reasons.reason(&github(), &delivery(due_at)).unwrap();
        let json = serde_json::to_value(waiting).unwrap();
        (json["for"].as_str().unwrap().to_owned(), due)
    }

    #[test]
    fn a_delivery_is_due_when_its_target_is_tried_again() {
        let (paused, failing) = (HealthState::Paused, HealthState::Failing);
        let reason = |health, next, due| reason(&reasons(health, next), due);
        assert_eq!(reason(paused, Some(at(60)), Some(at(5))), ("paused".into(), Some(at(60))));
        assert_eq!(reason(paused, Some(at(60)), Some(at(90))), ("paused".into(), Some(at(90))));
        assert_eq!(reason(failing, Some(at(30)), None), ("failing".into(), Some(at(30))));
        assert_eq!(reason(HealthState::Ok, None, Some(at(20))), ("retry".into(), Some(at(20))));
        assert_eq!(reason(HealthState::Ok, None, Some(at(5))), ("turn".into(), Some(at(5))));
        assert_eq!(reason(HealthState::Ok, None, None), ("turn".into(), None));
    }

    #[test]
    fn a_hold_without_an_end_gives_no_time() {
        let scope = HoldScope::Source(github());
        let hold = NewHold { scope, reason: "flood".into(), by: "operator".into(), until: None };
        let mut reasons = reasons(HealthState::Failing, Some(at(30)));
        reasons.holds.push(Hold { id: HoldId(3), hold, at: NOW });
        assert_eq!(reason(&reasons, Some(at(5))), ("hold".into(), None));
        reasons.holds[0].hold.until = Some(at(50));
        assert_eq!(reason(&reasons, Some(at(5))), ("hold".into(), Some(at(50))));
        let done = DeliveryDetail { state: DeliveryState::Processed, ..delivery(None) };
        assert_eq!(reasons.reason(&github(), &done), None);
    }
}
