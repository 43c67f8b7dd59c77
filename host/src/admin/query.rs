//! What follows the `?`: read strictly, so that a filter with a slip of the pen never shows everything. Pure.

use std::borrow::Cow;
use std::time::Duration;

use thiserror::Error;
use weir_core::delivery::{DeliveryState, EventStatus};
use weir_core::event::EventType;
use weir_core::name::{HUB_SOURCE, HandlerName, SourceName, Target};
use weir_core::time::Timestamp;
use weir_core::units::{self, InvalidDuration};
use weir_store::quarantine::QuarantineFilter;
use weir_store::query::{DeliveryFilter, EventFilter, PageRequest};

/// Most entries of a page.
pub(super) const LIMIT_MAX: usize = 500;
/// Entries of a page for which no limit was asked.
const LIMIT_DEFAULT: usize = 50;
/// Longest cursor that is handed to the store, in bytes.
const CURSOR_BYTES_MAX: usize = 512;
/// Most parameters of a request.
const PARAMETERS_MAX: usize = 16;
/// As much of what was sent is said back, in characters.
const SAID_BACK_CHARS_MAX: usize = 60;

/// A query that is not answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum QueryError {
    /// More than [`PARAMETERS_MAX`].
    #[error("more than {PARAMETERS_MAX} parameters")]
    TooMany,
    /// A parameter that is not known here.
    #[error("`{key}` is not a parameter here; {known}")]
    Unknown { key: String, known: String },
    /// A parameter given twice.
    #[error("`{key}` is given more than once")]
    Repeated { key: &'static str },
    /// A value that makes no sense.
    #[error("`{key}`: {why}")]
    Invalid { key: &'static str, why: String },
}

impl QueryError {
    /// The stable code.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown_parameter",
            Self::TooMany | Self::Repeated { .. } | Self::Invalid { .. } => "invalid_parameter",
        }
    }
}

/// The parameters of a request, taken out one by one; what is left at the end is unknown.
#[derive(Debug)]
pub(super) struct Query<'a> {
    left: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    known: Vec<&'static str>,
}

impl<'a> Query<'a> {
    /// Reads the query of a URI.
    pub(super) fn parse(raw: Option<&'a str>) -> Result<Self, QueryError> {
        let pairs = form_urlencoded::parse(raw.unwrap_or("").as_bytes());
        let left: Vec<_> = pairs.take(PARAMETERS_MAX + 1).collect();
        if left.len() > PARAMETERS_MAX {
            return Err(QueryError::TooMany);
        }
        Ok(Self { left, known: Vec::new() })
    }

    /// Takes a parameter out.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, QueryError> {
        self.known.push(key);
        let Some(at) = self.left.iter().position(|(k, _)| k == key) else { return Ok(None) };
        let (_, value) = self.left.swap_remove(at);
        if self.left.iter().any(|(k, _)| k == key) {
            return Err(QueryError::Repeated { key });
        }
        read(&value).map(Some).map_err(|why| QueryError::Invalid { key, why })
    }

    /// Refuses what is left.
    pub(super) fn finish(self) -> Result<(), QueryError> {
        let Some((key, _)) = self.left.first() else { return Ok(()) };
        let known = match &self.known[..] {
            [] => "there are none".to_owned(),
            known => format!("there are {}", known.join(", ")),
        };
        Err(QueryError::Unknown { key: said_back(key), known })
    }
}

fn said_back(text: &str) -> String {
    text.chars().take(SAID_BACK_CHARS_MAX).collect()
}

/// Refuses every parameter.
pub(super) fn none(raw: Option<&str>) -> Result<(), QueryError> {
    Query::parse(raw)?.finish()
}

/// `source`, `type`, `status`, `since`, `until`, `limit`, `cursor`.
pub(super) fn events(
    raw: Option<&str>,
    now: Timestamp,
) -> Result<(EventFilter, PageRequest), QueryError> {
    let mut query = Query::parse(raw)?;
    let filter = EventFilter {
        source: query.take("source", source)?,
        kind: query.take("type", kind)?,
        status: query.take("status", status)?,
        since: query.take("since", |t| time(t, now))?,
        until: query.take("until", |t| time(t, now))?,
    };
    let page = page(&mut query)?;
    query.finish()?;
    Ok((filter, page))
}

/// `target`, `source`, `type`, `since`, `until`, `limit`, `cursor`.
pub(super) fn dead_letters(
    raw: Option<&str>,
    now: Timestamp,
) -> Result<(DeliveryFilter, PageRequest), QueryError> {
    let mut query = Query::parse(raw)?;
    let filter = DeliveryFilter {
        state: Some(DeliveryState::DeadLetter),
        target: query.take("target", target)?,
        of: EventFilter {
            source: query.take("source", source)?,
            kind: query.take("type", kind)?,
            status: None,
            since: query.take("since", |t| time(t, now))?,
            until: query.take("until", |t| time(t, now))?,
        },
    };
    let page = page(&mut query)?;
    query.finish()?;
    Ok((filter, page))
}

/// `scope`.
pub(super) fn holds(raw: Option<&str>) -> Result<Option<String>, QueryError> {
    let mut query = Query::parse(raw)?;
    let scope = query.take("scope", |t| Ok(t.to_owned()))?;
    query.finish()?;
    Ok(scope)
}

/// `source`, `released`, `limit`, `cursor`.
pub(super) fn quarantine(raw: Option<&str>) -> Result<QuarantineFilter, QueryError> {
    let mut query = Query::parse(raw)?;
    let source = query.take("source", source)?;
    let released =
        query.take("released", |t| t.parse().map_err(|_| "write true or false".to_owned()))?;
    let page = page(&mut query)?;
    query.finish()?;
    let after = page.after.map(|text| text.parse()).transpose();
    let invalid =
        |_| QueryError::Invalid { key: "cursor", why: "not a cursor that was given out".into() };
    Ok(QuarantineFilter {
        source: source.map(|source| source.as_str().into()),
        include_released: released.unwrap_or(false),
        after: after.map_err(invalid)?,
        oldest_first: false,
        limit: page.limit,
    })
}

/// `full`: the whole payload and not its first bytes.
pub(super) fn full(raw: Option<&str>) -> Result<bool, QueryError> {
    let mut query = Query::parse(raw)?;
    let full = query.take("full", |t| t.parse().map_err(|_| "write true or false".to_owned()))?;
    query.finish()?;
    Ok(full.unwrap_or(false))
}

fn page(query: &mut Query<'_>) -> Result<PageRequest, QueryError> {
    let limit = query.take("limit", |t| match t.parse() {
        Ok(limit @ 1..=LIMIT_MAX) => Ok(limit),
        _ => Err(format!("write a number from 1 to {LIMIT_MAX}")),
    })?;
    let after = query.take("cursor", |t| {
        if t.is_empty() || t.len() > CURSOR_BYTES_MAX || !t.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("not a cursor that was given out".to_owned());
        }
        Ok(t.to_owned())
    })?;
    Ok(PageRequest { limit: limit.unwrap_or(LIMIT_DEFAULT), after })
}

pub(crate) fn target(text: &str) -> Result<Target, String> {
    text.parse()
        .map_err(|_| format!("`{}` is not `handler:NAME` or `destination:NAME`", said_back(text)))
}

pub(crate) fn source(text: &str) -> Result<SourceName, String> {
    let emitted = |name: &str| HandlerName::new(name).map(|name| SourceName::emitted_by(&name));
    let name = match text.strip_prefix('@') {
        Some(handler) => emitted(handler),
        None if text == HUB_SOURCE => Ok(SourceName::hub()),
        None => SourceName::configured(text),
    };
    name.map_err(|error| error.to_string())
}

/// A type; `*` in it stands for any run of characters.
pub(crate) fn kind(text: &str) -> Result<EventType, String> {
    EventType::new(text).map_err(|error| error.to_string())
}

pub(crate) fn status(text: &str) -> Result<EventStatus, String> {
    EventStatus::parse(text).ok_or_else(|| {
        let words: Vec<&str> = EventStatus::ALL.iter().map(|status| status.as_str()).collect();
        format!("write one of {}", words.join(", "))
    })
}

/// An instant: RFC 3339, milliseconds since 1970, or how long ago, such as `90m`.
pub(crate) fn time(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(ms) = text.parse() {
        return Ok(Timestamp::from_millis(ms));
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        let ms = u64::try_from(at.as_millisecond()).map_err(|_| "lies before 1970".to_owned())?;
        return Ok(Timestamp::from_millis(ms));
    }
    let ago = match units::parse_duration(text) {
        Ok(ago) => ago,
        Err(InvalidDuration::Zero) => Duration::ZERO,
        Err(_) => {
            return Err(
                "write a time such as 2026-11-23T15:52:19Z, or how long ago, such as 90m or 2d"
                    .into(),
            );
        }
    };
    let ms = now.as_millis().saturating_sub(weir_core::time::millis(ago));
    Ok(Timestamp::from_millis(ms))
}

/// An instant to come: RFC 3339, milliseconds since 1970, or in how long, such as `2h`.
pub(crate) fn time_to_come(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let at = match units::parse_duration(text) {
        Ok(wait) => now.after(wait),
        Err(_) => time(text, now).map_err(|_| {
            "write a time such as 2026-11-23T15:52:19Z, or in how long, such as 2h".to_owned()
        })?,
    };
    if at > now { Ok(at) } else { Err("is past already".into()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);

    #[test]
    fn a_full_query_is_read() {
        let (filter, page) = events(
            Some("source=%40orders&type=a%2Fb&status=dead_letter&since=1h&until=2025-10-09T08:53:20Z&limit=500&cursor=abc"),
            NOW,
        )
        .unwrap();
        assert_eq!(filter.source.unwrap().as_str(), "@orders");
        assert_eq!(filter.kind.unwrap().as_str(), "a/b");
        assert_eq!(filter.status, Some(EventStatus::DeadLetter));
        assert_eq!(filter.since, Some(Timestamp::from_millis(1_759_996_400_000)));
        assert_eq!(filter.until, Some(NOW));
        assert_eq!(page, PageRequest { limit: 500, after: Some("abc".to_owned()) });
    }

    #[test]
    fn no_query_asks_for_the_newest_page() {
        let (filter, page) = events(None, NOW).unwrap();
        assert_eq!(filter, EventFilter::default());
        assert_eq!(page, PageRequest { limit: LIMIT_DEFAULT, after: None });
    }

    #[test]
    fn a_time_to_come_is_a_moment_or_a_wait_and_lies_ahead() {
        let ms = NOW.as_millis();
        assert_eq!(time_to_come("2h", NOW), Ok(Timestamp::from_millis(ms + 7_200_000)));
        assert!(time_to_come("2027-01-01T00:00:00Z", NOW).is_ok());
        for bad in ["0s", "2020-01-01T00:00:00Z", "tomorrow", "", "-1h"] {
            assert!(time_to_come(bad, NOW).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_refused() {
        for (query, code) in [
            ("sorce=github", "unknown_parameter"),
            ("source=github&source=stripe", "invalid_parameter"),
            ("source=Git Hub", "invalid_parameter"),
            ("source=", "invalid_parameter"),
            ("type=a%0Ab", "invalid_parameter"),
            ("status=dead", "invalid_parameter"),
            ("since=yesterday", "invalid_parameter"),
            ("since=1960-01-01T00:00:00Z", "invalid_parameter"),
            ("limit=0", "invalid_parameter"),
            ("limit=501", "invalid_parameter"),
            ("limit=-1", "invalid_parameter"),
            ("cursor=", "invalid_parameter"),
            ("cursor=a%00b", "invalid_parameter"),
            ("target=handler:orders", "unknown_parameter"),
        ] {
            assert_eq!(events(Some(query), NOW).unwrap_err().code(), code, "{query}");
        }
        assert!(none(Some("x")).is_err() && none(Some("")).is_ok() && none(None).is_ok());
        assert!(full(Some("full=yes")).is_err() && full(Some("full=true")).unwrap());
        assert!(dead_letters(Some("target=orders"), NOW).is_err());
        assert!(
            dead_letters(
                Some("target=handler:orders&source=github&type=pu*&since=1h&limit=3"),
                NOW
            )
            .is_ok()
        );
        let many = "a=1&".repeat(PARAMETERS_MAX + 1);
        assert_eq!(none(Some(&many)), Err(QueryError::TooMany));
    }

    proptest! {
        #[test]
        fn no_query_makes_a_page_larger_than_the_limit(raw in "[a-z0-9=&%+.@:]{0,80}") {
            if let Ok((_, page)) = events(Some(&raw), NOW) {
                prop_assert!((1..=LIMIT_MAX).contains(&page.limit));
            }
        }
    }
}
