//! The value types of provider files: durations, sizes, one-or-several texts, categories.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::units;

/// A duration with its unit, such as `5m` or `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationText(pub Duration);

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text(deserializer, "a duration such as \"30s\"")?;
        units::parse_duration(&text).map(Self).map_err(D::Error::custom)
    }
}

/// Reads a string, or reports what was expected: a number has no unit.
fn text<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
) -> Result<String, D::Error> {
    struct ExpectedText(&'static str);
    impl Visitor<'_> for ExpectedText {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
    }
    deserializer.deserialize_str(ExpectedText(expected))
}

/// A size with its unit, such as `25MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeText(pub u64);

impl<'de> Deserialize<'de> for SizeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text(deserializer, "a size such as \"64KiB\"")?;
        units::parse_size(&text).map(|size| Self(size as u64)).map_err(D::Error::custom)
    }
}

/// A text, or a list of texts of which the first with a value counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OneOrMore(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = OneOrMore;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMore, E> {
                Ok(OneOrMore(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMore, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = seq.next_element()? {
                    texts.push(text);
                }
                Ok(OneOrMore(texts))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The category of a type: fixed, or chosen by the field that `by` names.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum CategoryEntry {
    Fixed(String),
    /// The category for each text of the field, and under `by` the selectors of the field.
    By(BTreeMap<String, String>),
}

/// The key that names the deciding field.
pub(super) const BY: &str = "by";

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Doc {
        span: Option<DurationText>,
        size: Option<SizeText>,
        texts: Option<OneOrMore>,
    }

    #[test]
    fn values_have_units() {
        let doc: Doc = toml::from_str("span = '1h 30m'\nsize = '25MiB'\ntexts = 'a'").unwrap();
        assert_eq!(doc.span, Some(DurationText(Duration::from_secs(5400))));
        assert_eq!(doc.size, Some(SizeText(25 * 1024 * 1024)));
        assert_eq!(doc.texts, Some(OneOrMore(vec!["a".into()])));
        let doc: Doc = toml::from_str("texts = ['a', 'b']").unwrap();
        assert_eq!(doc.texts.unwrap().0.len(), 2);
    }

    #[test]
    fn a_value_without_unit_or_not_positive_is_refused() {
        for text in [
            "span = '300'",
            "span = 300",
            "span = '-5m'",
            "span = '0s'",
            "size = '0B'",
            "size = 5",
            "size = 'big'",
        ] {
            assert!(toml::from_str::<Doc>(text).is_err(), "{text}");
        }
    }
}
