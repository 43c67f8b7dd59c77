//! The path of an event as steps in the order of time: one for each delivery and message, with its
//! attempts, and what comes next. Pure.

use weir_core::delivery::DeliveryState;
use weir_core::name::Target;
use weir_core::time::Timestamp;

use crate::api::{AttemptView, DeliveryView, EventView, WaitReason};

/// A delivery of the event, or a message that one of its runs sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct PathStep<'a> {
    pub(super) delivery: &'a DeliveryView,
    /// The handler whose run sent it; none for a delivery of the event itself.
    pub(super) sent_by: Option<&'a Target>,
}

impl PathStep<'_> {
    /// The time of its first attempt, or of its next one.
    pub(super) fn begins(&self) -> Timestamp {
        let first = self.delivery.history.first().map(|attempt| attempt.started_at);
        first.or(self.delivery.due_at).unwrap_or(Timestamp::from_millis(u64::MAX))
    }

    /// True if it waits for another attempt.
    pub(super) fn waits(&self) -> bool {
        matches!(self.delivery.state, DeliveryState::Pending | DeliveryState::Retrying)
    }

    /// The time at which it is tried next, if that is known.
    pub(super) fn next_try(&self) -> Option<Timestamp> {
        match &self.delivery.waiting {
            Some(WaitReason::Retry { until }) => Some(*until),
            Some(WaitReason::Failing { until, .. } | WaitReason::Paused { until, .. }) => *until,
            Some(WaitReason::Hold { until, .. }) => *until,
            Some(WaitReason::Turn) | None => self.delivery.due_at,
        }
    }
}

/// The deliveries of an event and the messages of their runs, in the order of their first attempt.
pub(super) fn steps(event: &EventView) -> Vec<PathStep<'_>> {
    let mut steps = Vec::new();
    for delivery in &event.deliveries {
        steps.push(PathStep { delivery, sent_by: None });
        for message in delivery.history.iter().flat_map(|attempt| &attempt.messages) {
            steps.push(PathStep { delivery: message, sent_by: Some(&delivery.target) });
        }
    }
    steps.sort_by_key(PathStep::begins);
    steps
}

/// Attempts as they are shown: the first ones and the last three, the others folded.
pub(super) struct ShownAttempts<'a> {
    pub(super) first: &'a [AttemptView],
    pub(super) folded: &'a [AttemptView],
    pub(super) last: &'a [AttemptView],
}

/// More attempts than these are folded.
const SHOWN_MAX: usize = 6;

/// Decides which attempts are folded.
pub(super) fn shown(attempts: &[AttemptView]) -> ShownAttempts<'_> {
    if attempts.len() <= SHOWN_MAX {
        return ShownAttempts { first: attempts, folded: &[], last: &[] };
    }
    let (first, rest) = attempts.split_at(1);
    let (folded, last) = rest.split_at(rest.len() - 3);
    ShownAttempts { first, folded, last }
}

/// The time of the last thing that happened to an event.
pub(super) fn last_moment(event: &EventView) -> Timestamp {
    let ends = steps(event).into_iter().flat_map(|step| &step.delivery.history).map(ended);
    ends.max().unwrap_or(event.received_at)
}

/// The end of an attempt.
pub(super) fn ended(attempt: &AttemptView) -> Timestamp {
    attempt.started_at.after(std::time::Duration::from_micros(attempt.duration_us))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attempt(number: u32, second: u32) -> serde_json::Value {
        json!({
            "id": "att_00000000000000000000000001", "generation": 0, "number": number,
            "started_at": format!("2026-11-28T18:40:{second:02}.000Z"), "duration_us": 2_000,
            "outcome": "status", "reason": null, "version": null, "log": null,
            "response_status": 503, "response_snippet": null, "messages": [], "emitted": [],
        })
    }

    fn delivery(target: &str, history: &[serde_json::Value]) -> serde_json::Value {
        json!({
            "id": "dlv_00000000000000000000000001", "event": "evt_00000000000000000000000001",
            "cause": null, "message": null, "target": target, "state": "retrying", "held": false,
            "generation": 0, "attempts": history.len(), "due_at": null, "reason": null,
            "history": history,
        })
    }

    fn event(deliveries: &[serde_json::Value]) -> EventView {
        serde_json::from_value(json!({
            "id": "evt_00000000000000000000000001", "source": "stripe", "type": "charge",
            "category": null, "delivery_id": null, "received_at": "2026-11-28T18:40:00.000Z",
            "status": "retrying", "id_reused": false, "request": null, "parent": null,
            "table": "ab", "size": 10, "deliveries": deliveries,
        }))
        .unwrap()
    }

    #[test]
    fn a_message_stands_after_the_run_that_sent_it() {
        let mut run = attempt(1, 1);
        run["messages"] = json!([delivery("destination:ledger", &[attempt(1, 3)])]);
        let event = event(&[
            delivery("destination:chat", &[attempt(1, 2)]),
            delivery("handler:orders", &[run]),
        ]);
        let order: Vec<_> =
            steps(&event).iter().map(|step| step.delivery.target.to_string()).collect();
        assert_eq!(order, ["handler:orders", "destination:chat", "destination:ledger"]);
        assert!(steps(&event)[2].sent_by.is_some());
        assert_eq!(last_moment(&event).to_string(), "2026-11-28T18:40:03.002Z");
    }

    #[test]
    fn many_attempts_fold_between_the_first_and_the_last_three() {
        let attempts = |count: u32| {
            let history: Vec<_> = (1..=count).map(|number| attempt(number, number)).collect();
            event(&[delivery("handler:orders", &history)]).deliveries.remove(0).history
        };
        let (few, many) = (attempts(6), attempts(11));
        assert_eq!((shown(&few).first.len(), shown(&few).folded.len()), (6, 0));
        let shown = shown(&many);
        assert_eq!((shown.first.len(), shown.folded.len(), shown.last.len()), (1, 7, 3));
        assert_eq!(shown.last[2].number, 11);
    }
}
