//! The signal that the end of a run gives about its version. Pure; the core's breaker decides when
//! a version is paused.

use weir_core::breaker::HealthSignal;
use weir_core::delivery::Outcome;

/// The signal of a run that was attempt number `attempt` of its delivery; none if it says nothing
/// about the version.
///
/// A version is judged by the number of events that it fails on, not of runs. So one event that
/// crashes every run becomes a dead letter and pauses nothing. A failure that the handler reports
/// itself is not one of its version.
pub(super) fn signal(outcome: Outcome, attempt: u32) -> Option<HealthSignal> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_counts_once_against_a_version() {
        use HealthSignal::{Failed, Healthy, MessageRejected, RepeatedFailure};
        for outcome in Outcome::ALL {
            let expected = match outcome.as_str() {
                "ok" => [Some(Healthy); 2],
                "retry" | "reject" | "refused" => [Some(MessageRejected); 2],
                "timeout" | "out_of_memory" | "stack_overflow" | "too_much_data" | "crashed"
                | "bad_output" => [Some(Failed), Some(RepeatedFailure)],
                _ => [None; 2],
            };
            assert_eq!([signal(*outcome, 1), signal(*outcome, 2)], expected, "{outcome}");
        }
    }
}
