//! Selectors: where in a request a value is, in the notation of provider files.
//!
//! | text | meaning |
//! |---|---|
//! | `/data/id` | JSON pointer into the event (with fan-out its item, else the body) |
//! | `body:/data/id` | JSON pointer into the whole body, also with fan-out |
//! | `each:/value/*/state` | the same field of every item of an array |
//! | `header:X-Name` | a header; `header:a\|b` has one name per family |
//! | `headers:X-Sig-*\|X-Old` | every such header; a final `*` stands for digits |
//! | `form:field` | a field of a form body or of a query payload |
//! | `form:field#/pointer` | a value in the JSON of a form field |
//! | `query:name` | a parameter of the public URL |
//! | `outer:/id` | JSON pointer into the item of the outer array in a nested fan-out |
//! | `key-besides:a,b` | the first key of the body's object that is not one of these |
//! | `xml:form-base64:field#/a/b` | the text of an XML element, base64-encoded in a form field |
//! | `pair:t` | a value of the signature header's key-value list |

mod shape;
mod xml;

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use crate::json_pointer::{InvalidPointer, JsonError, Pointer, scalar_text};
use crate::request::{ReadError, RequestView};

pub use shape::Shape;
pub(crate) use xml::xml_text;

/// The kind of a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyKind {
    /// A JSON document.
    #[default]
    Json,
    /// A URL-encoded form.
    Form,
    /// JSON or a form, as the content type says.
    Auto,
    /// Text of another kind.
    Text,
    Opaque,
}

/// A parsed selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// One header, with one name, or one name per family of the signature header.
    Header(Vec<Box<str>>),
    /// All headers that match one of these patterns.
    Headers(Vec<HeaderPattern>),
    /// A JSON pointer into the event.
    Json(Pointer),
    /// A JSON pointer into the whole body.
    Body(Pointer),
    /// A JSON pointer into the item of the outer of two arrays.
    Outer(Pointer),
    /// The first key of the body's object that is not one of these.
    KeyBesides(Vec<Box<str>>),
    /// The path of an XML element in a form field that holds base64.
    FormXml(Box<str>, Vec<Box<str>>),
    /// A JSON pointer with a `*` into the body.
    Each(Pointer),
    /// A form field, or a value inside the JSON that it holds.
    Form(Box<str>, Option<Pointer>),
    /// A query parameter of the public URL.
    Query(Box<str>),
    /// A value from the signature header's key-value list.
    Pair(Box<str>),
}

/// A header name, or its beginning when digits follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderPattern {
    /// The name, or the part before the digits.
    pub name: Box<str>,
    /// Digits follow.
    pub numbered: bool,
}

impl HeaderPattern {
    /// True if the pattern matches a header with this name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if !self.numbered {
            return name.eq_ignore_ascii_case(&self.name);
        }
        let Some((head, digits)) = name.split_at_checked(self.name.len()) else { return false };
        head.eq_ignore_ascii_case(&self.name)
            && !digits.is_empty()
            && digits.bytes().all(|b| b.is_ascii_digit())
    }
}

/// An error in the text of a selector.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidSelector {
    /// An unknown or missing word before the colon.
    #[error(
        "{0:?} is not a selector; use /pointer, header:NAME, headers:NAME, body:/pointer, \
         outer:/pointer, each:/pointer, key-besides:KEY, form:FIELD, query:NAME or pair:KEY"
    )]
    Unknown(String),
    #[error("{0:?} has nothing after the colon")]
    Empty(String),
    /// An invalid header name.
    #[error("{0:?} is not a header name")]
    Header(String),
    /// `each:` without exactly one `*`.
    #[error("{0:?}: each: needs a pointer with exactly one * segment")]
    Star(String),
    /// An invalid JSON pointer.
    #[error("{text:?} is not a JSON pointer")]
    Pointer {
        text: String,
        #[source]
        cause: InvalidPointer,
    },
}

impl Selector {
    /// Parses the notation above.
    pub fn parse(text: &str) -> Result<Self, InvalidSelector> {
        let pointer = |p: &str| {
            Pointer::parse(p)
                .map_err(|cause| InvalidSelector::Pointer { text: text.to_owned(), cause })
        };
        if text.starts_with('/') {
            return Ok(Self::Json(pointer(text)?));
        }
        let unknown = || InvalidSelector::Unknown(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(unknown)?;
        if rest.is_empty() {
            return Err(InvalidSelector::Empty(text.to_owned()));
        }
        Ok(match kind {
            "header" => Self::Header(header_names(rest)?),
            "headers" => Self::Headers(header_patterns(rest)?),
            "body" => Self::Body(pointer(rest)?),
            "outer" => Self::Outer(pointer(rest)?),
            "key-besides" => Self::KeyBesides(rest.split(',').map(Into::into).collect()),
            "xml" => {
                let field = rest.strip_prefix("form-base64:").and_then(|r| r.split_once("#/"));
                let (field, path) = field.ok_or_else(unknown)?;
                Self::FormXml(field.into(), path.split('/').map(Into::into).collect())
            }
            "each" => {
                let pointer = pointer(rest)?;
                if rest.split('/').filter(|s| *s == "*").count() != 1 {
                    return Err(InvalidSelector::Star(text.to_owned()));
                }
                Self::Each(pointer)
            }
            "form" => match rest.split_once('#') {
                Some((field, inside)) => Self::Form(field.into(), Some(pointer(inside)?)),
                None => Self::Form(rest.into(), None),
            },
            "query" => Self::Query(rest.into()),
            "pair" => Self::Pair(rest.into()),
            _ => return Err(unknown()),
        })
    }

    /// A header with these names, one per family, separated by `|`.
    pub fn header(names: &str) -> Result<Self, InvalidSelector> {
        Ok(Self::Header(header_names(names)?))
    }

    /// The number of header families; 1 if the names do not differ by family.
    #[must_use]
    pub fn families(&self) -> usize {
        match self {
            Self::Header(names) => names.len(),
            _ => 1,
        }
    }

    /// True if reading the selector parses the body.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        self.reads_body_as().is_some()
    }

    /// True if this is a whole form field and `inner` is inside it.
    pub(crate) fn contains(&self, inner: &Self) -> bool {
        match (self, inner) {
            (Self::Form(field, None), Self::Form(of, Some(_)) | Self::FormXml(of, _)) => {
                field == of
            }
            _ => false,
        }
    }

    /// The kind that the body is read as; `None` if the selector does not read the body.
    pub(crate) fn reads_body_as(&self) -> Option<BodyKind> {
        match self {
            Self::Header(_) | Self::Headers(_) | Self::Query(_) | Self::Pair(_) => None,
            Self::Form(..) | Self::FormXml(..) => Some(BodyKind::Form),
            Self::Json(_)
            | Self::Body(_)
            | Self::Outer(_)
            | Self::KeyBesides(_)
            | Self::Each(_) => Some(BodyKind::Json),
        }
    }

    /// The selected value of a request that is not yet verified; refused if there are two values,
    /// because another reader could take the other one. `Pair` is read from the signature header by
    /// verification; selectors of several values have no single value.
    pub(crate) fn read<'a>(
        &self,
        request: &RequestView<'a>,
        family: usize,
    ) -> Result<Option<Cow<'a, [u8]>>, ReadError> {
        Ok(match self {
            Self::Header(names) => match names.get(family).or_else(|| names.first()) {
                Some(name) => request.single_header(name)?.map(Cow::Borrowed),
                None => None,
            },
            Self::Json(pointer) | Self::Body(pointer) => {
                let raw = unless_duplicated(pointer.find_unique(request.body))?.flatten();
                raw.and_then(scalar_text).map(into_bytes)
            }
            Self::Form(field, inside) => {
                let Some(text) = request.single_payload_field(field)? else { return Ok(None) };
                match inside {
                    None => Some(into_bytes(text)),
                    Some(pointer) => {
                        let raw =
                            unless_duplicated(pointer.find_unique(text.as_bytes()))?.flatten();
                        let text = raw.and_then(scalar_text);
                        text.map(|text| Cow::Owned(text.into_owned().into_bytes()))
                    }
                }
            }
            Self::Query(name) => request.single_query_parameter(name)?.map(into_bytes),
            Self::KeyBesides(keys) => {
                let key = first_key_besides(request.body, keys);
                key.map(|key| Cow::Owned(key.into_bytes()))
            }
            Self::FormXml(field, path) => {
                let text = request.single_payload_field(field)?;
                let text = text.and_then(|text| xml_text(text.as_bytes(), path));
                text.map(|text| Cow::Owned(text.into_bytes()))
            }
            Self::Pair(_) | Self::Headers(_) | Self::Each(_) | Self::Outer(_) => None,
        })
    }

    /// All values of a selector of several values.
    pub(crate) fn read_all<'a>(
        &self,
        request: &RequestView<'a>,
    ) -> Result<Vec<Cow<'a, [u8]>>, ReadError> {
        Ok(match self {
            Self::Headers(patterns) => request
                .headers
                .iter()
                .filter(|(name, _)| patterns.iter().any(|p| p.matches(name)))
                .map(|(_, value)| Cow::Borrowed(*value))
                .collect(),
            Self::Each(pointer) => {
                let found =
                    unless_duplicated(pointer.find_each_unique(request.body))?.unwrap_or_default();
                let text = |raw: Option<_>| {
                    raw.and_then(scalar_text).map_or_else(Cow::default, into_bytes)
                };
                found.into_iter().map(text).collect()
            }
            _ => Vec::new(),
        })
    }
}

/// The value found in a body: `None` if the body is not JSON, an error if a key is duplicated.
pub(crate) fn unless_duplicated<T>(found: Result<T, JsonError>) -> Result<Option<T>, ReadError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(JsonError::Repeated) => Err(ReadError::FieldDuplicated),
        Err(JsonError::Malformed | JsonError::NotArray | JsonError::TooMany(_)) => Ok(None),
    }
}

/// The selector as a provider file writes it.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(names) => write!(f, "header:{}", names.join("|")),
            Self::Headers(patterns) => {
                f.write_str("headers:")?;
                for (i, p) in patterns.iter().enumerate() {
                    let bar = if i == 0 { "" } else { "|" };
                    write!(f, "{bar}{}{}", p.name, if p.numbered { "*" } else { "" })?;
                }
                Ok(())
            }
            Self::Json(pointer) => write!(f, "{pointer}"),
            Self::Body(pointer) => write!(f, "body:{pointer}"),
            Self::Outer(pointer) => write!(f, "outer:{pointer}"),
            Self::KeyBesides(keys) => write!(f, "key-besides:{}", keys.join(",")),
            Self::FormXml(field, path) => write!(f, "xml:form-base64:{field}#/{}", path.join("/")),
            Self::Each(pointer) => write!(f, "each:{pointer}"),
            Self::Form(field, None) => write!(f, "form:{field}"),
            Self::Form(field, Some(pointer)) => write!(f, "form:{field}#{pointer}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Pair(key) => write!(f, "pair:{key}"),
        }
    }
}

/// The first key of a JSON object that is not one of `besides`.
pub(crate) fn first_key_besides(json: &[u8], besides: &[Box<str>]) -> Option<String> {
    crate::json_pointer::first_key(json, |key| !besides.iter().any(|b| **b == *key))
}

pub(crate) fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

fn header_names(text: &str) -> Result<Vec<Box<str>>, InvalidSelector> {
    text.split('|').map(|name| header_name(name).map(Into::into)).collect()
}

fn header_patterns(text: &str) -> Result<Vec<HeaderPattern>, InvalidSelector> {
    let pattern = |text: &str| {
        let (name, numbered) = text.strip_suffix('*').map_or((text, false), |name| (name, true));
        Ok(HeaderPattern { name: header_name(name)?.into(), numbered })
    };
    text.split('|').map(pattern).collect()
}

/// Checks a header name by the token rule of RFC 9110.
fn header_name(name: &str) -> Result<&str, InvalidSelector> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'+-.^_`~".contains(&b);
    let good = !name.is_empty() && name.len() <= 128 && name.bytes().all(token);
    if good { Ok(name) } else { Err(InvalidSelector::Header(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_selector_prints_as_written() {
        for text in [
            "/data/id",
            "body:/data/id",
            "each:/value/*/state",
            "header:X-Name",
            "header:webhook-id|svix-id",
            "headers:x-sig-*|x-old",
            "form:payload",
            "form:payload#/type",
            "query:token",
            "pair:t",
            "outer:/id",
            "key-besides:update_id,x",
            "xml:form-base64:bt_payload#/notification/kind",
        ] {
            assert_eq!(Selector::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_typing_error_is_reported() {
        assert!(matches!(Selector::parse("heder:X"), Err(InvalidSelector::Unknown(_))));
        assert!(matches!(Selector::parse("header:"), Err(InvalidSelector::Empty(_))));
        assert!(matches!(Selector::parse("header:X Y"), Err(InvalidSelector::Header(_))));
        assert!(matches!(Selector::parse("each:/a/b"), Err(InvalidSelector::Star(_))));
        assert!(matches!(Selector::parse("/a~2"), Err(InvalidSelector::Pointer { .. })));
    }

    #[test]
    fn the_first_other_key_is_found() {
        let of = |json: &str| first_key_besides(json.as_bytes(), &["id".into(), "x".into()]);
        assert_eq!(of(r#"{"id":{"a":1},"message":{},"other":1}"#).as_deref(), Some("message"));
        assert_eq!(of(r#"{"id":1,"x":2}"#), None);
        assert_eq!((of("[1]"), of("{"), of(r#"{"a":1} x"#)), (None, None, None));
    }

    #[test]
    fn a_numbered_header_ends_with_digits() {
        let pattern = HeaderPattern { name: "x-sig-".into(), numbered: true };
        assert!(
            pattern.matches("X-Sig-12")
                && !pattern.matches("x-sig-")
                && !pattern.matches("x-sig-a")
        );
    }
}
