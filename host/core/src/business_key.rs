//! Business keys: values in the body of an event by which operators look it up, such as the number
//! of an order. Pure; the store keeps them, and routing does not know them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::json_pointer::{Pointer, PointerSet, scalar_text};

/// Most business keys of one source.
pub const KEYS_PER_SOURCE_MAX: usize = 4;
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 32;
/// Longest value, in bytes. A longer one is not kept as a key.
pub const VALUE_BYTES_MAX: usize = 128;

/// The name of a business key, such as `order`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct KeyName(Arc<str>);

/// A business key with its value, written `order=1234`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BusinessKey {
    pub name: KeyName,
    pub value: Box<str>,
}

/// A text that is no business key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidBusinessKey {
    #[error(
        "the name of a key has 1 to {NAME_BYTES_MAX} of the characters a-z, 0-9, `_` and `-`, and \
         begins with a letter"
    )]
    Name,
    #[error("a key is written NAME=VALUE, as in order=1234")]
    NoValue,
    #[error("the value of a key has at most {VALUE_BYTES_MAX} bytes")]
    TooLong,
}

impl KeyName {
    pub fn new(text: &str) -> Result<Self, InvalidBusinessKey> {
        let begins_well = text.starts_with(|first: char| first.is_ascii_lowercase());
        let is_valid = text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
        });
        if !begins_well || !is_valid || text.len() > NAME_BYTES_MAX {
            return Err(InvalidBusinessKey::Name);
        }
        Ok(Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BusinessKey {
    type Err = InvalidBusinessKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').ok_or(InvalidBusinessKey::NoValue)?;
        let name = KeyName::new(name)?;
        match value.len() {
            0 => Err(InvalidBusinessKey::NoValue),
            1..=VALUE_BYTES_MAX => Ok(Self { name, value: value.into() }),
            _ => Err(InvalidBusinessKey::TooLong),
        }
    }
}

impl fmt::Display for BusinessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

impl Serialize for BusinessKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BusinessKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The places of a source's business keys in the bodies of its events.
#[derive(Debug, Clone, Default)]
pub struct KeyIndex {
    /// Each name with the place of its pointer in the set.
    names: Vec<(KeyName, usize)>,
    pointers: PointerSet,
}

impl KeyIndex {
    #[must_use]
    pub fn new(keys: Vec<(KeyName, Pointer)>) -> Self {
        let pointers = PointerSet::new(keys.iter().map(|(_, pointer)| pointer.clone()));
        let names = keys.into_iter();
        let names = names
            .filter_map(|(name, pointer)| Some((name, pointers.index_of(&pointer)?)))
            .collect();
        Self { names, pointers }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn names(&self) -> impl Iterator<Item = &KeyName> {
        self.names.iter().map(|(name, _)| name)
    }

    /// The keys of an event with this body. A body that is not JSON has none, and a value that is
    /// absent, empty, too long, an object or an array is no key.
    #[must_use]
    pub fn keys_of(&self, body: &[u8]) -> Vec<BusinessKey> {
        if self.is_empty() {
            return Vec::new();
        }
        let Ok(found) = self.pointers.lookup(body) else { return Vec::new() };
        let key = |(name, place): &(KeyName, usize)| {
            let value = scalar_text(found.get(*place).copied().flatten()?)?;
            let fits = (1..=VALUE_BYTES_MAX).contains(&value.len());
            fits.then(|| BusinessKey { name: name.clone(), value: value.into() })
        };
        self.names.iter().filter_map(key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(keys: &[(&str, &str)]) -> KeyIndex {
        let key = |(name, pointer): &(&str, &str)| {
            (KeyName::new(name).unwrap(), Pointer::parse(pointer).unwrap())
        };
        KeyIndex::new(keys.iter().map(key).collect())
    }

    fn found(index: &KeyIndex, body: &str) -> Vec<String> {
        index.keys_of(body.as_bytes()).iter().map(BusinessKey::to_string).collect()
    }

    #[test]
    fn keys_are_scalars_at_their_pointers() {
        let index = index(&[("order", "/order/id"), ("customer", "/customer"), ("paid", "/paid")]);
        let body = r#"{"order":{"id":1234},"customer":"ann","paid":true,"other":1}"#;
        assert_eq!(found(&index, body), ["order=1234", "customer=ann", "paid=true"]);
        assert_eq!(found(&index, r#"{"order":{"id":[1]},"customer":null}"#), [""; 0]);
        assert_eq!(found(&index, "not json"), [""; 0]);
    }

    #[test]
    fn two_names_may_have_one_pointer() {
        let index = index(&[("order", "/id"), ("invoice", "/id")]);
        assert_eq!(found(&index, r#"{"id":"7"}"#), ["order=7", "invoice=7"]);
    }

    #[test]
    fn a_value_that_is_empty_or_too_long_is_no_key() {
        let index = index(&[("order", "/id")]);
        assert_eq!(found(&index, r#"{"id":""}"#), [""; 0]);
        let longest = "x".repeat(VALUE_BYTES_MAX);
        assert_eq!(found(&index, &format!(r#"{{"id":"{longest}"}}"#)).len(), 1);
        assert_eq!(found(&index, &format!(r#"{{"id":"{longest}x"}}"#)).len(), 0);
    }

    #[test]
    fn a_key_reads_as_it_is_written() {
        let key: BusinessKey = "order=a=b".parse().unwrap();
        assert_eq!((key.name.as_str(), &*key.value), ("order", "a=b"));
        assert_eq!(key.to_string(), "order=a=b");
        for (text, why) in [
            ("order", InvalidBusinessKey::NoValue),
            ("order=", InvalidBusinessKey::NoValue),
            ("=1", InvalidBusinessKey::Name),
            ("Order=1", InvalidBusinessKey::Name),
            ("1order=1", InvalidBusinessKey::Name),
        ] {
            assert_eq!(text.parse::<BusinessKey>(), Err(why), "{text}");
        }
    }
}
