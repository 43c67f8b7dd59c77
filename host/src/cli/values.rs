//! Value parsers of flags. A value that every hub would refuse is refused here, with the name of
//! the flag.

use weir_core::delivery::EventStatus;
use weir_core::event::Category;
use weir_core::time::{Clock as _, Timestamp};
use weir_store::hold::{HoldScope, InvalidScope};

use crate::api::{ActOutcome, params};
use crate::runtime::clock::SystemClock;

/// `source:NAME`, `handler:NAME`, `destination:NAME` or `hub`.
pub(super) fn scope(text: &str) -> Result<String, InvalidScope> {
    text.parse::<HoldScope>().map(|_| text.to_owned())
}

/// A scope, or the number of a hold.
pub(super) fn scope_or_number(text: &str) -> Result<String, String> {
    match text.parse::<u64>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => scope(text).map_err(|error| format!("{error}, or the number of a hold")),
    }
}

/// The status of an event.
pub(super) fn status(text: &str) -> Result<EventStatus, String> {
    EventStatus::parse(text).ok_or_else(|| {
        let words: Vec<&str> = EventStatus::ALL.iter().map(|status| status.as_str()).collect();
        format!("write one of {}", words.join(", "))
    })
}

/// A category of events.
pub(super) fn category(text: &str) -> Result<Category, String> {
    Category::parse(text).ok_or_else(|| {
        let words: Vec<&str> = Category::ALL.iter().map(|category| category.as_str()).collect();
        format!("write one of {}", words.join(", "))
    })
}

/// The outcome of an act.
pub(super) fn act_outcome(text: &str) -> Result<ActOutcome, String> {
    let all = [ActOutcome::Done, ActOutcome::Refused, ActOutcome::Failed];
    let found = all.into_iter().find(|outcome| outcome.as_str() == text);
    found.ok_or_else(|| "write done, refused or failed".to_owned())
}

/// A time in the future.
pub(super) fn future_moment(text: &str) -> Result<String, params::InvalidValue> {
    params::future_moment(text, now()).map(|_| text.to_owned())
}

/// The reason of a hold.
pub(super) fn reason(text: &str) -> Result<String, params::InvalidValue> {
    params::reason(text).map(|()| text.to_owned())
}

/// The idempotency key of a replay.
pub(super) fn request_key(text: &str) -> Result<String, params::InvalidValue> {
    params::request_key(text).map(|()| text.to_owned())
}

/// The name of a token.
pub(super) fn token_name(text: &str) -> Result<String, params::InvalidValue> {
    params::token_name(text).map(|()| text.to_owned())
}

fn now() -> Timestamp {
    SystemClock.now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_value_is_refused_with_what_to_write() {
        assert_eq!(
            scope("mine").unwrap_err().to_string(),
            "unknown scope `mine`; use source:NAME, handler:NAME, destination:NAME or hub"
        );
        assert!(scope_or_number("mine").unwrap_err().ends_with("or the number of a hold"));
        assert_eq!(scope_or_number("12").as_deref(), Ok("12"));
        assert!(status("dead").unwrap_err().contains("dead_letter"));
        let past = future_moment("2020-01-01T00:00:00Z").unwrap_err().to_string();
        assert!(past.contains("past"), "{past}");
    }
}
