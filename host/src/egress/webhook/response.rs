//! Turns an endpoint's HTTP response into a [`SendOutcome`]. Pure.

use std::time::Duration;

use http::StatusCode;
use weir_core::time::Timestamp;
use weir_store::ResponseRecord;

use crate::config::AcceptedStatuses;
use crate::egress::transport::{SendOutcome, Subject};

/// The outcome of a send that got this response.
pub(super) fn outcome(
    status: StatusCode,
    accept: &AcceptedStatuses,
    retry_after: Option<Duration>,
    snippet: Box<str>,
) -> SendOutcome {
    let response = ResponseRecord { status: status.as_u16(), snippet };
    if accept.contains(status.as_u16()) {
        return SendOutcome::Accepted { receipt: Some(response) };
    }
    let (about, detail) = (subject(status), detail(status).into());
    SendOutcome::Rejected { about, response, retry_after, detail }
}

/// The subject of a rejection.
fn subject(status: StatusCode) -> Subject {
    match status.as_u16() {
        400 | 413 | 415 | 422 => Subject::Message,
        // The message went in a circle, through other hubs or this one. Sending it again would do
        // the same.
        508 => Subject::Message,
        401 | 403 | 404 | 405 | 410 => Subject::Endpoint,
        429 => Subject::Load,
        502..=504 => Subject::Overload,
        // Redirects are here too: they are not followed.
        _ => Subject::Failure,
    }
}

fn detail(status: StatusCode) -> String {
    match status {
        StatusCode::LOOP_DETECTED => format!(
            "HTTP {status}: the message came back to this hub; \
             look for a route or handler that closes the circle"
        ),
        status if status.is_redirection() => {
            format!("HTTP {status}; redirects are not followed, use the final URL")
        }
        status if status.is_success() => {
            format!("HTTP {status}, which is not in the list `accept` of the destination")
        }
        status => format!("HTTP {status}"),
    }
}

/// The wait that a `Retry-After` header asks for, in seconds or as an HTTP date. None if it is
/// neither.
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
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

    use super::*;

    fn status(code: u16) -> StatusCode {
        StatusCode::from_u16(code).unwrap()
    }

    #[test]
    fn every_status_has_its_subject() {
        use Subject::{Endpoint, Failure, Load, Message, Overload};
        let accept = AcceptedStatuses::default();
        for code in 200..300 {
            let accepted = outcome(status(code), &accept, None, "".into());
            assert!(matches!(accepted, SendOutcome::Accepted { .. }), "{code}");
        }
        let others = (300..309).chain([402, 408, 409, 425, 500, 501, 599]).collect::<Vec<_>>();
        for (codes, about) in [
            (&[400, 413, 415, 422, 508][..], Message),
            (&[401, 403, 404, 405, 410], Endpoint),
            (&[429], Load),
            (&[502, 503, 504], Overload),
            (&others, Failure),
        ] {
            for code in codes {
                assert_eq!(subject(status(*code)), about, "{code}");
                assert!(detail(status(*code)).contains(&code.to_string()), "{code}");
            }
        }
    }

    #[test]
    fn the_outcome_keeps_status_wait_and_snippet() {
        let wait = Some(Duration::from_secs(7));
        let accept = AcceptedStatuses::default();
        let response = |status| ResponseRecord { status, snippet: "x".into() };
        assert_eq!(
            outcome(status(204), &accept, wait, "x".into()),
            SendOutcome::Accepted { receipt: Some(response(204)) }
        );
        assert_eq!(
            outcome(status(503), &accept, wait, "x".into()),
            SendOutcome::Rejected {
                about: Subject::Overload,
                response: response(503),
                retry_after: wait,
                detail: "HTTP 503 Service Unavailable".into(),
            }
        );
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let now = Timestamp::from_millis(784_111_777_000);
        let read = |text| retry_after(text, now).map(|d| d.as_secs());
        assert_eq!(read(" 120 "), Some(120));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
        for invalid in ["", "-5", "soon", "1.5"] {
            assert_eq!(read(invalid), None, "{invalid:?}");
        }
    }

    proptest! {
        #[test]
        fn any_retry_after_header_is_read(text in ".{0,40}", digits in "[0-9]{1,40}") {
            let now = Timestamp::from_millis(1);
            let _ = retry_after(&text, now);
            prop_assert!(retry_after(&digits, now).is_some());
        }
    }
}
