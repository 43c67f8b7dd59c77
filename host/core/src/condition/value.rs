//! Values while an expression is evaluated. They borrow from the event where they can.

use std::borrow::Cow;
use std::ops::Deref;
use std::rc::Rc;

use super::document::{BodyNode, Document};
use crate::payload::Payload;

/// A value of CEL.
#[derive(Debug, Clone)]
pub(super) enum CelValue<'e> {
    Null,
    Bool(bool),
    /// A whole number between `i64::MIN` and `u64::MAX`.
    Int(i128),
    Double(f64),
    Text(Text<'e>),
    List(Rc<[CelValue<'e>]>),
    Map(Rc<[(Text<'e>, CelValue<'e>)]>),
    /// A list or map of a document.
    Part(&'e Document<'e>, u32),
    Headers(&'e Payload),
}

/// A text that is borrowed or shared.
#[derive(Debug, Clone)]
pub(super) enum Text<'e> {
    Borrowed(&'e str),
    Shared(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

impl<'e> From<Cow<'e, str>> for Text<'e> {
    fn from(text: Cow<'e, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::Borrowed(text),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl<'e> CelValue<'e> {
    pub(super) fn text(text: impl Into<Text<'e>>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn of(document: &'e Document<'e>, at: u32) -> Self {
        match document.node(at) {
            BodyNode::Null => Self::Null,
            BodyNode::Bool(value) => Self::Bool(*value),
            BodyNode::Int(value) => Self::Int((*value).into()),
            BodyNode::Uint(value) => Self::Int((*value).into()),
            BodyNode::Double(value) => Self::Double(*value),
            BodyNode::Text(text) => Self::Text(Text::Borrowed(text)),
            BodyNode::List(..) | BodyNode::Map(..) => Self::Part(document, at),
        }
    }

    /// The name of its type, as messages have it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Double(_) => "a double",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Headers(_) => "a map",
            Self::Part(document, at) => match document.node(*at) {
                BodyNode::List(..) => "a list",
                _ => "a map",
            },
        }
    }

    /// The number of items or entries; none if it is neither a list nor a map.
    pub(super) fn length(&self) -> Option<usize> {
        Some(match self {
            Self::List(items) => items.len(),
            Self::Map(entries) => entries.len(),
            Self::Headers(payload) => payload.headers.len(),
            Self::Part(document, at) => match document.node(*at) {
                BodyNode::List(count, _) | BodyNode::Map(count, _) => *count as usize,
                _ => return None,
            },
            _ => return None,
        })
    }

    /// The items of a list; none if it is something else.
    pub(super) fn items(&self) -> Option<Items<'_, 'e>> {
        match self {
            Self::List(items) => Some(Box::new(items.iter().cloned())),
            Self::Part(document, at) if matches!(document.node(*at), BodyNode::List(..)) => {
                let document = *document;
                Some(Box::new(document.items(*at).map(move |item| CelValue::of(document, item))))
            }
            _ => None,
        }
    }

    /// The entries of a map; none if it is something else.
    pub(super) fn entries(&self) -> Option<Entries<'_, 'e>> {
        match self {
            Self::Map(entries) => Some(Box::new(entries.iter().cloned())),
            Self::Headers(payload) => {
                let payload = *payload;
                let header = |(name, value): &'e (Box<str>, bytes::Bytes)| {
                    (Text::Borrowed(name), CelValue::text(String::from_utf8_lossy(value)))
                };
                Some(Box::new(payload.headers.iter().map(header)))
            }
            Self::Part(document, at) if matches!(document.node(*at), BodyNode::Map(..)) => {
                let document = *document;
                let entries = document.entries(*at);
                let entry =
                    move |(key, value)| (Text::Borrowed(key), CelValue::of(document, value));
                Some(Box::new(entries.map(entry)))
            }
            _ => None,
        }
    }

    /// The value under a key of a map; the outer option is none if it is not a map. Of two equal
    /// keys in JSON the last counts, of two equal headers the first.
    pub(super) fn get(&self, key: &str) -> Option<Option<CelValue<'e>>> {
        match self {
            Self::Map(entries) => {
                let found = entries.iter().find(|(name, _)| **name == *key);
                Some(found.map(|(_, value)| value.clone()))
            }
            Self::Headers(payload) => {
                let value = payload.header(key);
                Some(value.map(|value| CelValue::text(String::from_utf8_lossy(value))))
            }
            Self::Part(document, at) if matches!(document.node(*at), BodyNode::Map(..)) => {
                let document = *document;
                let found = document.entries(*at).filter(|(name, _)| *name == key).last();
                Some(found.map(|(_, value)| CelValue::of(document, value)))
            }
            _ => None,
        }
    }
}

pub(super) type Items<'v, 'e> = Box<dyn Iterator<Item = CelValue<'e>> + 'v>;
pub(super) type Entries<'v, 'e> = Box<dyn Iterator<Item = (Text<'e>, CelValue<'e>)> + 'v>;
