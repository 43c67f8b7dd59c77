//! What an endpoint's answer means: for the delivery, and for the endpoint. Pure.

use std::time::Duration;

use http::StatusCode;
use rand::Rng;
use weir_core::breaker::HealthSignal;
use weir_core::delivery::{self, NextState, Outcome, Verdict};
use weir_core::retry::RetryPolicy;
use weir_core::time::Timestamp;
use weir_core::units::format_duration;
use weir_store::{AttemptRecord, ResponseRecord};

/// How sending ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SendOutcome {
    /// It was taken, by a destination that gives no status.
    Accepted,
    /// The endpoint answered.
    Status {
        status: StatusCode,
        /// The wait that it asked for.
        retry_after: Option<Duration>,
        /// The first bytes of its body.
        snippet: Box<str>,
    },
    /// It did not answer within the limit.
    TimedOut { limit: Duration },
    /// It could not be reached, or broke off.
    Unreachable { reason: String },
    /// The guard did not let the message go there.
    Blocked { reason: String },
}

/// One attempt to send, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) answer: SendOutcome,
    pub(crate) started_at: Timestamp,
    pub(crate) duration: Duration,
}

/// What an attempt comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SendDecision {
    /// What to record of it.
    pub(crate) attempt: AttemptRecord,
    /// What becomes of the delivery.
    pub(crate) next: NextState,
    /// What it says about the endpoint.
    pub(crate) mark: HealthSignal,
    /// Whether it is to be sent less at once, and after which wait if it asked for one.
    pub(crate) slows: Option<Option<Duration>>,
}

/// Decides what an attempt comes to.
pub(crate) fn decide(
    sent: Sent,
    attempt: u32,
    policy: &RetryPolicy,
    random: &mut impl Rng,
) -> SendDecision {
    let Sent { answer, started_at, duration } = sent;
    let (outcome, verdict, mark) = judge(&answer);
    let next = delivery::decide(verdict, attempt, policy, policy.longest(), random);
    let (reason, slows) = (reason(&answer).map(Into::into), slows(&answer));
    let response = match answer {
        SendOutcome::Status { status, snippet, .. } => {
            Some(ResponseRecord { status: status.as_u16(), snippet })
        }
        _ => None,
    };
    let attempt =
        AttemptRecord { started_at, duration, outcome, reason, version: None, log: None, response };
    SendDecision { attempt, next, mark, slows }
}

fn judge(answer: &SendOutcome) -> (Outcome, Verdict, HealthSignal) {
    let again = Verdict::TryAgain { at_least: None };
    let (status, retry_after) = match answer {
        SendOutcome::Accepted => return (Outcome::Ok, Verdict::Done, HealthSignal::Healthy),
        SendOutcome::TimedOut { .. } => return (Outcome::Timeout, again, HealthSignal::Failed),
        SendOutcome::Unreachable { .. } => return (Outcome::Network, again, HealthSignal::Failed),
        // A matter of the configuration, the same for every message.
        SendOutcome::Blocked { .. } => {
            return (Outcome::Blocked, again, HealthSignal::TargetBroken);
        }
        SendOutcome::Status { status, retry_after, .. } => (*status, *retry_after),
    };
    let again = Verdict::TryAgain { at_least: retry_after };
    match status.as_u16() {
        200..300 => (Outcome::Ok, Verdict::Done, HealthSignal::Healthy),
        // About the message: it will be the same next time.
        400 | 413 | 415 | 422 => (Outcome::Status, Verdict::GiveUp, HealthSignal::MessageRejected),
        // It has gone in a circle, of hubs or of this one and others: again would only be once more.
        508 => (Outcome::Status, Verdict::GiveUp, HealthSignal::MessageRejected),
        // About the endpoint: it will be the same for every message, until people change it.
        401 | 403 | 404 | 405 | 410 => (Outcome::Status, again, HealthSignal::TargetBroken),
        429 => (Outcome::Status, again, HealthSignal::Busy),
        // Time can change all of these; and a redirect, which is not followed, people.
        _ => (Outcome::Status, again, HealthSignal::Failed),
    }
}

fn slows(answer: &SendOutcome) -> Option<Option<Duration>> {
    match answer {
        SendOutcome::Status { status, retry_after, .. }
            if matches!(status.as_u16(), 429 | 502 | 503 | 504) =>
        {
            Some(*retry_after)
        }
        _ => None,
    }
}

fn reason(answer: &SendOutcome) -> Option<String> {
    match answer {
        SendOutcome::Accepted => None,
        SendOutcome::Status { status, .. } if status.is_success() => None,
        SendOutcome::Status { status, .. } if status.is_redirection() => {
            Some(format!("answered {status}; redirects are not followed, so name the final URL"))
        }
        SendOutcome::Status { status, .. } if *status == StatusCode::LOOP_DETECTED => {
            Some(format!(
                "answered {status}: what is sent there comes back here; look for a route or handler that closes the circle"
            ))
        }
        SendOutcome::Status { status, .. } => Some(format!("answered {status}")),
        SendOutcome::TimedOut { limit } => {
            Some(format!("no answer within {}", format_duration(*limit)))
        }
        SendOutcome::Unreachable { reason } | SendOutcome::Blocked { reason } => {
            Some(reason.clone())
        }
    }
}

/// The wait that a `Retry-After` header asks for: seconds, or an HTTP date. Nonsense asks for nothing.
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX / 1000)));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    let at = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(at.saturating_sub(Duration::from_millis(now.as_millis())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use weir_core::retry::Backoff;

    use super::*;

    fn decided(answer: SendOutcome, attempt: u32) -> (Outcome, NextState, Option<Box<str>>) {
        let (first, max) = (Duration::from_secs(10), Duration::from_secs(100));
        let backoff = Backoff::Exponential { first, factor: 10.0, max };
        let policy = RetryPolicy::try_new(backoff, 3, 0.0).unwrap();
        let sent = Sent {
            answer,
            started_at: Timestamp::from_millis(1),
            duration: Duration::from_secs(1),
        };
        let decided = decide(sent, attempt, &policy, &mut StdRng::seed_from_u64(0));
        (decided.attempt.outcome, decided.next, decided.attempt.reason)
    }

    fn status(code: u16, retry_after: Option<u64>) -> SendOutcome {
        SendOutcome::Status {
            status: StatusCode::from_u16(code).unwrap(),
            retry_after: retry_after.map(Duration::from_secs),
            snippet: "".into(),
        }
    }

    fn retry(seconds: u64) -> NextState {
        NextState::Retry { delay: Duration::from_secs(seconds) }
    }

    #[test]
    fn every_status_has_its_consequence() {
        for code in 200..300 {
            assert_eq!(decided(status(code, None), 1), (Outcome::Ok, NextState::Processed, None));
        }
        for code in [400, 413, 415, 422, 508] {
            assert_eq!(decided(status(code, None), 1).1, NextState::DeadLetter, "{code}");
        }
        let endpoint = [401, 403, 404, 405, 410];
        let passing = [408, 409, 425, 429, 500, 501, 502, 503, 504, 599];
        for code in endpoint.into_iter().chain(passing).chain(300..309) {
            let (outcome, next, reason) = decided(status(code, None), 1);
            assert_eq!((outcome, next), (Outcome::Status, retry(10)), "{code}");
            assert!(reason.unwrap().contains(&code.to_string()));
        }
    }

    #[test]
    fn every_status_says_something_about_the_endpoint_too() {
        use HealthSignal::{Busy, Failed, Healthy, MessageRejected, TargetBroken};
        for (codes, mark) in [
            (&[200, 204, 299][..], Healthy),
            (&[400, 413, 415, 422, 508], MessageRejected),
            (&[401, 403, 404, 405, 410], TargetBroken),
            (&[429], Busy),
            (&[301, 308, 402, 408, 409, 425, 500, 501, 502, 503, 504, 599], Failed),
        ] {
            for code in codes {
                assert_eq!(judge(&status(*code, None)).2, mark, "{code}");
                let slowing = [429, 502, 503, 504].contains(code);
                assert_eq!(slows(&status(*code, None)).is_some(), slowing, "{code}");
            }
        }
        assert_eq!(slows(&status(429, Some(7))), Some(Some(Duration::from_secs(7))));
        let timeout = SendOutcome::TimedOut { limit: Duration::from_secs(15) };
        assert_eq!((judge(&timeout).2, slows(&timeout)), (Failed, None));
        assert_eq!(judge(&SendOutcome::Blocked { reason: String::new() }).2, TargetBroken);
        assert_eq!(judge(&SendOutcome::Accepted).2, Healthy);
    }

    #[test]
    fn the_last_attempt_makes_a_dead_letter() {
        assert_eq!(decided(status(503, None), 2).1, retry(100));
        assert_eq!(decided(status(503, None), 3).1, NextState::DeadLetter);
    }

    #[test]
    fn retry_after_lengthens_the_wait_up_to_the_longest_planned_and_never_shortens_it() {
        assert_eq!(decided(status(429, Some(3)), 1).1, retry(10));
        assert_eq!(decided(status(429, Some(60)), 1).1, retry(60));
        assert_eq!(decided(status(503, Some(9_999_999)), 1).1, retry(100));
    }

    #[test]
    fn failures_without_an_answer_are_tried_again_under_their_own_names() {
        let reason = || "connection refused".to_owned();
        for (answer, outcome) in [
            (SendOutcome::TimedOut { limit: Duration::from_secs(15) }, Outcome::Timeout),
            (SendOutcome::Unreachable { reason: reason() }, Outcome::Network),
            (SendOutcome::Blocked { reason: reason() }, Outcome::Blocked),
        ] {
            let (found, next, reason) = decided(answer, 1);
            assert_eq!((found, next), (outcome, retry(10)));
            assert!(reason.is_some());
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let now = Timestamp::from_millis(784_111_777_000);
        let read = |text| retry_after(text, now).map(|d| d.as_secs());
        assert_eq!(read(" 120 "), Some(120));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
        for nonsense in ["", "-5", "soon", "1.5"] {
            assert_eq!(read(nonsense), None, "{nonsense:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_breaks_the_reading_of_a_wait(text in ".{0,40}", digits in "[0-9]{1,40}") {
            let now = Timestamp::from_millis(1);
            let _ = retry_after(&text, now);
            prop_assert!(retry_after(&digits, now).is_some());
        }
    }
}
