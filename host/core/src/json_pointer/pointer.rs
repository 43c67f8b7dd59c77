//! Pointers: their text, and the lookup of a single one.

use std::fmt;

use serde::de::DeserializeSeed;
use serde_json::value::RawValue;
use thiserror::Error;

use super::set::{LookUp, PointerSet};
use super::visitors::Every;
use super::{JsonError, array_items, reader};

/// The maximum number of segments of a pointer.
const SEGMENTS_MAX: usize = 16;

/// A parsed pointer such as `/data/object/id`; `""` is the whole document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pointer {
    text: Box<str>,
    pub(super) segments: Vec<Box<str>>,
}

/// Why a text is not a pointer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPointer {
    /// The first character is not a slash.
    #[error("a JSON pointer starts with a slash, as in /data/id")]
    NoSlash,
    /// `~` not followed by `0` or `1`.
    #[error("in a JSON pointer, ~ is written ~0 and a slash in a key ~1")]
    Escape,
    #[error("a JSON pointer has at most {SEGMENTS_MAX} segments")]
    TooDeep,
}

impl Pointer {
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

    /// A pointer to a key of the document's object.
    #[must_use]
    pub(crate) fn of_key(key: &str) -> Self {
        let text = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        Self { text: text.into(), segments: vec![key.into()] }
    }

    /// The name of the corresponding form field: `/a/b` is the field `a[b]`; `None` for the whole
    /// document.
    pub(crate) fn form_name(&self) -> Option<String> {
        let (first, rest) = self.segments.split_first()?;
        let inner: String = rest.iter().map(|segment| format!("[{segment}]")).collect();
        Some(format!("{first}{inner}"))
    }

    /// True if it points to this key of the document's object.
    pub(crate) fn is_key(&self, key: &str) -> bool {
        matches!(self.segments.as_slice(), [only] if **only == *key)
    }

    /// The pointers before and after the first segment `*`.
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

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value at the pointer, if there is one.
    pub fn find<'a>(&self, json: &'a [u8]) -> Result<Option<&'a RawValue>, JsonError> {
        let set = PointerSet::new([self.clone()]);
        Ok(set.lookup(json)?.pop().flatten())
    }

    /// Refuses a document in which a key on the path occurs twice.
    pub(crate) fn find_unique<'a>(
        &self,
        json: &'a [u8],
    ) -> Result<Option<&'a RawValue>, JsonError> {
        let set = PointerSet::new([self.clone()]);
        Ok(set.lookup_unique(json)?.pop().flatten())
    }

    /// Every value that some reader could find at the pointer: the first or the last of two equal
    /// keys may count. A segment `*` matches every item of an array. In a malformed document, the
    /// values before the fault are found.
    #[must_use]
    pub fn find_every<'a>(&self, json: &'a [u8]) -> Vec<&'a RawValue> {
        let mut found = Vec::new();
        let every = Every { segments: &self.segments, found: &mut found };
        // A fault ends the search; values found before it count.
        let _ = every.deserialize(&mut reader(json));
        found
    }

    /// The value at the pointer in each item of the array at the segment `*`. An item without it
    /// gives `None`, so that a check of all items cannot be passed by leaving the field out.
    pub fn find_each<'a>(&self, json: &'a [u8]) -> Result<Vec<Option<&'a RawValue>>, JsonError> {
        self.each(json, PointerSet::lookup)
    }

    /// Refuses a document in which a key on the path occurs twice.
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
