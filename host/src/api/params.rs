//! Values of parameters, read from text with an error that says what to write. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use thiserror::Error;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};
use weir_core::time::{Timestamp, millis};
use weir_core::units::{self, InvalidDuration};

use super::schema;

/// Longest cursor that is handed to the store, in bytes.
const CURSOR_BYTES_MAX: usize = 512;
/// Longest idempotency key of a replay, in bytes.
const REQUEST_KEY_BYTES_MAX: usize = 64;
/// Longest name of a token, in bytes.
const TOKEN_NAME_BYTES_MAX: usize = 64;
/// The shortest step of statistics.
const MINUTE: Duration = Duration::from_secs(60);
/// The longest step of statistics that need not be whole hours.
const HOUR: Duration = Duration::from_secs(3_600);
/// Longest reason of a hold, in bytes.
const REASON_BYTES_MAX: usize = 500;

/// Text that is not a value of its parameter, with what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InvalidValue(String);

impl InvalidValue {
    /// A refusal that says what to write.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// Serializes a type as its text, and reads it back.
macro_rules! as_text {
    ($name:ty) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// A point in time: a time, or how long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointInTime {
    At(Timestamp),
    Ago(Duration),
}

impl PointInTime {
    /// The time that is meant now.
    #[must_use]
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(ago) => Timestamp::from_millis(now.as_millis().saturating_sub(millis(ago))),
        }
    }
}

impl FromStr for PointInTime {
    type Err = InvalidValue;

    /// Reads RFC 3339, milliseconds since 1970, or a duration such as `90m`.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if let Ok(ms) = text.parse() {
            return Ok(Self::At(Timestamp::from_millis(ms)));
        }
        if let Ok(at) = text.parse::<jiff::Timestamp>() {
            let ms = u64::try_from(at.as_millisecond())
                .map_err(|_| InvalidValue("the time is before 1970".to_owned()))?;
            return Ok(Self::At(Timestamp::from_millis(ms)));
        }
        match units::parse_duration(text) {
            Ok(ago) => Ok(Self::Ago(ago)),
            Err(InvalidDuration::Zero) => Ok(Self::Ago(Duration::ZERO)),
            Err(_) => Err(InvalidValue(
                "write a time such as 2026-11-23T15:52:19Z, or how long ago, such as 90m or 2d"
                    .to_owned(),
            )),
        }
    }
}

impl fmt::Display for PointInTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => write!(f, "{time}"),
            Self::Ago(Duration::ZERO) => f.write_str("0s"),
            Self::Ago(ago) => f.write_str(&units::format_duration(*ago)),
        }
    }
}

as_text!(PointInTime);

impl PartialSchema for PointInTime {
    fn schema() -> RefOr<Schema> {
        let about = "A time in RFC 3339, milliseconds since 1970, or how long ago, such as 90m.";
        let object = ObjectBuilder::new().schema_type(Type::String).description(Some(about));
        object.examples(["1h", "2026-01-15T09:30:10.340Z"].map(Value::from)).into()
    }
}

impl ToSchema for PointInTime {}

/// Reads a time in the future: RFC 3339, milliseconds since 1970, or the time from now, such as
/// `2h`.
pub fn future_moment(text: &str, now: Timestamp) -> Result<Timestamp, InvalidValue> {
    let at = match units::parse_duration(text) {
        Ok(wait) => now.after(wait),
        Err(_) => text.parse::<PointInTime>().map(|moment| moment.resolve(now)).map_err(|_| {
            let form = "write a time such as 2026-11-23T15:52:19Z, or a time from now, such as 2h";
            InvalidValue(form.to_owned())
        })?,
    };
    if at > now { Ok(at) } else { Err(InvalidValue("the time is already past".to_owned())) }
}

/// The length of a step of statistics: whole minutes up to an hour, or whole hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step(Duration);

impl Step {
    #[must_use]
    pub fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Step {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let step = units::parse_duration(text).unwrap_or_default();
        let unit = if step <= HOUR { MINUTE } else { HOUR };
        if step.is_zero() || !step.as_millis().is_multiple_of(unit.as_millis()) {
            let form = "write whole minutes up to an hour, such as 5m, or whole hours, such as 6h";
            return Err(InvalidValue(form.to_owned()));
        }
        Ok(Self(step))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&units::format_duration(self.0))
    }
}

as_text!(Step);

impl PartialSchema for Step {
    fn schema() -> RefOr<Schema> {
        let about = "Whole minutes up to an hour, or whole hours.";
        let object = ObjectBuilder::new().schema_type(Type::String).description(Some(about));
        object.examples(["5m", "6h"].map(Value::from)).into()
    }
}

impl ToSchema for Step {}

/// The number of entries on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(usize);

impl Limit {
    /// Most entries of a page.
    pub const MAX: usize = 500;

    /// A limit, lowered to [`Limit::MAX`] and at least 1.
    #[must_use]
    pub fn clamped(entries: usize) -> Self {
        Self(entries.clamp(1, Self::MAX))
    }

    #[must_use]
    pub fn get(self) -> usize {
        self.0
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl FromStr for Limit {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text.parse() {
            Ok(entries @ 1..=Self::MAX) => Ok(Self(entries)),
            _ => Err(InvalidValue(format!("write a number from 1 to {}", Self::MAX))),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

as_text!(Limit);

impl PartialSchema for Limit {
    fn schema() -> RefOr<Schema> {
        let object = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        let object = object.maximum(Some(Self::MAX)).default(Some(Self::default().0.into()));
        object.description(Some("The number of entries on a page.")).into()
    }
}

impl ToSchema for Limit {}

/// The `next` of a page, which asks for the page after it. Its content is the store's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    #[must_use]
    pub fn into_inner(self) -> String {
        self.0
    }
}

impl FromStr for Cursor {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let plain = text.bytes().all(|b| b.is_ascii_graphic());
        if text.is_empty() || text.len() > CURSOR_BYTES_MAX || !plain {
            return Err(InvalidValue("write the `next` of the page before".to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

as_text!(Cursor);

impl PartialSchema for Cursor {
    fn schema() -> RefOr<Schema> {
        schema::text("The `next` of the page before.", "^[!-~]{1,512}$", "n4")
    }
}

impl ToSchema for Cursor {}

/// Checks the reason of a hold.
pub fn reason(text: &str) -> Result<(), InvalidValue> {
    let fits = !text.is_empty() && text.len() <= REASON_BYTES_MAX;
    if fits && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(InvalidValue(format!("a reason is one line of 1 to {REASON_BYTES_MAX} bytes")))
}

/// Checks the idempotency key of a replay.
pub fn request_key(text: &str) -> Result<(), InvalidValue> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !text.is_empty() && text.len() <= REQUEST_KEY_BYTES_MAX && text.bytes().all(plain) {
        return Ok(());
    }
    Err(InvalidValue(format!(
        "a key is 1 to {REQUEST_KEY_BYTES_MAX} letters, digits, dots, hyphens and underscores"
    )))
}

/// Checks the name of a token. The names of the hub itself and of clients without a token are not
/// free.
pub fn token_name(text: &str) -> Result<(), InvalidValue> {
    const TAKEN: [&str; 3] = ["weir", "operator", "anonymous"];
    if TAKEN.contains(&text) {
        return Err(InvalidValue(format!("`{text}` is a name of the hub's own; choose another")));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !text.is_empty() && text.len() <= TOKEN_NAME_BYTES_MAX && text.bytes().all(plain) {
        return Ok(());
    }
    Err(InvalidValue(format!(
        "a name is 1 to {TOKEN_NAME_BYTES_MAX} letters, digits, dots, hyphens and underscores"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let resolved = |text: &str| text.parse::<PointInTime>().unwrap().resolve(NOW).as_millis();
        assert_eq!(resolved("1759996400000"), 1_759_996_400_000);
        assert_eq!(resolved("2025-10-09T08:53:20Z"), NOW.as_millis());
        assert_eq!(resolved("1h"), NOW.as_millis() - 3_600_000);
        assert_eq!(resolved("0s"), NOW.as_millis());
        for bad in ["", "yesterday", "1960-01-01T00:00:00Z", "-1h"] {
            assert!(bad.parse::<PointInTime>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_moment_reads_back_what_it_writes() {
        for text in ["1h 30m", "0s", "2025-10-09T08:53:20Z"] {
            let moment: PointInTime = text.parse().unwrap();
            assert_eq!(moment.to_string().parse(), Ok(moment), "{text}");
        }
    }

    #[test]
    fn a_future_moment_lies_ahead() {
        let ms = NOW.as_millis();
        assert_eq!(future_moment("2h", NOW), Ok(Timestamp::from_millis(ms + 7_200_000)));
        assert!(future_moment("2027-01-01T00:00:00Z", NOW).is_ok());
        for bad in ["0s", "2020-01-01T00:00:00Z", "tomorrow", "", "-1h"] {
            assert!(future_moment(bad, NOW).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_limit_is_between_1_and_500() {
        for bad in ["0", "501", "-1", "many", ""] {
            assert!(bad.parse::<Limit>().is_err(), "{bad}");
        }
        assert_eq!("500".parse::<Limit>().map(Limit::get), Ok(500));
        assert_eq!(Limit::clamped(0).get(), 1);
    }

    #[test]
    fn a_step_is_whole_minutes_or_hours() {
        for good in ["1m", "5m", "1h", "6h", "1d"] {
            assert!(good.parse::<Step>().is_ok(), "{good}");
        }
        for bad in ["", "0s", "30s", "90s", "90m", "now"] {
            assert!(bad.parse::<Step>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cursor_is_short_and_plain() {
        for bad in ["", "a\0b", "a b", &"a".repeat(513)] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
        assert!("abc".parse::<Cursor>().is_ok());
    }

    #[test]
    fn a_reason_is_one_line_and_a_key_is_one_word() {
        assert!(reason("a bad release").is_ok() && request_key("mine-1").is_ok());
        assert!(reason("a\nb").is_err() && reason("").is_err());
        assert!(request_key("a b").is_err() && request_key("").is_err());
    }

    #[test]
    fn a_token_has_a_plain_name_that_is_not_the_hubs() {
        assert!(token_name("ci").is_ok() && token_name("ada.lovelace").is_ok());
        for bad in ["", "a b", "a/b", "operator", "weir", "anonymous", &"a".repeat(65)] {
            assert!(token_name(bad).is_err(), "{bad}");
        }
    }
}
