//! All values that a pointer could name in a document, whatever a reader makes of keys that come twice.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::KeyText;

/// Reads one value and keeps what the rest of a pointer names in it.
pub(super) struct Every<'p, 'f, 'de> {
    pub(super) segments: &'p [Box<str>],
    pub(super) found: &'f mut Vec<&'de RawValue>,
}

impl<'de> DeserializeSeed<'de> for Every<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        use serde::Deserialize;
        if !self.segments.is_empty() {
            return deserializer.deserialize_any(self);
        }
        self.found.push(<&RawValue>::deserialize(deserializer)?);
        Ok(())
    }
}

impl<'de> Visitor<'de> for Every<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((first, segments)) = self.segments.split_first() else { return Ok(()) };
        while let Some(key) = map.next_key_seed(KeyText)? {
            if key.as_deref() == Some(&**first) {
                map.next_value_seed(Every { segments, found: &mut *self.found })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((first, segments)) = self.segments.split_first() else { return Ok(()) };
        let wanted = first.parse::<usize>().ok().filter(|at| at.to_string() == **first);
        for index in 0usize.. {
            let more = if **first == *"*" || wanted == Some(index) {
                seq.next_element_seed(Every { segments, found: &mut *self.found })?.is_some()
            } else {
                seq.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
