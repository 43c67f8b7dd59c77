//! Checks of flags while the command line is read: a value that every hub would refuse is refused here, with the name of
//! the flag.

use weir_core::time::{Clock as _, Timestamp};

use crate::admin::{query, scope};
use crate::runtime::clock::SystemClock;

/// Longest reason of a hold, in bytes.
const REASON_BYTES_MAX: usize = 500;
/// Longest name of a replay, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// `source:NAME`, `handler:NAME`, `destination:NAME`.
pub(super) fn scope(text: &str) -> Result<String, String> {
    scope::read(text).map(|_| text.to_owned())
}

/// The same, or the number of a hold.
pub(super) fn scope_or_number(text: &str) -> Result<String, String> {
    match text.parse::<u64>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => scope(text).map_err(|why| format!("{why}, or the number of a hold")),
    }
}

/// `handler:NAME` or `destination:NAME`.
pub(super) fn target(text: &str) -> Result<String, String> {
    query::target(text).map(|_| text.to_owned())
}

/// The name of a source.
pub(super) fn source(text: &str) -> Result<String, String> {
    query::source(text).map(|_| text.to_owned())
}

/// The type of an event, or a pattern of types.
pub(super) fn kind(text: &str) -> Result<String, String> {
    query::kind(text).map(|_| text.to_owned())
}

/// The status of an event.
pub(super) fn status(text: &str) -> Result<String, String> {
    query::status(text).map(|_| text.to_owned())
}

/// A moment, or how long ago.
pub(super) fn moment(text: &str) -> Result<String, String> {
    query::time(text, now()).map(|_| text.to_owned())
}

/// A moment to come, or in how long.
pub(super) fn moment_to_come(text: &str) -> Result<String, String> {
    query::time_to_come(text, now()).map(|_| text.to_owned())
}

/// One line, not too long.
pub(super) fn reason(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= REASON_BYTES_MAX;
    if fits && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(format!("a reason is one line of 1 to {REASON_BYTES_MAX} bytes"))
}

/// The name of a replay.
pub(super) fn name(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(format!("a name is 1 to {NAME_BYTES_MAX} letters, digits, dots, hyphens and underscores"))
}

fn now() -> Timestamp {
    SystemClock.now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_hub_takes_is_refused_with_what_it_takes() {
        let refused = |read: fn(&str) -> Result<String, String>, text| read(text).unwrap_err();
        let said = refused(scope, "mine");
        assert_eq!(said, "unknown scope `mine`; use source:NAME, handler:NAME or destination:NAME");
        assert!(refused(scope_or_number, "mine").ends_with("or the number of a hold"));
        assert_eq!(scope_or_number("12").as_deref(), Ok("12"));
        assert!(refused(target, "orders").contains("handler:NAME"));
        assert!(refused(status, "dead").contains("dead_letter"));
        assert!(refused(moment, "yesterday").contains("such as 90m"));
        assert!(refused(moment_to_come, "2020-01-01T00:00:00Z").contains("past"));
        assert!(kind("issues*").is_ok() && kind("").is_err());
        assert!(reason("a\nb").is_err() && name("a b").is_err());
    }
}
