//! The serde visitors that walk a document: for a set of pointers, and for every value of one
//! pointer.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::set::Node;

/// The visitor methods for scalars, which a walk skips.
macro_rules! ignore_scalars {
    () => {
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
    };
}

/// The values that a walk found.
#[derive(Debug)]
pub(super) struct FoundValues<'de> {
    pub(super) values: Vec<Option<&'de RawValue>>,
    pub(super) repeated: bool,
}

impl FoundValues<'_> {
    /// Forgets the values under a key that occurs again: the last one counts.
    fn forget(&mut self, node: &Node) {
        self.repeated = true;
        if let Some(slot) = node.slot {
            self.values[slot] = None;
        }
        node.children.iter().for_each(|(_, child)| self.forget(child));
    }
}

/// Reads one value: keeps it if a pointer ends here, descends if one continues, else skips it.
pub(super) struct Walk<'n, 'f, 'de> {
    pub(super) node: &'n Node,
    pub(super) found: &'f mut FoundValues<'de>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        use serde::Deserialize;
        let Some(slot) = self.node.slot else {
            return deserializer.deserialize_any(self);
        };
        let raw = <&RawValue>::deserialize(deserializer)?;
        self.found.values[slot] = Some(raw);
        if !self.node.children.is_empty() {
            let mut inner = serde_json::Deserializer::from_str(raw.get());
            inner.deserialize_any(self).map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { node, found } = self;
        let mut seen: Vec<usize> = Vec::new();
        while let Some(child) = map.next_key_seed(ChildKey(node))? {
            match child {
                Some(at) => {
                    let child = &node.children[at].1;
                    if seen.contains(&at) {
                        found.forget(child);
                    } else {
                        seen.push(at);
                    }
                    map.next_value_seed(Walk { node: child, found: &mut *found })?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { node, found } = self;
        let mut digits = String::new();
        for index in 0usize.. {
            use fmt::Write;
            digits.clear();
            let _ = write!(digits, "{index}");
            let child = node.children.iter().find(|(key, _)| **key == *digits);
            let more = match child {
                Some((_, node)) => {
                    seq.next_element_seed(Walk { node, found: &mut *found })?.is_some()
                }
                None => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    ignore_scalars!();
}

/// Reads one value and keeps every value that the rest of a pointer names in it.
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

    ignore_scalars!();
}

/// Reads a key and keeps it if it is text. A key with half a surrogate pair is not text; the rest
/// of its object is read all the same.
pub(super) struct KeyText;

impl<'de> DeserializeSeed<'de> for KeyText {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for KeyText {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok(std::str::from_utf8(key).ok().map(str::to_owned))
    }
}

/// Reads a key and returns the child that it names, without keeping it. It need not be text, as in
/// [`KeyText`].
struct ChildKey<'n>(&'n Node);

impl<'de> DeserializeSeed<'de> for ChildKey<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for ChildKey<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok(self.0.children.iter().position(|(name, _)| name.as_bytes() == key))
    }
}
