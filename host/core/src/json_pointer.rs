//! JSON pointers (RFC 6901), looked up in raw bytes in one pass, without building the document.
//!
//! A found value is a slice of the body as received, so numbers keep all digits. If a key occurs
//! twice, the last one counts, as in the languages of handlers, or the document is refused: a
//! signature must not be read from another value than a handler reads. Knows no provider.

mod pointer;
mod set;
mod visitors;

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use visitors::KeyText;

pub use pointer::{InvalidPointer, Pointer};
pub use set::PointerSet;

/// Why a document does not have the expected JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JsonError {
    #[error("body is not well-formed JSON")]
    Malformed,
    #[error("body has no array there")]
    NotArray,
    #[error("body has more than {0} items")]
    TooMany(usize),
    /// A key on the path occurs twice in its object.
    #[error("body has a duplicate key")]
    Repeated,
}

/// The text of a scalar: a string without its quotes, a number or boolean as written. Null, objects
/// and arrays have no text.
#[must_use]
pub fn scalar_text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'"' if !text.contains('\\') => text.get(1..text.len() - 1).map(Cow::Borrowed),
        b'"' => serde_json::from_str::<String>(text).ok().map(Cow::Owned),
        b'n' | b'{' | b'[' => None,
        _ => Some(Cow::Borrowed(text)),
    }
}

/// The items of a JSON array as slices; at most `max`.
pub fn array_items(json: &[u8], max: usize) -> Result<Vec<&RawValue>, JsonError> {
    struct Items(usize);
    impl<'de> Visitor<'de> for Items {
        type Value = Result<Vec<&'de RawValue>, JsonError>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = seq.next_element::<&'de RawValue>()? {
                if items.len() == self.0 {
                    while seq.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(Err(JsonError::TooMany(self.0)));
                }
                items.push(item);
            }
            Ok(Ok(items))
        }
    }
    if first_byte(json) != Some(b'[') {
        return Err(JsonError::NotArray);
    }
    let mut reader = reader(json);
    let items = reader.deserialize_seq(Items(max)).map_err(|_| JsonError::Malformed)?;
    reader.end().map_err(|_| JsonError::Malformed)?;
    items
}

/// The first key of a JSON object that `wanted` accepts.
pub(crate) fn first_key(json: &[u8], wanted: impl Fn(&str) -> bool) -> Option<String> {
    struct FirstKey<F>(F);
    impl<'de, F: Fn(&str) -> bool> Visitor<'de> for FirstKey<F> {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(key) = map.next_key_seed(KeyText)? {
                if found.is_none() {
                    found = key.filter(|key| (self.0)(key));
                }
                map.next_value::<IgnoredAny>()?;
            }
            Ok(found)
        }
    }
    let mut reader = reader(json);
    let found = reader.deserialize_map(FirstKey(wanted)).ok()?;
    reader.end().ok()?;
    found
}

/// The bytes without a UTF-8 byte order mark, which some senders put before a document (RFC 8259,
/// 8.1).
#[must_use]
pub fn without_byte_order_mark(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}

fn reader(json: &[u8]) -> serde_json::Deserializer<serde_json::de::SliceRead<'_>> {
    serde_json::Deserializer::from_slice(without_byte_order_mark(json))
}

/// The first byte that is neither JSON whitespace nor part of a byte order mark.
#[must_use]
pub fn first_byte(json: &[u8]) -> Option<u8> {
    without_byte_order_mark(json)
        .iter()
        .copied()
        .find(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n'))
}

#[cfg(test)]
mod tests;
