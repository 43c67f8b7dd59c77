//! The parameters of a request, read strictly: a mistyped filter is an error and never shows
//! everything.

use std::borrow::Cow;
use std::fmt;

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::Deserialize;
use serde::de::value::CowStrDeserializer;
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use thiserror::Error;

use super::error::ApiError;

/// Most parameters of a request.
const PARAMETERS_MAX: usize = 16;
/// Characters of an unknown parameter's name that an error repeats.
const NAME_SHOWN_CHARS: usize = 60;

/// The parameters of a request, as a handler function takes them.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self(parse(parts.uri.query())?))
    }
}

/// For paths that take no parameter.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParameters {}

/// A query that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum QueryError {
    #[error("more than {PARAMETERS_MAX} parameters")]
    TooMany,
    #[error("`{key}` is not a parameter here; {known}")]
    Unknown { key: String, known: String },
    #[error("`{key}` is given more than once")]
    Repeated { key: String },
    #[error("`{key}`: {why}")]
    Invalid { key: String, why: String },
    /// A value that its type refuses, before the name of its parameter is added.
    #[error("{0}")]
    Value(String),
}

impl QueryError {
    /// A value that its parameter does not take.
    pub(super) fn invalid(key: &str, why: impl fmt::Display) -> Self {
        Self::Invalid { key: key.to_owned(), why: why.to_string() }
    }

    /// The stable code.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown_parameter",
            _ => "invalid_parameter",
        }
    }

    fn of_parameter(self, key: &str) -> Self {
        match self {
            Self::Value(why) => Self::invalid(key, why),
            other => other,
        }
    }
}

impl de::Error for QueryError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Value(message.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let known = match expected {
            [] => "there are none".to_owned(),
            known => format!("there are {}", known.join(", ")),
        };
        Self::Unknown { key: field.chars().take(NAME_SHOWN_CHARS).collect(), known }
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::Value(format!("write one of {}", expected.join(", ")))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::Repeated { key: field.to_owned() }
    }
}

/// Reads the query of a URI.
pub(super) fn parse<T: DeserializeOwned>(raw: Option<&str>) -> Result<T, QueryError> {
    let pairs = form_urlencoded::parse(raw.unwrap_or("").as_bytes());
    let pairs: Vec<_> = pairs.take(PARAMETERS_MAX + 1).collect();
    if pairs.len() > PARAMETERS_MAX {
        return Err(QueryError::TooMany);
    }
    T::deserialize(QueryDeserializer { pairs: pairs.into_iter(), current: None })
}

type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Gives the parameters to a struct, as a map from text to text.
struct QueryDeserializer<'a> {
    pairs: std::vec::IntoIter<Pair<'a>>,
    current: Option<Pair<'a>>,
}

impl<'de> Deserializer<'de> for QueryDeserializer<'_> {
    type Error = QueryError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

impl<'de> MapAccess<'de> for QueryDeserializer<'_> {
    type Error = QueryError;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, QueryError> {
        self.current = self.pairs.next();
        let Some((key, _)) = &self.current else { return Ok(None) };
        seed.deserialize(CowStrDeserializer::new(Cow::Borrowed(&**key))).map(Some)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, QueryError> {
        let (key, value) = self.current.take().unwrap_or_default();
        seed.deserialize(ValueDeserializer(value)).map_err(|error| error.of_parameter(&key))
    }
}

/// Gives one value: text that a type reads as it likes, or `true` and `false`.
struct ValueDeserializer<'a>(Cow<'a, str>);

impl<'de> Deserializer<'de> for ValueDeserializer<'_> {
    type Error = QueryError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_str(&self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_some(self)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        let value = self.0.parse();
        visitor.visit_bool(value.map_err(|_| QueryError::Value("write true or false".to_owned()))?)
    }

    /// One of the words of an enum.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, QueryError> {
        visitor.visit_enum(CowStrDeserializer::new(self.0))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_core::delivery::EventStatus;
    use weir_core::time::Timestamp;

    use super::*;
    use crate::api::params::{Limit, PointInTime};
    use crate::api::{DeadLettersQuery, EventQuery, EventsQuery};

    fn events(raw: &str) -> Result<EventsQuery, QueryError> {
        parse(Some(raw))
    }

    #[test]
    fn a_full_query_is_read() {
        let query = events(
            "source=%40orders&type=a%2Fb&status=dead_letter&since=1h&until=2025-10-09T08:53:20Z&\
             limit=500&cursor=abc",
        )
        .unwrap();
        assert_eq!(query.source.to_string(), "@orders");
        assert_eq!(query.kind.to_string(), "a/b");
        assert_eq!(query.status.values(), [EventStatus::DeadLetter]);
        assert_eq!(query.since, Some("1h".parse().unwrap()));
        assert_eq!(query.until, Some(PointInTime::At(Timestamp::from_millis(1_760_000_000_000))));
        assert_eq!(query.limit.map(Limit::get), Some(500));
        assert_eq!(query.cursor.map(|cursor| cursor.into_inner()), Some("abc".to_owned()));
    }

    #[test]
    fn values_with_commas_between_them_are_alternatives() {
        let query = events("status=dead_letter,retrying&source=a,b,a&type=x%5C%2Cy,z*").unwrap();
        let statuses = [EventStatus::DeadLetter, EventStatus::Retrying];
        assert_eq!(query.status.values(), statuses);
        assert_eq!(query.source.to_string(), "a,b");
        let kinds: Vec<_> = query.kind.values().iter().map(|kind| kind.as_str()).collect();
        assert_eq!(kinds, ["x,y", "z*"]);
        for bad in ["status=dead_letter,", "source=,a", "type=a,,b", "status=dead_letter;retrying"]
        {
            assert_eq!(events(bad).unwrap_err().code(), "invalid_parameter", "{bad}");
        }
    }

    #[test]
    fn no_query_filters_nothing() {
        assert_eq!(parse(None), Ok(EventsQuery::default()));
        assert_eq!(parse(Some("")), Ok(NoParameters {}));
    }

    #[test]
    fn a_mistyped_query_is_refused_with_a_code() {
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
            assert_eq!(events(query).unwrap_err().code(), code, "{query}");
        }
        assert!(parse::<NoParameters>(Some("x")).is_err());
        let many = "a=1&".repeat(PARAMETERS_MAX + 1);
        assert_eq!(parse::<NoParameters>(Some(&many)), Err(QueryError::TooMany));
    }

    #[test]
    fn an_error_names_the_parameter_and_what_to_write() {
        let said = |query| events(query).unwrap_err().to_string();
        let all = "source, type, category, status, handler, destination, key, text, since, until, \
                   limit, cursor";
        assert_eq!(said("sorce=x"), format!("`sorce` is not a parameter here; there are {all}"));
        assert_eq!(said("type=a&type=b"), "`type` is given more than once");
        assert_eq!(said("limit=0"), "`limit`: write a number from 1 to 500");
        assert!(said("status=dead").contains("dead_letter"), "{}", said("status=dead"));
    }

    #[test]
    fn flags_and_targets_are_read() {
        assert!(parse::<EventQuery>(Some("full=yes")).is_err());
        assert_eq!(parse(Some("full=true")), Ok(EventQuery { full: Some(true) }));
        let dead_letters = |raw| parse::<DeadLettersQuery>(Some(raw));
        assert!(dead_letters("target=orders").is_err());
        let full = "target=handler:orders&source=github&type=pu*&since=1h&limit=3";
        assert!(dead_letters(full).is_ok());
    }

    proptest! {
        #[test]
        fn no_query_asks_for_a_page_above_the_limit(raw in "[a-z0-9=&%+.@:]{0,80}") {
            if let Ok(query) = events(&raw) {
                let limit = query.limit.unwrap_or_default().get();
                prop_assert!((1..=Limit::MAX).contains(&limit));
            }
        }
    }
}
