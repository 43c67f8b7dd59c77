//! Versions that are left alone: what a run's end says about its version, and who is told when that changes.
//!
//! What may not live here: when it is enough (the core's breaker says).

use weir_core::breaker::{BreakerChange, HealthSignal};
use weir_core::delivery::Outcome;
use weir_core::time::Timestamp;

use super::run::Runner;
use super::versions::HandlerRuntime;
use crate::gate::{AttemptEnd, AttemptPermit};
use crate::observe::notice::Notice;

/// What the end of attempt number `attempt` says about the version that ran; none if it says nothing.
///
/// A version is judged by the events that it fails with, not by how often it is run: one event that kills every run of
/// it becomes a dead letter by its own attempts, and holds nobody up. What a handler says itself is no failure of its
/// version: it did what it should.
pub(super) fn mark(outcome: Outcome, attempt: u32) -> Option<HealthSignal> {
    match outcome {
        Outcome::Ok => Some(HealthSignal::Healthy),
        Outcome::Retry | Outcome::Reject | Outcome::Refused => Some(HealthSignal::MessageRejected),
        Outcome::Timeout
        | Outcome::OutOfMemory
        | Outcome::StackOverflow
        | Outcome::TooMuchData
        | Outcome::Crashed
        | Outcome::BadOutput => {
            Some(if attempt == 1 { HealthSignal::Failed } else { HealthSignal::RepeatedFailure })
        }
        _ => None,
    }
}

impl Runner {
    /// A run has ended: tells the gate, and everybody else what that changed.
    pub(super) fn passed(
        &self,
        runtime: &HandlerRuntime,
        leave: AttemptPermit,
        (outcome, attempt, reason): (Outcome, u32, Option<&str>),
        started_at: Timestamp,
    ) {
        let Some(mark) = mark(outcome, attempt) else { return };
        let now = self.clock.now();
        let end = AttemptEnd { mark, slows: None, started_at, reason };
        let Some(change) = leave.ended(&end, now) else { return };
        self.keeper.tell();
        self.freed.notify_one();
        let handler = runtime.name.clone();
        match (change, runtime.gate.standing(now).record) {
            (BreakerChange::Opened(_), Some(record)) => {
                let (reason, next_try) = (record.reason, record.breaker.probe_at);
                tracing::error!(%handler, %reason, %next_try, "handler held: its events wait");
                self.notices.tell(Notice::HandlerHeld { handler, reason, at: now, next_try });
            }
            (BreakerChange::Reopened, Some(record)) => {
                let (reason, next_try) = (record.reason, record.breaker.probe_at);
                tracing::warn!(%handler, %reason, %next_try, "handler still held");
            }
            (BreakerChange::Closed { opened_at }, _) => {
                let held_for = now.since(opened_at);
                tracing::info!(%handler, ?held_for, "handler released: its events are handled again");
                self.notices.tell(Notice::HandlerReleased { handler, held_for });
            }
            // Another version has come in between.
            (_, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_judged_by_the_events_that_it_crashes_with_and_once_by_each() {
        use HealthSignal::{Failed, Healthy, MessageRejected, RepeatedFailure};
        for outcome in Outcome::ALL {
            let expected = match outcome.as_str() {
                "ok" => [Some(Healthy); 2],
                "retry" | "reject" | "refused" => [Some(MessageRejected); 2],
                "timeout" | "out_of_memory" | "stack_overflow" | "too_much_data" | "crashed"
                | "bad_output" => [Some(Failed), Some(RepeatedFailure)],
                _ => [None; 2],
            };
            assert_eq!([mark(*outcome, 1), mark(*outcome, 2)], expected, "{outcome}");
        }
    }
}
