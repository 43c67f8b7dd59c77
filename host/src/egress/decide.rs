//! Decides what follows from the end of a send: for the delivery, and for the destination. Pure,
//! and the same for every kind.

use rand::Rng;
use weir_core::breaker::HealthSignal;
use weir_core::delivery::{self, NextState, Outcome, Verdict};
use weir_core::payload::Payload;
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
pub(crate) enum SendDecision {
    /// The attempt counts.
    Settle(Box<JudgedSend>),
    /// The destination could not take any message: the attempt does not count.
    GiveBack { signal: HealthSignal, reason: Box<str> },
}

/// The consequences of a send that counts as an attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JudgedSend {
    pub(crate) attempt: AttemptRecord,
    pub(crate) next: NextState,
    /// The answer that becomes an event.
    pub(crate) answer: Option<Box<Payload>>,
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
    let ended = match ended {
        SendOutcome::Unavailable { reason } => {
            return SendDecision::GiveBack { signal: HealthSignal::TargetBroken, reason };
        }
        counted => counted,
    };
    let (outcome, verdict, signal, throttle) = judge(&ended);
    let next = delivery::decide(verdict, attempt, policy, policy.longest(), random);
    let mut event = None;
    let (response, reason) = match ended {
        SendOutcome::Accepted { receipt } => (receipt, None),
        SendOutcome::Answered { receipt, answer } => {
            event = Some(answer);
            (Some(receipt), None)
        }
        SendOutcome::Rejected { response, detail, .. } => (Some(response), Some(detail)),
        SendOutcome::TimedOut { limit } => {
            (None, Some(format!("no response within {}", format_duration(limit)).into()))
        }
        SendOutcome::Unreachable { reason }
        | SendOutcome::Unavailable { reason }
        | SendOutcome::Refused { reason, .. }
        | SendOutcome::Blocked { reason }
        | SendOutcome::NotMade { reason, .. } => (None, Some(reason)),
    };
    let attempt = AttemptRecord {
        started_at,
        duration,
        outcome,
        reason,
        version: None,
        other: None,
        log: None,
        response,
        reads: None,
    };
    let judged = JudgedSend { attempt, next, answer: event, signal, throttle };
    SendDecision::Settle(Box::new(judged))
}

fn judge(ended: &SendOutcome) -> (Outcome, Verdict, HealthSignal, Throttle) {
    let again = Verdict::TryAgain { at_least: None };
    let (about, retry_after) = match ended {
        SendOutcome::Accepted { .. } | SendOutcome::Answered { .. } => {
            return (Outcome::Ok, Verdict::Done, HealthSignal::Healthy, Throttle::No);
        }
        SendOutcome::TimedOut { .. } => {
            return (Outcome::Timeout, again, HealthSignal::Failed, Throttle::No);
        }
        SendOutcome::Unreachable { .. } | SendOutcome::Unavailable { .. } => {
            return (Outcome::Network, again, HealthSignal::Failed, Throttle::No);
        }
        // A matter of the configuration, the same for every message.
        SendOutcome::Blocked { .. } => {
            return (Outcome::Blocked, again, HealthSignal::TargetBroken, Throttle::No);
        }
        SendOutcome::NotMade { outcome, .. } => {
            return (*outcome, Verdict::GiveUp, HealthSignal::MessageRejected, Throttle::No);
        }
        SendOutcome::Rejected { about, retry_after, .. } => (*about, *retry_after),
        SendOutcome::Refused { about, .. } => (*about, None),
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

    fn decided(outcome: SendOutcome, attempt: u32) -> JudgedSend {
        match any(outcome, attempt) {
            SendDecision::Settle(judged) => *judged,
            given_back => panic!("{given_back:?}"),
        }
    }

    fn any(outcome: SendOutcome, attempt: u32) -> SendDecision {
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
    fn an_answer_is_kept_for_the_settlement() {
        let receipt = ResponseRecord { status: 200, snippet: "ok".into() };
        let answer = Box::new(Payload::new("text/plain", "ok".into()));
        let outcome = SendOutcome::Answered { receipt: receipt.clone(), answer: answer.clone() };
        let decided = decided(outcome, 1);
        assert_eq!((decided.next, decided.signal), (NextState::Processed, HealthSignal::Healthy));
        assert_eq!((decided.answer, decided.attempt.response), (Some(answer), Some(receipt)));
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
    fn a_refusal_without_http_has_the_same_consequences() {
        for about in [Subject::Message, Subject::Endpoint, Subject::Load, Subject::Failure] {
            let refused = decided(SendOutcome::Refused { about, reason: "no".into() }, 1);
            let rejected = decided(rejected(about, None), 1);
            assert_eq!((refused.next, refused.signal), (rejected.next, rejected.signal));
            assert_eq!(refused.attempt.reason, rejected.attempt.reason);
        }
    }

    #[test]
    fn an_absent_destination_costs_no_attempt() {
        for attempt in [1, 3, 99] {
            let decided = any(SendOutcome::Unavailable { reason: "gone".into() }, attempt);
            let (signal, reason) = (HealthSignal::TargetBroken, "gone".into());
            assert_eq!(decided, SendDecision::GiveBack { signal, reason }, "{attempt}");
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
    fn a_message_that_cannot_be_made_is_a_dead_letter() {
        let (outcome, reason) = (Outcome::ConditionError, "no title".into());
        let decided = decided(SendOutcome::NotMade { outcome, reason }, 1);
        let outcome = (decided.attempt.outcome, decided.attempt.reason.as_deref());
        assert_eq!(outcome, (Outcome::ConditionError, Some("no title")));
        assert_eq!(decided.next, NextState::DeadLetter);
        assert_eq!(
            decided.signal,
            HealthSignal::MessageRejected,
            "the destination is not at fault"
        );
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
