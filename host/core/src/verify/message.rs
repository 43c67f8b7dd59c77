//! The signed message: parts of the request, in the order in which the scheme joins them.

use std::borrow::Cow;

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::json_pointer::{PointerSet, scalar_text};
use crate::selector::{InvalidSelector, Selector, into_bytes, unless_duplicated};
use crate::template::{Piece, Unclosed, pieces};

use super::canonical::{self, UrlForm};
use super::scheme::SignatureFormat;
use super::signature::Candidates;
use super::{Params, SignedDigest, VerifyError};
use crate::request::RequestView;

/// A signed message as a list of parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedMessage {
    parts: Vec<MessagePart>,
    /// The pointers of the parts, so that a body is walked once for all of them.
    pointers: Vec<crate::json_pointer::Pointer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessagePart {
    /// Fixed bytes.
    Literal(Box<[u8]>),
    /// The raw body.
    Body,
    /// The text of the time as received.
    Timestamp,
    Method,
    /// The public URL.
    Url(UrlForm),
    /// A field of the request.
    Field(Selector),
    /// A field of the request, or nothing if it is missing.
    Optional(Selector),
    /// A parameter of the source.
    Param(Box<str>),
    /// The CRC-32 (IEEE) of the body in decimal digits.
    BodyCrc32,
    /// The 32 bytes of the SHA-256 of the body.
    BodySha256,
    /// For each of these keys of the JSON body: the key, a line end, its text, a line end. Keys
    /// with `true` may be missing.
    JsonLines(Vec<(Box<str>, bool)>),
    /// Every form field except this one, sorted, as PHP serialises an array of strings.
    FormPhp(Box<str>),
    /// The values of the headers that this field lists, separated by spaces; joined with full
    /// stops.
    HeaderValues(Selector),
    /// The headers that this field lists, separated by commas, as sorted `name:value` joined with
    /// semicolons. The list must contain certain names.
    HeaderPairs(Selector, Vec<Box<str>>),
    /// The name and value of every form field, sorted by name and joined with nothing between;
    /// empty if the body is not a form.
    FormSorted {
        /// Values are sorted too, and equal values of one name count once.
        dedupe: bool,
    },
    /// Every field of the payload form (body or query) except this one, sorted by name, each as
    /// `&name=value`; `&` and `=` in a value become `_`.
    ParamsSorted(Box<str>),
    /// A decoded field of the payload form (body or query), else the raw body.
    BodyOrField(Box<str>),
}

/// An error in the text of a message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidMessage {
    #[error(transparent)]
    Unclosed(#[from] Unclosed),
    /// A placeholder that is neither a part nor a selector.
    #[error(transparent)]
    Selector(#[from] InvalidSelector),
    /// A selector of several values.
    #[error("{{{0}}} has several values and cannot be part of a signed message")]
    Plural(String),
    #[error("a signed message needs at least one part")]
    Empty,
}

impl SignedMessage {
    /// Parses a template such as `{timestamp}.{body}`.
    pub fn parse(text: &str) -> Result<Self, InvalidMessage> {
        let parts = pieces(text)?
            .into_iter()
            .map(|piece| match piece {
                Piece::Literal(text) => Ok(MessagePart::Literal(text.into_bytes().into())),
                Piece::Placeholder(name) => MessagePart::parse(&name),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if parts.is_empty() {
            return Err(InvalidMessage::Empty);
        }
        Ok(Self::of(parts))
    }

    fn of(parts: Vec<MessagePart>) -> Self {
        let pointers = parts
            .iter()
            .filter_map(|part| match part {
                MessagePart::Field(Selector::Json(p) | Selector::Body(p))
                | MessagePart::Optional(Selector::Json(p) | Selector::Body(p)) => Some(p.clone()),
                _ => None,
            })
            .collect();
        Self { parts, pointers }
    }

    /// The message with the source's parameters filled in; `Err` is the first that is not given.
    pub(crate) fn with_params(&self, params: &Params) -> Result<Self, Box<str>> {
        let part = |part: &MessagePart| match part {
            MessagePart::Param(name) => match params.get(&**name) {
                Some(value) => Ok(MessagePart::Literal(value.expose().into())),
                None => Err(name.clone()),
            },
            other => Ok(other.clone()),
        };
        Ok(Self::of(self.parts.iter().map(part).collect::<Result<_, _>>()?))
    }

    /// The names of the parameters among the parts.
    pub fn params(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            MessagePart::Param(name) => Some(&**name),
            _ => None,
        })
    }

    #[must_use]
    pub fn parts(&self) -> &[MessagePart] {
        &self.parts
    }

    /// The request fields among the parts.
    pub fn fields(&self) -> impl Iterator<Item = &Selector> {
        self.parts.iter().filter_map(|part| match part {
            MessagePart::Field(source)
            | MessagePart::Optional(source)
            | MessagePart::HeaderValues(source)
            | MessagePart::HeaderPairs(source, _) => Some(source),
            _ => None,
        })
    }

    /// True if the raw body, or its SHA-256, is a part.
    #[must_use]
    pub fn covers_body(&self) -> bool {
        self.parts.iter().any(|p| matches!(p, MessagePart::Body | MessagePart::BodySha256))
    }

    /// True if a change of the value at `source` breaks the signature.
    #[must_use]
    pub fn covers(&self, source: &Selector) -> bool {
        self.parts.iter().any(|part| match part {
            MessagePart::Body
            | MessagePart::BodySha256
            | MessagePart::FormSorted { .. }
            | MessagePart::BodyOrField(_)
            | MessagePart::FormPhp(_)
            | MessagePart::ParamsSorted(_) => source.reads_body(),
            MessagePart::Url(_) => matches!(source, Selector::Query(_)),
            MessagePart::Field(field) | MessagePart::Optional(field) => {
                field == source || field.contains(source)
            }
            MessagePart::JsonLines(keys) => match source {
                Selector::Json(pointer) | Selector::Body(pointer) => {
                    keys.iter().any(|(key, _)| pointer.is_key(key))
                }
                _ => false,
            },
            // A checksum is not a hash: another body with the same one is easy to make.
            MessagePart::BodyCrc32 | MessagePart::HeaderValues(_) => false,
            MessagePart::HeaderPairs(_, listed) => match source {
                Selector::Header(names) => {
                    names.iter().all(|name| listed.iter().any(|l| l.eq_ignore_ascii_case(name)))
                }
                _ => false,
            },
            MessagePart::Literal(_)
            | MessagePart::Param(_)
            | MessagePart::Timestamp
            | MessagePart::Method => false,
        })
    }

    /// True if a change of the URL's query breaks the signature.
    pub(super) fn covers_query(&self) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, MessagePart::Url(_) | MessagePart::ParamsSorted(_)))
    }

    /// True if a query payload is signed in another form than it was received in.
    pub(super) fn rewrites_query(&self) -> bool {
        self.parts.iter().any(|part| {
            matches!(
                part,
                MessagePart::Url(UrlForm::Hubspot)
                    | MessagePart::ParamsSorted(_)
                    | MessagePart::BodyOrField(_)
            )
        })
    }

    /// True if the method is a part.
    pub(super) fn covers_method(&self) -> bool {
        self.parts.contains(&MessagePart::Method)
    }

    /// True if only a checksum of the body is signed. Other bodies with the same checksum are easy
    /// to find.
    pub(super) fn contains_checksum(&self) -> bool {
        self.parts.contains(&MessagePart::BodyCrc32)
    }

    /// The digest of a resolved message without its time, which differs in repeated requests.
    pub(super) fn digest(&self, resolved: &[Cow<'_, [u8]>]) -> SignedDigest {
        let mut digest = Sha256::new();
        let timeless =
            self.parts.iter().zip(resolved).filter(|(p, _)| **p != MessagePart::Timestamp);
        timeless.for_each(|(_, bytes)| digest.update(bytes));
        digest.finalize().into()
    }

    /// True if the public URL is a part.
    pub(super) fn contains_url(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, MessagePart::Url(_)))
    }

    /// True if the signed texts of two requests without a body differ: something outside the body
    /// is a part.
    pub(super) fn covers_head(&self) -> bool {
        self.parts.iter().any(|part| match part {
            MessagePart::Timestamp
            | MessagePart::Url(_)
            | MessagePart::BodyOrField(_)
            | MessagePart::ParamsSorted(_)
            | MessagePart::HeaderValues(_)
            | MessagePart::HeaderPairs(..) => true,
            MessagePart::Field(source) => !source.reads_body(),
            // An optional field can be left out, so it distinguishes nothing.
            MessagePart::Optional(_) => false,
            MessagePart::Literal(_)
            | MessagePart::Param(_)
            | MessagePart::Body
            | MessagePart::Method
            | MessagePart::BodyCrc32
            | MessagePart::BodySha256
            | MessagePart::JsonLines(_)
            | MessagePart::FormPhp(_)
            | MessagePart::FormSorted { .. } => false,
        })
    }

    /// True if the message is the same for every request: one signature would be valid for all
    /// requests.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        let fixed = |part: &MessagePart| {
            matches!(part, MessagePart::Literal(_) | MessagePart::Param(_) | MessagePart::Method)
        };
        self.parts.iter().all(fixed)
    }

    /// True if the body or something in it is a part.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        self.parts.iter().any(|part| match part {
            MessagePart::Body
            | MessagePart::BodyCrc32
            | MessagePart::BodySha256
            | MessagePart::JsonLines(_)
            | MessagePart::FormPhp(_)
            | MessagePart::FormSorted { .. }
            | MessagePart::ParamsSorted(_)
            | MessagePart::BodyOrField(_) => true,
            MessagePart::Field(source) | MessagePart::Optional(source) => source.reads_body(),
            _ => false,
        })
    }

    /// Two adjacent parts that both have a variable length: bytes could move from one to the other
    /// without breaking the signature.
    #[must_use]
    pub fn adjacent_variable_parts(&self) -> Option<(String, String)> {
        self.parts.windows(2).find_map(|pair| match pair {
            [a, b] => a.name().zip(b.name()),
            _ => None,
        })
    }

    /// True if the time is a part.
    #[must_use]
    pub fn covers_timestamp(&self) -> bool {
        self.parts.contains(&MessagePart::Timestamp)
    }

    /// The forms of the public URL that may be signed.
    pub(crate) fn url_forms<'a>(&self, url: &'a str) -> Vec<Cow<'a, str>> {
        let form = self.parts.iter().find_map(|p| match p {
            MessagePart::Url(form) => Some(*form),
            _ => None,
        });
        match form {
            None => vec![Cow::Borrowed(url)],
            Some(form) => form.of(url),
        }
    }

    /// The bytes of each part, in order.
    pub(crate) fn resolve<'a>(
        &'a self,
        request: &RequestView<'a>,
        context: &SignatureContext<'a, '_>,
    ) -> Result<Vec<Cow<'a, [u8]>>, VerifyError> {
        let mut json = JsonFields { message: self, body: request.body, found: None };
        self.parts.iter().map(|part| part.resolve(request, context, &mut json)).collect()
    }
}

/// The values that parts of a message need besides the request.
pub(crate) struct SignatureContext<'a, 'f> {
    timestamp: Option<&'a [u8]>,
    family: usize,
    url: &'a str,
    header: Option<(&'f Candidates<'a>, &'f SignatureFormat)>,
}

impl<'a, 'f> SignatureContext<'a, 'f> {
    /// With the text of the time, the family of header names, and the form of the public URL that
    /// is tried.
    pub(crate) fn new(timestamp: Option<&'a [u8]>, family: usize, url: &'a str) -> Self {
        Self { timestamp, family, url, header: None }
    }

    /// Adds the signature header, for other values in it.
    pub(super) fn with_header(
        self,
        candidates: &'f Candidates<'a>,
        format: &'f SignatureFormat,
    ) -> Self {
        Self { header: Some((candidates, format)), ..self }
    }

    fn pair(&self, key: &str) -> Result<Option<&'a [u8]>, VerifyError> {
        self.header.map_or(Ok(None), |(candidates, format)| candidates.pair(format, key))
    }
}

/// The JSON fields of a message, found in one walk when the first is needed.
struct JsonFields<'m, 'a> {
    message: &'m SignedMessage,
    body: &'a [u8],
    found: Option<(PointerSet, Vec<Option<&'a RawValue>>)>,
}

impl<'a> JsonFields<'_, 'a> {
    fn get(
        &mut self,
        pointer: &crate::json_pointer::Pointer,
    ) -> Result<Option<Cow<'a, [u8]>>, VerifyError> {
        let (set, found) = match &mut self.found {
            Some(found) => found,
            none => {
                let set = PointerSet::new(self.message.pointers.iter().cloned());
                let found = unless_duplicated(set.lookup_unique(self.body))?.unwrap_or_default();
                none.insert((set, found))
            }
        };
        let raw = set.index_of(pointer).and_then(|at| *found.get(at)?);
        Ok(raw.and_then(scalar_text).map(into_bytes))
    }
}

impl MessagePart {
    /// Its placeholder in a template; `None` for a part that is the same in every request of a
    /// source.
    fn name(&self) -> Option<String> {
        let word = match self {
            Self::Literal(_) | Self::Param(_) | Self::Method | Self::BodySha256 => return None,
            Self::Body | Self::BodyOrField(_) => "body",
            Self::Timestamp => "timestamp",
            Self::Url(_) => "url",
            Self::Field(source) | Self::Optional(source) => return Some(format!("{{{source}}}")),
            Self::BodyCrc32 => "body's checksum",
            Self::JsonLines(_) => "fields of the body",
            Self::FormPhp(_) | Self::FormSorted { .. } | Self::ParamsSorted(_) => "form",
            Self::HeaderValues(_) | Self::HeaderPairs(..) => "headers",
        };
        Some(format!("{{{word}}}"))
    }

    fn parse(name: &str) -> Result<Self, InvalidMessage> {
        Ok(match name {
            "body" => Self::Body,
            "timestamp" => Self::Timestamp,
            "method" => Self::Method,
            "url" => Self::Url(UrlForm::AsIs),
            "url:any-port" => Self::Url(UrlForm::AnyPort),
            "url:hubspot" => Self::Url(UrlForm::Hubspot),
            "url:escaped-path" => Self::Url(UrlForm::EscapedPath),
            "body-crc32" => Self::BodyCrc32,
            "body-sha256" => Self::BodySha256,
            "form-sorted" => Self::FormSorted { dedupe: false },
            "form-sorted:dedupe" => Self::FormSorted { dedupe: true },
            _ => match name.split_once(':') {
                Some(("body-or-form", field)) if !field.is_empty() => {
                    Self::BodyOrField(field.into())
                }
                Some(("params-sorted", field)) if !field.is_empty() => {
                    Self::ParamsSorted(field.into())
                }
                Some(("form-php", field)) if !field.is_empty() => Self::FormPhp(field.into()),
                Some(("param", param)) if !param.is_empty() => Self::Param(param.into()),
                Some(("json-lines", keys)) if !keys.is_empty() => Self::JsonLines(
                    keys.split(' ')
                        .map(|key| match key.strip_suffix('?') {
                            Some(key) => (key.into(), true),
                            None => (key.into(), false),
                        })
                        .collect(),
                ),
                Some(("header-values", from)) => Self::HeaderValues(single(from)?),
                Some(("header-pairs", from)) => {
                    let (from, listed) = from.split_once('!').unwrap_or((from, ""));
                    let listed = listed.split(',').filter(|name| !name.is_empty());
                    Self::HeaderPairs(single(from)?, listed.map(Into::into).collect())
                }
                _ => match name.strip_suffix('?') {
                    Some(name) => Self::Optional(single(name)?),
                    None => Self::Field(single(name)?),
                },
            },
        })
    }

    fn resolve<'a>(
        &'a self,
        request: &RequestView<'a>,
        context: &SignatureContext<'a, '_>,
        json: &mut JsonFields<'_, 'a>,
    ) -> Result<Cow<'a, [u8]>, VerifyError> {
        let missing = VerifyError::SignedFieldMissing;
        let mut field = |source: &Selector| match source {
            Selector::Json(pointer) | Selector::Body(pointer) => json.get(pointer),
            Selector::Pair(key) => Ok(context.pair(key)?.map(Cow::Borrowed)),
            source => Ok(source.read(request, context.family)?),
        };
        Ok(match self {
            Self::Literal(bytes) => Cow::Borrowed(&**bytes),
            Self::Body => Cow::Borrowed(request.body),
            Self::Timestamp => {
                Cow::Borrowed(context.timestamp.ok_or(VerifyError::TimestampMissing)?)
            }
            Self::Method => Cow::Borrowed(request.method.as_bytes()),
            Self::Url(_) => Cow::Borrowed(context.url.as_bytes()),
            Self::Field(source) => field(source)?.ok_or(missing)?,
            Self::Optional(source) => field(source)?.unwrap_or_default(),
            // `with_params` replaced it by a literal.
            Self::Param(_) => return Err(missing),
            Self::BodyCrc32 => Cow::Owned(crc32fast::hash(request.body).to_string().into_bytes()),
            Self::BodySha256 => Cow::Owned(Sha256::digest(request.body).to_vec()),
            Self::JsonLines(keys) => Cow::Owned(canonical::json_lines(request.body, keys)?),
            Self::FormSorted { dedupe } => Cow::Owned(canonical::form_sorted(request, *dedupe)?),
            Self::ParamsSorted(besides) => Cow::Owned(canonical::params_sorted(request, besides)?),
            Self::FormPhp(besides) => Cow::Owned(canonical::form_php(request, besides)?),
            Self::HeaderValues(names) => {
                Cow::Owned(canonical::header_values(request, &field(names)?.ok_or(missing)?)?)
            }
            Self::HeaderPairs(names, listed) => {
                let names = field(names)?.ok_or(missing)?;
                Cow::Owned(canonical::header_pairs(request, &names, listed)?)
            }
            Self::BodyOrField(field)
                if request.is_payload_form() || request.is_multipart_form() =>
            {
                into_bytes(request.single_payload_field(field)?.ok_or(missing)?)
            }
            Self::BodyOrField(_) => Cow::Borrowed(request.body),
        })
    }
}

/// A selector of one value.
fn single(text: &str) -> Result<Selector, InvalidMessage> {
    match Selector::parse(text)? {
        Selector::Headers(_) | Selector::Each(_) => Err(InvalidMessage::Plural(text.to_owned())),
        source => Ok(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_covers_what_its_parts_say() {
        let message = SignedMessage::parse("{header:a|b}.{timestamp}.{body}").unwrap();
        assert!(message.covers(&Selector::parse("header:a|b").unwrap()));
        assert!(!message.covers(&Selector::parse("header:c").unwrap()));
        assert!(message.covers(&Selector::parse("/id").unwrap()));
        assert!(message.covers_body() && message.covers_timestamp());
        assert!(matches!(SignedMessage::parse("{bodi}"), Err(InvalidMessage::Selector(_))));
        assert!(matches!(SignedMessage::parse("{each:/a/*/b}"), Err(InvalidMessage::Plural(_))));
    }
}
