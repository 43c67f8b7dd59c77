//! What is signed: parts of the request in the order in which the scheme strings them together.

use std::borrow::Cow;

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::json_pointer::{PointerSet, scalar_text};
use crate::provider::{
    InvalidSelector, Piece, Selector, Unclosed, into_bytes, pieces, unless_duplicated,
};

use super::canonical::{self, UrlForm};
use super::scheme::Format;
use super::signature::Candidates;
use super::{Params, RequestView, SignedDigest, VerifyError};

/// A signed message as a list of parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    parts: Vec<MessagePart>,
    /// Pointers of the parts, so that a body is walked once for all of them.
    pointers: Vec<crate::json_pointer::Pointer>,
}

/// One part of a signed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessagePart {
    /// Fixed bytes.
    Literal(Box<[u8]>),
    /// The raw body.
    Body,
    /// The text of the time as received.
    Timestamp,
    /// The method.
    Method,
    /// The public URL.
    Url(UrlForm),
    /// A field of the request.
    Field(Selector),
    /// A field of the request, or nothing where it is missing.
    Optional(Selector),
    /// A parameter of the source.
    Param(Box<str>),
    /// The CRC-32 (IEEE) of the body, in decimal.
    BodyCrc32,
    /// The bytes of the SHA-256 of the body.
    BodySha256,
    /// Of a JSON object, each of these keys, a line end, its text, a line end; those marked with `?` may be
    /// missing.
    JsonLines(Vec<(Box<str>, bool)>),
    /// Every form field but this one, sorted, as PHP serialises an array of strings.
    FormPhp(Box<str>),
    /// The values of the headers whose names, with spaces between, stand there; joined with full stops.
    HeaderValues(Selector),
    /// The headers whose names, with commas between, stand there, certain ones among them; as sorted
    /// `name:value` with semicolons.
    HeaderPairs(Selector, Vec<Box<str>>),
    /// Every form field, sorted by name, name and value with nothing between; nothing if the body is no form.
    FormSorted {
        /// Equal values of one name count once, and values are sorted.
        dedupe: bool,
    },
    /// Every field of a form but this one, be it the body or the query in the place of one; sorted by name, each as
    /// `&name=value`, with `_` for each `&` and `=` of the value.
    ParamsSorted(Box<str>),
    /// A decoded field of a form, be it the body or the query in the place of one, or else the raw body.
    BodyOrField(Box<str>),
}

/// A text that describes no message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidMessage {
    /// A placeholder without an end.
    #[error(transparent)]
    Unclosed(#[from] Unclosed),
    /// A placeholder that is no part and no source.
    #[error(transparent)]
    Selector(#[from] InvalidSelector),
    /// A source that has several values.
    #[error("{{{0}}} has several values and cannot be part of a signed message")]
    Plural(String),
    /// Nothing at all.
    #[error("a signed message needs at least one part")]
    Empty,
}

impl Message {
    /// The fields of the request that it holds.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Selector> {
        self.parts.iter().filter_map(|part| match part {
            MessagePart::Field(source)
            | MessagePart::Optional(source)
            | MessagePart::HeaderValues(source)
            | MessagePart::HeaderPairs(source, _) => Some(source),
            _ => None,
        })
    }

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

    /// The same with the source's parameters in place of their names; `Err` is the first that is not given.
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

    /// The parts.
    #[must_use]
    pub fn parts(&self) -> &[MessagePart] {
        &self.parts
    }

    /// The fields of the request among the parts.
    pub fn fields(&self) -> impl Iterator<Item = &Selector> {
        self.parts.iter().filter_map(|part| match part {
            MessagePart::Field(source)
            | MessagePart::Optional(source)
            | MessagePart::HeaderValues(source)
            | MessagePart::HeaderPairs(source, _) => Some(source),
            _ => None,
        })
    }

    /// True if the raw body is a part.
    #[must_use]
    pub fn covers_body(&self) -> bool {
        self.parts.iter().any(|p| matches!(p, MessagePart::Body | MessagePart::BodySha256))
    }

    /// True if a change of what stands at `source` breaks the signature.
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
                field == source || field.holds(source)
            }
            MessagePart::JsonLines(keys) => match source {
                Selector::Json(pointer) | Selector::Body(pointer) => {
                    keys.iter().any(|(key, _)| pointer.is_key(key))
                }
                _ => false,
            },
            // A checksum is no hash: another body with the same one is easily made.
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

    /// True if the query that stands in the place of a body is signed in another form than the one it came in.
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

    /// True if of the body only a checksum is signed, for which other bodies are easily found.
    pub(super) fn holds_checksum(&self) -> bool {
        self.parts.contains(&MessagePart::BodyCrc32)
    }

    /// The digest of a resolved message without its time, which differs when the same thing is sent again.
    pub(super) fn digest(&self, resolved: &[Cow<'_, [u8]>]) -> SignedDigest {
        let mut digest = Sha256::new();
        let timeless =
            self.parts.iter().zip(resolved).filter(|(p, _)| **p != MessagePart::Timestamp);
        timeless.for_each(|(_, bytes)| digest.update(bytes));
        digest.finalize().into()
    }

    /// True if the public URL is a part.
    pub(super) fn holds_url(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, MessagePart::Url(_)))
    }

    /// True if of two requests without a body the signed texts differ: something of their heads is a part.
    pub(super) fn covers_head(&self) -> bool {
        self.parts.iter().any(|part| match part {
            MessagePart::Timestamp
            | MessagePart::Url(_)
            | MessagePart::BodyOrField(_)
            | MessagePart::ParamsSorted(_)
            | MessagePart::HeaderValues(_)
            | MessagePart::HeaderPairs(..) => true,
            MessagePart::Field(source) => !source.reads_body(),
            // What may be left out tells nothing apart.
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

    /// True if it is the same for every request: one signature would be good for all of them.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        let fixed = |part: &MessagePart| {
            matches!(part, MessagePart::Literal(_) | MessagePart::Param(_) | MessagePart::Method)
        };
        self.parts.iter().all(fixed)
    }

    /// True if something of the body is a part, or all of it.
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

    /// Two parts with nothing between them, each as long as the sender likes: bytes can go from one to the other and
    /// the signature still holds.
    #[must_use]
    pub fn touching(&self) -> Option<(String, String)> {
        self.parts.windows(2).find_map(|pair| match pair {
            [a, b] => a.name().zip(b.name()),
            _ => None,
        })
    }

    /// True if the text of the time is a part.
    #[must_use]
    pub fn covers_timestamp(&self) -> bool {
        self.parts.contains(&MessagePart::Timestamp)
    }

    /// The forms of the public URL, each of which may be the signed one.
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

    /// The bytes of each part in order.
    pub(crate) fn resolve<'a>(
        &'a self,
        request: &RequestView<'a>,
        around: &SignatureContext<'a, '_>,
    ) -> Result<Vec<Cow<'a, [u8]>>, VerifyError> {
        let mut json = JsonFields { message: self, body: request.body, found: None };
        self.parts.iter().map(|part| part.resolve(request, around, &mut json)).collect()
    }
}

/// What the parts of a message may need besides the request.
pub(crate) struct SignatureContext<'a, 'f> {
    timestamp: Option<&'a [u8]>,
    family: usize,
    url: &'a str,
    beside: Option<(&'f Candidates<'a>, &'f Format)>,
}

impl<'a, 'f> SignatureContext<'a, 'f> {
    /// The text of the time, the family of header names, and the form of the public URL that is tried.
    pub(crate) fn new(timestamp: Option<&'a [u8]>, family: usize, url: &'a str) -> Self {
        Self { timestamp, family, url, beside: None }
    }

    /// With the signature header, for what stands beside the signature in it.
    pub(super) fn beside(self, candidates: &'f Candidates<'a>, format: &'f Format) -> Self {
        Self { beside: Some((candidates, format)), ..self }
    }

    fn pair(&self, key: &str) -> Result<Option<&'a [u8]>, VerifyError> {
        self.beside.map_or(Ok(None), |(candidates, format)| candidates.pair(format, key))
    }
}

/// The JSON fields of a message, found in one walk when the first is asked for.
struct JsonFields<'m, 'a> {
    message: &'m Message,
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
    /// It as a template has it; none for what is the same in every request of a source.
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
        around: &SignatureContext<'a, '_>,
        json: &mut JsonFields<'_, 'a>,
    ) -> Result<Cow<'a, [u8]>, VerifyError> {
        let missing = VerifyError::SignedFieldMissing;
        let mut field = |source: &Selector| match source {
            Selector::Json(pointer) | Selector::Body(pointer) => json.get(pointer),
            Selector::Pair(key) => Ok(around.pair(key)?.map(Cow::Borrowed)),
            source => source.read(request, around.family),
        };
        Ok(match self {
            Self::Literal(bytes) => Cow::Borrowed(&**bytes),
            Self::Body => Cow::Borrowed(request.body),
            Self::Timestamp => {
                Cow::Borrowed(around.timestamp.ok_or(VerifyError::TimestampMissing)?)
            }
            Self::Method => Cow::Borrowed(request.method.as_bytes()),
            Self::Url(_) => Cow::Borrowed(around.url.as_bytes()),
            Self::Field(source) => field(source)?.ok_or(missing)?,
            Self::Optional(source) => field(source)?.unwrap_or_default(),
            // Put in place of the name when the keys were made.
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

/// A source that has one value.
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
    fn what_a_message_covers_is_read_off_its_parts() {
        let message = Message::parse("{header:a|b}.{timestamp}.{body}").unwrap();
        assert!(message.covers(&Selector::parse("header:a|b").unwrap()));
        assert!(!message.covers(&Selector::parse("header:c").unwrap()));
        assert!(message.covers(&Selector::parse("/id").unwrap()));
        assert!(message.covers_body() && message.covers_timestamp());
        assert!(matches!(Message::parse("{bodi}"), Err(InvalidMessage::Selector(_))));
        assert!(matches!(Message::parse("{each:/a/*/b}"), Err(InvalidMessage::Plural(_))));
    }
}
