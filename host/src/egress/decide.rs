//! Decides what follows from the end of a send: for the delivery, and for the destination. Pure,
//! and the same for every kind.

use rand::Rng;
use weir_core::breaker::HealthSignal;
use weir_core::delivery::{self, NextState, Outcome, Verdict};
use weir_core::retry::RetryPolicy;
use weir_core::time::Timestamp;
use weir_core::units::format_duration;
use weir_store::AttemptRecord;

use super::transport::{SendOutcome, Subject};
use crate::delivery::flow_control::Throttle;

/// One finished send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FinishedSend {
    pub(crate) outcome: SendOutcome,
    pub(crate) started_at: Timestamp,
    pub(crate) duration: std::time::Duration,
}

/// The consequences of a send.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SendDecision {
    pub(crate) attempt: AttemptRecord,
    pub(crate) next: NextState,
    /// For the destination's breaker.
    pub(crate) signal: HealthSignal,
    pub(crate) throttle: Throttle,
}

/// Decides what follows from a send that was attempt number `attempt` of its delivery.
pub(crate) fn decide(
    sent: FinishedSend,
    attempt: u32,
    policy: &RetryPolicy,
    random: &mut impl Rng,
) -> SendDecision {
    let FinishedSend { outcome: ended, started_at, duration } = sent;
    let (outcome, verdict, signal, throttle) = judge(&ended);
    let next = delivery::decide(verdict, attempt, policy, policy.longest(), random);
    let (response, reason) = match ended {
        SendOutcome::Accepted { receipt } => (receipt, None),
        SendOutcome::Rejected { response, detail, .. } => (Some(response), Some(detail)),
        SendOutcome::TimedOut { limit } => {
            (None, Some(format!("no response within {}", format_duration(limit)).into()))
        }
        SendOutcome::Unreachable { reason } | SendOutcome::Blocked { reason } => {
            (None, Some(reason))
        }
    };
    let attempt =
        AttemptRecord { started_at, duration, outcome, reason, version: None, log: None, response };
    SendDecision { attempt, next, signal, throttle }
}

fn judge(ended: &SendOutcome) -> (Outcome, Verdict, HealthSignal, Throttle) {
    let again = Verdict::TryAgain { at_least: None };
    let (about, retry_after) = match ended {
        SendOutcome::Accepted { .. } => {
            return (Outcome::Ok, Verdict::Done, HealthSignal::Healthy, Throttle::No);
        }
        SendOutcome::TimedOut { .. } => {
            return (Outcome::Timeout, again, HealthSignal::Failed, Throttle::No);
        }
        SendOutcome::Unreachable { .. } => {
            return (Outcome::Network, again, HealthSignal::Failed, Throttle::No);
        }
        // A matter of the configuration, the same for every message.
        SendOutcome::Blocked { .. } => {
            return (Outcome::Blocked, again, HealthSignal::TargetBroken, Throttle::No);
        }
        SendOutcome::Rejected { about, retry_after, .. } => (*about, *retry_after),
    };
    let again = Verdict::TryAgain { at_least: retry_after };
    let slow = retry_after.map_or(Throttle::Slow, Throttle::PauseFor);
    let (verdict, signal, throttle) = match about {
        Subject::Message => (Verdict::GiveUp, HealthSignal::MessageRejected, Throttle::No),
        Subject::Endpoint => (again, HealthSignal::TargetBroken, Throttle::No),
        Subject::Load => (again, HealthSignal::Busy, slow),
        Subject::Overload => (again, HealthSignal::Failed, slow),
        Subject::Failure => (again, HealthSignal::Failed, Throttle::No),
    };
    (Outcome::Status, verdict, signal, throttle)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use weir_core::retry::Backoff;
    use weir_store::ResponseRecord;

    use super::*;

    fn decided(outcome: SendOutcome, attempt: u32) -> SendDecision {
        let (first, max) = (Duration::from_secs(10), Duration::from_secs(100));
        let backoff = Backoff::Exponential { first, factor: 10.0, max };
        let policy = RetryPolicy::try_new(backoff, 3, 0.0).unwrap();
        let sent = FinishedSend {
            outcome,
            started_at: Timestamp::from_millis(1),
            duration: Duration::from_secs(1),
        };
        decide(sent, attempt, &policy, &mut StdRng::seed_from_u64(0))
    }

    fn rejected(about: Subject, retry_after: Option<u64>) -> SendOutcome {
        SendOutcome::Rejected {
            about,
            response: ResponseRecord { status: 400, snippet: "".into() },
            retry_after: retry_after.map(Duration::from_secs),
            detail: "no".into(),
        }
    }

    fn retry(seconds: u64) -> NextState {
        NextState::Retry { delay: Duration::from_secs(seconds) }
    }

    #[test]
    fn an_accepted_message_is_processed() {
        let receipt = Some(ResponseRecord { status: 204, snippet: "ok".into() });
        let decided = decided(SendOutcome::Accepted { receipt: receipt.clone() }, 1);
        assert_eq!((decided.next, decided.attempt.outcome), (NextState::Processed, Outcome::Ok));
        assert_eq!((decided.signal, decided.throttle), (HealthSignal::Healthy, Throttle::No));
        assert_eq!((decided.attempt.response, decided.attempt.reason), (receipt, None));
    }

    #[test]
    fn every_rejection_has_its_consequences() {
        use HealthSignal::{Busy, Failed, MessageRejected, TargetBroken};
        for (about, next, signal, throttle) in [
            (Subject::Message, NextState::DeadLetter, MessageRejected, Throttle::No),
            (Subject::Endpoint, retry(10), TargetBroken, Throttle::No),
            (Subject::Load, retry(10), Busy, Throttle::Slow),
            (Subject::Overload, retry(10), Failed, Throttle::Slow),
            (Subject::Failure, retry(10), Failed, Throttle::No),
        ] {
            let decided = decided(rejected(about, None), 1);
            assert_eq!((decided.next, decided.signal, decided.throttle), (next, signal, throttle));
            assert_eq!(decided.attempt.outcome, Outcome::Status);
            assert_eq!(decided.attempt.reason.as_deref(), Some("no"));
            assert!(decided.attempt.response.is_some());
        }
    }

    #[test]
    fn a_wait_asked_for_pauses_the_destination() {
        let pause = Throttle::PauseFor(Duration::from_secs(7));
        assert_eq!(decided(rejected(Subject::Load, Some(7)), 1).throttle, pause);
        assert_eq!(decided(rejected(Subject::Failure, Some(7)), 1).throttle, Throttle::No);
    }

    #[test]
    fn the_last_attempt_makes_a_dead_letter() {
        assert_eq!(decided(rejected(Subject::Failure, None), 2).next, retry(100));
        assert_eq!(decided(rejected(Subject::Failure, None), 3).next, NextState::DeadLetter);
    }

    #[test]
    fn a_wait_asked_for_lengthens_the_delay_up_to_the_longest_planned() {
        assert_eq!(decided(rejected(Subject::Load, Some(3)), 1).next, retry(10));
        assert_eq!(decided(rejected(Subject::Load, Some(60)), 1).next, retry(60));
        assert_eq!(decided(rejected(Subject::Overload, Some(9_999_999)), 1).next, retry(100));
    }

    #[test]
    fn failures_without_a_response_are_retried() {
        use HealthSignal::{Failed, TargetBroken};
        let reason = || "connection refused".into();
        let limit = Duration::from_secs(15);
        for (ended, outcome, signal) in [
            (SendOutcome::TimedOut { limit }, Outcome::Timeout, Failed),
            (SendOutcome::Unreachable { reason: reason() }, Outcome::Network, Failed),
            (SendOutcome::Blocked { reason: reason() }, Outcome::Blocked, TargetBroken),
        ] {
            let decided = decided(ended, 1);
            assert_eq!((decided.attempt.outcome, decided.next), (outcome, retry(10)));
            assert_eq!((decided.signal, decided.throttle), (signal, Throttle::No));
            assert!(decided.attempt.reason.is_some() && decided.attempt.response.is_none());
        }
    }
}
