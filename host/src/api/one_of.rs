//! Several values of one filter, written as one text with commas between them. Pure.

use std::fmt;

use serde::de::value::StringDeserializer;
use serde::de::{Error as _, IntoDeserializer as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most values of one filter.
pub const VALUES_MAX: usize = 20;

/// The values of a filter, of which one must apply; without values the filter is not used.
///
/// A comma inside a value is written `\,`, and a backslash before a comma `\\`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOf<T>(Vec<T>);

impl<T> Default for OneOf<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> OneOf<T> {
    #[must_use]
    pub fn values(&self) -> &[T] {
        &self.0
    }

    #[must_use]
    pub fn into_values(self) -> Vec<T> {
        self.0
    }

    /// True if the filter is not used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: PartialEq> OneOf<T> {
    /// Adds a value unless it is there. False if there are as many as allowed.
    pub(crate) fn add(&mut self, value: T) -> bool {
        if self.0.contains(&value) {
            return true;
        }
        let fits = self.0.len() < VALUES_MAX;
        if fits {
            self.0.push(value);
        }
        fits
    }
}

impl<T> From<Vec<T>> for OneOf<T> {
    fn from(values: Vec<T>) -> Self {
        Self(values)
    }
}

impl<T: fmt::Display> fmt::Display for OneOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&join(self.0.iter().map(ToString::to_string)))
    }
}

/// The text of values.
pub(crate) fn join(values: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut text = String::new();
    for (at, value) in values.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        let mut rest = value.as_ref().chars().peekable();
        while let Some(c) = rest.next() {
            let ends_or_escapes = matches!(rest.peek(), None | Some(',' | '\\'));
            if c == ',' || (c == '\\' && ends_or_escapes) {
                text.push('\\');
            }
            text.push(c);
        }
    }
    text
}

/// The values of a text.
pub(crate) fn split(text: &str) -> Vec<String> {
    let (mut values, mut value) = (Vec::new(), String::new());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let escaped = match c {
            '\\' => rest.next_if(|next| matches!(next, ',' | '\\')),
            _ => None,
        };
        match (c, escaped) {
            (_, Some(next)) => value.push(next),
            (',', None) => values.push(std::mem::take(&mut value)),
            (c, None) => value.push(c),
        }
    }
    values.push(value);
    values
}

impl<T: fmt::Display> Serialize for OneOf<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: Deserialize<'de> + PartialEq> Deserialize<'de> for OneOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let mut all = Self::default();
        for value in split(&text) {
            let value: StringDeserializer<D::Error> = value.into_deserializer();
            if !all.add(T::deserialize(value)?) {
                return Err(D::Error::custom(format!("write at most {VALUES_MAX} values")));
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_separated_by_commas() {
        assert_eq!(split("push,issues.*"), ["push", "issues.*"]);
        assert_eq!(split(r"a\,b,App\Events\Sent,c\\,d"), ["a,b", r"App\Events\Sent", r"c\", "d"]);
        assert_eq!(split(""), [""]);
        assert_eq!(join([r"App\Events\Sent", "a,b"]), r"App\Events\Sent,a\,b");
    }

    #[test]
    fn more_values_than_allowed_are_refused_and_repeats_count_once() {
        let read = |n: u32| {
            let text = (0..n).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
            serde_json::from_value::<OneOf<String>>(text.into())
        };
        assert!(read(20).is_ok() && read(21).is_err());
        let repeated: OneOf<String> = serde_json::from_value("a,b,a".into()).unwrap();
        assert_eq!(repeated.values(), ["a", "b"]);
    }

    proptest! {
        #[test]
        fn values_read_back_what_they_write(
            values in proptest::collection::vec(r"[a-c,\\]{0,6}", 1..5),
        ) {
            prop_assert_eq!(split(&join(&values)), values);
        }
    }
}
