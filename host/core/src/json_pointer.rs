//! JSON pointers (RFC 6901), looked up in raw bytes in one pass and without building the document.
//!
//! What is found stays a slice of the body as received: exact numbers keep their digits. Where a key occurs
//! twice the last one counts, as in the languages that handlers are written in, or the document is refused: what
//! a signature is read from must not be one thing to us and another to a handler. No knowledge of providers.

mod every;

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use every::Every;

/// Longest pointer accepted, in segments; deeper facts are not identities.
const SEGMENTS_MAX: usize = 16;

/// A parsed pointer such as `/data/object/id`; `""` is the whole document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pointer {
    text: Box<str>,
    segments: Vec<Box<str>>,
}

/// A text that is not a pointer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPointer {
    /// RFC 6901 wants a slash first.
    #[error("a JSON pointer starts with a slash, as in /data/id")]
    NoSlash,
    /// `~` not followed by `0` or `1`.
    #[error("in a JSON pointer ~ is written ~0 and a slash inside a key ~1")]
    Escape,
    /// More than sixteen segments.
    #[error("a JSON pointer has at most {SEGMENTS_MAX} segments")]
    TooDeep,
}

/// The bytes are not the JSON that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JsonError {
    /// Not one well-formed JSON document.
    #[error("body is not well-formed JSON")]
    Malformed,
    /// An array was expected.
    #[error("body holds no array at that place")]
    NotArray,
    /// More items than allowed.
    #[error("body holds more than {0} items")]
    TooMany(usize),
    /// A key on the way to what was asked for occurs twice in its object.
    #[error("body holds a key twice")]
    Repeated,
}

impl Pointer {
    /// Parses the text of a pointer.
    pub fn parse(text: &str) -> Result<Self, InvalidPointer> {
        if text.is_empty() {
            return Ok(Self { text: "".into(), segments: Vec::new() });
        }
        let rest = text.strip_prefix('/').ok_or(InvalidPointer::NoSlash)?;
        let segments = rest.split('/').map(unescape).collect::<Result<Vec<_>, _>>()?;
        if segments.len() > SEGMENTS_MAX {
            return Err(InvalidPointer::TooDeep);
        }
        Ok(Self { text: text.into(), segments })
    }

    /// A pointer to one key of the document.
    #[must_use]
    pub(crate) fn of_key(key: &str) -> Self {
        let text = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        Self { text: text.into(), segments: vec![key.into()] }
    }

    /// The name that what it points to has in a form: `/a/b` is the field `a[b]`. None of the whole document.
    pub(crate) fn form_name(&self) -> Option<String> {
        let (first, rest) = self.segments.split_first()?;
        let inner: String = rest.iter().map(|segment| format!("[{segment}]")).collect();
        Some(format!("{first}{inner}"))
    }

    /// True if it points to this key of the document.
    pub(crate) fn is_key(&self, key: &str) -> bool {
        matches!(self.segments.as_slice(), [only] if **only == *key)
    }

    /// What stands before the first segment `*` and after it, if there is one.
    pub(crate) fn split_at_star(&self) -> Option<(Self, Self)> {
        let star = self.segments.iter().position(|s| &**s == "*")?;
        let of = |segments: &[Box<str>]| {
            let text: String = segments
                .iter()
                .map(|s| format!("/{}", s.replace('~', "~0").replace('/', "~1")))
                .collect();
            Self { text: text.into(), segments: segments.to_vec() }
        };
        Some((of(&self.segments[..star]), of(&self.segments[star + 1..])))
    }

    /// The pointer as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the pointer names in `json`, or nothing.
    pub fn find<'a>(&self, json: &'a [u8]) -> Result<Option<&'a RawValue>, JsonError> {
        let set = PointerSet::new([self.clone()]);
        Ok(set.lookup(json)?.pop().flatten())
    }

    /// The same, of a document in which no key on the way occurs twice.
    pub(crate) fn find_unique<'a>(
        &self,
        json: &'a [u8],
    ) -> Result<Option<&'a RawValue>, JsonError> {
        let set = PointerSet::new([self.clone()]);
        Ok(set.lookup_unique(json)?.pop().flatten())
    }

    /// Everything that the pointer could name in `json`, to a reader to whom the first of two equal keys counts as well as
    /// to one to whom the last does; a segment `*` stands for every item of an array. Of a document that is not
    /// well-formed it is what stands before the fault.
    #[must_use]
    pub fn find_every<'a>(&self, json: &'a [u8]) -> Vec<&'a RawValue> {
        let mut found = Vec::new();
        let every = Every { segments: &self.segments, found: &mut found };
        // A fault ends the search; what was found before it stands.
        let _ = every.deserialize(&mut reader(json));
        found
    }

    /// What the pointer names in each item of the array where it has the segment `*`. An item that lacks it
    /// is a `None`, so that a check over all items cannot be passed by leaving the field out.
    pub fn find_each<'a>(&self, json: &'a [u8]) -> Result<Vec<Option<&'a RawValue>>, JsonError> {
        self.each(json, PointerSet::lookup)
    }

    /// The same, of a document in which no key on the way occurs twice.
    pub(crate) fn find_each_unique<'a>(
        &self,
        json: &'a [u8],
    ) -> Result<Vec<Option<&'a RawValue>>, JsonError> {
        self.each(json, PointerSet::lookup_unique)
    }

    fn each<'a>(
        &self,
        json: &'a [u8],
        look_up: LookUp,
    ) -> Result<Vec<Option<&'a RawValue>>, JsonError> {
        let Some((array, rest)) = self.split_at_star() else {
            return look_up(&PointerSet::new([self.clone()]), json);
        };
        let found = look_up(&PointerSet::new([array]), json)?.pop().flatten();
        let Some(array) = found else { return Ok(Vec::new()) };
        let rest = PointerSet::new([rest]);
        let items = array_items(array.get().as_bytes(), crate::bounds::EVENTS_PER_REQUEST_MAX)?;
        items
            .into_iter()
            .map(|item| Ok(look_up(&rest, item.get().as_bytes())?.pop().flatten()))
            .collect()
    }

    /// True if one of the segments is `*`.
    #[must_use]
    pub fn has_star(&self) -> bool {
        self.segments.iter().any(|s| &**s == "*")
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn unescape(segment: &str) -> Result<Box<str>, InvalidPointer> {
    let mut out = String::with_capacity(segment.len());
    let mut chars = segment.chars();
    while let Some(c) = chars.next() {
        match c {
            '~' => match chars.next() {
                Some('0') => out.push('~'),
                Some('1') => out.push('/'),
                _ => return Err(InvalidPointer::Escape),
            },
            c => out.push(c),
        }
    }
    Ok(out.into())
}

/// The text of a scalar: a string without its quotes, a number or boolean as written. Null, objects and
/// arrays have none.
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

/// The items of a JSON array, each as it stands in the bytes; at most `max`.
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

/// The first key of a JSON object that `wanted` picks.
pub(crate) fn first_key(json: &[u8], wanted: impl Fn(&str) -> bool) -> Option<String> {
    struct Keys<F>(F);
    impl<'de, F: Fn(&str) -> bool> Visitor<'de> for Keys<F> {
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
    let found = reader.deserialize_map(Keys(wanted)).ok()?;
    reader.end().ok()?;
    found
}

/// The bytes without the byte order mark of UTF-8 that some senders put before their documents (RFC 8259, 8.1).
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

/// One of the ways to look a set up in a document.
type LookUp = for<'a> fn(&PointerSet, &'a [u8]) -> Result<Vec<Option<&'a RawValue>>, JsonError>;

/// Several pointers looked up together in one pass.
#[derive(Debug, Clone, Default)]
pub struct PointerSet {
    pointers: Vec<Pointer>,
    root: Node,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// Index of the pointer that ends here.
    slot: Option<usize>,
    children: Vec<(Box<str>, Node)>,
}

impl PointerSet {
    /// A set of these pointers; the same one twice takes one place.
    #[must_use]
    pub fn new(pointers: impl IntoIterator<Item = Pointer>) -> Self {
        let mut set = Self::default();
        for pointer in pointers {
            set.insert(pointer);
        }
        set
    }

    fn insert(&mut self, pointer: Pointer) {
        let slot = self.pointers.len();
        let mut node = &mut self.root;
        for segment in &pointer.segments {
            let at = match node.children.iter().position(|(key, _)| key == segment) {
                Some(at) => at,
                None => {
                    node.children.push((segment.clone(), Node::default()));
                    node.children.len() - 1
                }
            };
            node = &mut node.children[at].1;
        }
        if node.slot.is_none() {
            node.slot = Some(slot);
            self.pointers.push(pointer);
        }
    }

    /// Where `pointer` stands in the answer of [`PointerSet::lookup`].
    #[must_use]
    pub fn index_of(&self, pointer: &Pointer) -> Option<usize> {
        self.pointers.iter().position(|p| p == pointer)
    }

    /// True if there is nothing to look up.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pointers.is_empty()
    }

    /// Walks the document once and returns what each pointer names, in the set's order.
    ///
    /// What cannot be read in one place takes nothing from the others: a pointer finds the same in a set as alone, so
    /// that what a signature was read from is there when the event is identified by it.
    pub fn lookup<'a>(&self, json: &'a [u8]) -> Result<Vec<Option<&'a RawValue>>, JsonError> {
        self.read(json, false)
    }

    /// The same, of a document in which no key on the way to one of them occurs twice.
    pub(crate) fn lookup_unique<'a>(
        &self,
        json: &'a [u8],
    ) -> Result<Vec<Option<&'a RawValue>>, JsonError> {
        self.read(json, true)
    }

    fn read<'a>(&self, json: &'a [u8], once: bool) -> Result<Vec<Option<&'a RawValue>>, JsonError> {
        match self.walk(json) {
            Ok(found) if once && found.repeated => return Err(JsonError::Repeated),
            Ok(found) => return Ok(found.values),
            Err(error) if self.pointers.len() < 2 || !is_skippable(json) => return Err(error),
            Err(_) => {}
        }
        let alone = |pointer: &Pointer| Self::new([pointer.clone()]).read(json, once);
        let alone: Vec<_> = self.pointers.iter().map(alone).collect();
        if alone.iter().any(|found| matches!(found, Err(JsonError::Repeated))) {
            return Err(JsonError::Repeated);
        }
        match alone.iter().any(Result::is_ok) {
            true => Ok(alone.into_iter().map(|found| found.ok()?.pop().flatten()).collect()),
            false => Err(JsonError::Malformed),
        }
    }

    fn walk<'a>(&self, json: &'a [u8]) -> Result<Found<'a>, JsonError> {
        let mut found = Found { values: vec![None; self.pointers.len()], repeated: false };
        let mut reader = reader(json);
        Walk { node: &self.root, found: &mut found }
            .deserialize(&mut reader)
            .map_err(|_| JsonError::Malformed)?;
        reader.end().map_err(|_| JsonError::Malformed)?;
        Ok(found)
    }
}

/// True if the bytes are a JSON document, whatever is in its texts and numbers.
fn is_skippable(json: &[u8]) -> bool {
    let mut reader = reader(json);
    serde::Deserialize::deserialize(&mut reader)
        .map(|IgnoredAny| reader.end())
        .is_ok_and(|end| end.is_ok())
}

/// What a walk has found.
#[derive(Debug)]
struct Found<'de> {
    values: Vec<Option<&'de RawValue>>,
    repeated: bool,
}

impl Found<'_> {
    /// Forgets what stood under a key that comes again: the last one counts, and all of it.
    fn forget(&mut self, node: &Node) {
        self.repeated = true;
        if let Some(slot) = node.slot {
            self.values[slot] = None;
        }
        node.children.iter().for_each(|(_, child)| self.forget(child));
    }
}

/// Reads one value: keeps it if a pointer ends here, descends if one goes on, else skips it.
struct Walk<'n, 'f, 'de> {
    node: &'n Node,
    found: &'f mut Found<'de>,
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

/// Reads a key and keeps it, if it is text. One may hold half of a surrogate pair, which is no text: its object can be
/// read all the same.
struct KeyText;

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

/// Reads a key and says which child it names, without keeping it. It need not be text, as in [`KeyText`].
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

#[cfg(test)]
mod tests;
