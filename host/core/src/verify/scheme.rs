//! A signature scheme as data: where the signature stands, what it covers, how it is made. Already checked;
//! the text form and its checks are `provider`'s.

use std::sync::Arc;
use std::time::Duration;

use crate::provider::{BodyKind, Selector};

use super::Params;
use super::RequestView;
use super::fetched::FetchedKeyRule;
use super::http_message::HttpMessageRule;
use super::jwt::JwtRule;
use super::message::{Message, MessagePart};
use crate::json_pointer::Pointer;
use crate::provider::Shape;

/// One way in which a provider signs.
#[derive(Debug, Clone)]
pub struct Scheme {
    /// Its name within the provider, such as `v1`.
    pub name: Arc<str>,
    /// Places of the signature. The first that is present counts; a plural source gives all it finds.
    pub signature: Vec<Selector>,
    /// How signatures stand in the text found there.
    pub format: Format,
    /// How a signature is written.
    pub encoding: Encoding,
    /// How a signature is made.
    pub algorithm: Algorithm,
    /// How the configured secret becomes a key.
    pub key: KeyForm,
    /// What is signed.
    pub message: Message,
    /// What may be signed instead, where senders differ.
    pub message_variants: Vec<Message>,
    /// The signed time, if the scheme has one.
    pub timestamp: Option<TimestampRule>,
    /// Fields that must have one of these values.
    pub require: Vec<Requirement>,
    /// Fields that must be of this form.
    pub shapes: Vec<(Selector, Shape)>,
    /// How many of the signatures found must be right.
    pub candidates: CandidateRule,
    /// A digest of the body among the signed fields, for messages that do not hold the body itself.
    pub body_digest: Option<BodyDigest>,
    /// An array in the body, each item of which is signed as if it were the body.
    pub items: Option<Pointer>,
    /// The signature is a JSON Web Token, which must say this.
    pub jwt: Option<JwtRule>,
    /// The signature is one of RFC 9421, which must cover this.
    pub http_message: Option<HttpMessageRule>,
    /// Where the key is published, for schemes whose key is not configured.
    pub fetched_key: Option<FetchedKeyRule>,
    /// A scheme of the same provider that must hold besides.
    pub also: Option<Box<str>>,
}

/// A field and the values it may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Where it stands.
    pub from: Selector,
    /// The values; one of them must be there to the letter.
    pub any_of: Vec<Box<str>>,
}

/// How signatures stand in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// The whole text, after a prefix that may be empty.
    Prefix(Box<str>),
    /// Several items; those that start with `prefix` are signatures.
    List {
        /// Any of these characters separates.
        separators: Box<str>,
        /// What a signature of the right version starts with.
        prefix: Box<str>,
    },
    /// Several `key=value` items; the values of `key` are signatures.
    Pairs {
        /// Any of these characters separates.
        separators: Box<str>,
        /// The key of a signature of the right version.
        key: Box<str>,
    },
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Lower-case hexadecimal.
    Hex,
    /// Hexadecimal in either case.
    HexAnyCase,
    /// Base64, padded or not.
    Base64,
    /// Base64 with the URL alphabet, padded or not.
    Base64Url,
    /// As it stands; for static tokens.
    Plain,
}

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-1.
    HmacSha1,
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-384.
    HmacSha384,
    /// HMAC with SHA-512.
    HmacSha512,
    /// SHA-256 over the secret and then the message.
    Sha256SecretPrefix,
    /// Ed25519.
    Ed25519,
    /// ECDSA on P-256 with SHA-256, signature in ASN.1 DER.
    EcdsaP256Sha256Der,
    /// RSA PKCS #1 v1.5 with SHA-1; legacy.
    RsaPkcs1Sha1,
    /// RSA PKCS #1 v1.5 with SHA-256.
    RsaPkcs1Sha256,
    /// RSA PSS with SHA-512.
    RsaPssSha512,
    /// ECDSA on P-256 with SHA-256, signature as its two numbers of 32 bytes.
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384, signature as its two numbers of 48 bytes.
    EcdsaP384Sha384,
    /// The secret itself stands in the request.
    StaticEquals,
}

impl Algorithm {
    /// True if signing takes another key than verifying.
    #[must_use]
    pub const fn has_key_pair(self) -> bool {
        !matches!(
            self,
            Self::HmacSha1
                | Self::HmacSha256
                | Self::HmacSha384
                | Self::HmacSha512
                | Self::Sha256SecretPrefix
                | Self::StaticEquals
        )
    }
}

/// How the configured secret becomes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// Its bytes.
    Utf8,
    /// Base64, with the lines of a PEM file taken off.
    Base64,
    /// Hexadecimal.
    Hex,
    /// Base64 after an optional `whsec_`.
    Whsec,
    /// Base64 after `whpk_`, or `whsk_` for signing.
    Whpk,
    /// Base64 of 32 bytes after `whsec_`, which must be there: where a plain token may stand instead.
    WhsecOnly,
    /// Its bytes, and also the key that [`KeyForm::Whsec`] makes of it, if that is one of 16 bytes at least: for a
    /// sender that changed from the one to the other.
    WhsecOrUtf8,
    /// Its bytes after Unicode normalisation NFKD.
    Nfkd,
    /// Its bytes after the escapes of HTML are undone, as in `&amp;`.
    HtmlText,
    /// The SHA-1 of its bytes.
    Sha1,
    /// A public key: PEM, a certificate, a JSON Web Key or a set of them.
    PublicKey,
}

/// Where the time is and how far it may be from ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampRule {
    /// Where; the first that is present counts.
    pub from: Vec<Selector>,
    /// How it is written.
    pub unit: TimeUnit,
    /// How far it may be from our clock; `None` accepts any time.
    pub tolerance: Option<Duration>,
    /// In which direction.
    pub direction: Direction,
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Unix seconds in decimal digits.
    Seconds,
    /// Unix milliseconds in decimal digits.
    Millis,
    /// RFC 3339.
    Rfc3339,
}

/// In which direction a time is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Neither too old nor too far ahead.
    Both,
    /// Not too old; may lie ahead.
    Past,
}

/// How many of the signatures found must be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandidateRule {
    /// One is enough, as in a rotation of keys.
    Any,
    /// Every one, as where each item of a batch carries the token.
    All,
    /// The one that there is; two are refused.
    One,
}

/// Where the SHA-256 of the body stands among the signed fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyDigest {
    /// Where it stands.
    pub from: Selector,
    /// How it is written.
    pub encoding: Encoding,
}

impl Scheme {
    /// Number of families: sets of header names that belong together, such as `webhook-*` and `svix-*`.
    #[must_use]
    pub fn families(&self) -> usize {
        self.signature.iter().map(Selector::families).max().unwrap_or(1)
    }

    /// True if the signature covers the public URL, so that the source must know it.
    #[must_use]
    pub fn signs_url(&self) -> bool {
        self.messages().any(Message::holds_url)
            || self.jwt.as_ref().is_some_and(JwtRule::names_url)
            || self.http_message.is_some()
    }

    /// True if a change of what stands at `source` breaks the signature.
    #[must_use]
    pub(crate) fn covers(&self, source: &Selector) -> bool {
        match (&self.jwt, &self.http_message) {
            (None, None) => self.message.covers(source),
            (Some(jwt), _) => source.reads_body() && jwt.covers_body(),
            (None, Some(rule)) => source.reads_body() && rule.covers_body(),
        }
    }

    /// True if changing the body always breaks the signature.
    #[must_use]
    pub fn covers_body(&self) -> bool {
        let covered = match (&self.jwt, &self.http_message) {
            (None, None) => self.message.covers_body(),
            (Some(jwt), _) => jwt.covers_body(),
            (None, Some(rule)) => rule.covers_body(),
        };
        self.algorithm != Algorithm::StaticEquals && covered
    }

    fn messages(&self) -> impl Iterator<Item = &Message> {
        std::iter::once(&self.message).chain(&self.message_variants)
    }

    /// True if a change of the URL's query breaks the signature.
    #[must_use]
    pub(crate) fn covers_query(&self) -> bool {
        match (&self.jwt, &self.http_message) {
            (None, None) => self.messages().all(Message::covers_query),
            (Some(jwt), _) => jwt.covers_query(),
            (None, Some(rule)) => rule.covers_query(),
        }
    }

    /// True if it can tell a request without a body from another: its signature covers the query, or something else that
    /// differs, such as the time. A token signs nothing, and is what it is.
    #[must_use]
    pub(crate) fn tells_queries_apart(&self) -> bool {
        let told = match (&self.jwt, &self.http_message) {
            (None, None) => self.messages().all(Message::covers_head),
            // Every token has its time.
            (Some(_), _) => true,
            (None, Some(rule)) => rule.max_age.is_some() || rule.covers_query(),
        };
        told || self.algorithm == Algorithm::StaticEquals
    }

    /// True if the signed text is made of the request's payload, but is not the payload as it came: what is not signed of
    /// it can be changed by anybody who has seen one such request.
    pub(super) fn signs_another_text(&self, request: &RequestView<'_>) -> bool {
        if self.algorithm == Algorithm::StaticEquals {
            false
        } else if request.payload_is_query() {
            self.messages().any(Message::rewrites_query)
        } else {
            !self.covers_body() && !self.signs_checksum()
        }
    }

    /// True if of a form certain fields are signed, and others may be added.
    pub(crate) fn signs_some_fields(&self) -> bool {
        let whole = |part: &MessagePart| {
            matches!(
                part,
                MessagePart::FormSorted { .. }
                    | MessagePart::FormPhp(_)
                    | MessagePart::ParamsSorted(_)
            )
        };
        self.signs_parts_of() == Some(BodyKind::Form)
            && !self.message.parts().iter().any(whole)
            && self.algorithm != Algorithm::StaticEquals
    }

    /// True if of the body only a checksum is signed, for which other bodies are easily found.
    pub(crate) fn signs_checksum(&self) -> bool {
        self.messages().any(Message::holds_checksum)
    }

    /// True if a change of the method breaks the signature.
    pub(super) fn covers_method(&self) -> bool {
        match (&self.jwt, &self.http_message) {
            (None, None) => self.messages().all(Message::covers_method),
            (Some(jwt), _) => jwt.covers_method(),
            (None, Some(rule)) => rule.covers_method(),
        }
    }

    /// True if a change of the signed time breaks the signature.
    pub(crate) fn signs_time(&self) -> bool {
        let covered = |rule: &TimestampRule| {
            self.message.covers_timestamp() || rule.from.iter().all(|s| self.message.covers(s))
        };
        match (&self.jwt, &self.http_message) {
            (None, None) => self.timestamp.as_ref().is_some_and(covered),
            // Their own times stand in them.
            (Some(_), _) | (None, Some(_)) => true,
        }
    }

    /// As what a body is read, where the signature is over parts of it and not the whole.
    pub(crate) fn signs_parts_of(&self) -> Option<BodyKind> {
        if self.covers_body() {
            return None;
        }
        let times = self.timestamp.iter().flat_map(|rule| &rule.from);
        let mut fields = self.signature.iter().chain(self.message.fields()).chain(times);
        let as_json = self.items.is_some()
            || self.message.parts().iter().any(|part| matches!(part, MessagePart::JsonLines(_)));
        let as_form = self.message.parts().iter().any(|part| {
            matches!(
                part,
                MessagePart::FormSorted { .. }
                    | MessagePart::FormPhp(_)
                    | MessagePart::ParamsSorted(_)
                    | MessagePart::BodyOrField(_)
            )
        });
        match (as_json, as_form) {
            (true, _) => Some(BodyKind::Json),
            (false, true) => Some(BodyKind::Form),
            (false, false) => fields.find_map(Selector::reads_body_as),
        }
    }

    /// The texts that may hold `{param:NAME}`.
    fn texts(&mut self) -> impl Iterator<Item = &mut Box<str>> {
        let format = match &mut self.format {
            Format::Prefix(prefix) | Format::List { prefix, .. } => Some(prefix),
            Format::Pairs { .. } => None,
        };
        let required = self.require.iter_mut().flat_map(|r| &mut r.any_of);
        let claims = self.jwt.iter_mut().flat_map(JwtRule::texts);
        format.into_iter().chain(required).chain(claims)
    }

    /// The scheme with a source's parameters in place of their names; `Err` is the first that is not given.
    pub(crate) fn with_params(self: &Arc<Self>, params: &Params) -> Result<Arc<Self>, Box<str>> {
        let mut filled = (**self).clone();
        filled.message = self.message.with_params(params)?;
        filled.message_variants = self
            .message_variants
            .iter()
            .map(|message| message.with_params(params))
            .collect::<Result<_, _>>()?;
        let mut changed = filled.message != self.message;
        for text in filled.texts().filter(|text| text.contains("{param:")) {
            *text = fill_params(text, params)?.into();
            changed = true;
        }
        if let Some(fetched) = &mut filled.fetched_key {
            changed |= fetched.take_params(params);
        }
        Ok(if changed { Arc::new(filled) } else { Arc::clone(self) })
    }

    /// The names of the parameters that it cannot do without.
    pub(crate) fn params(&self) -> Vec<String> {
        let mut copy = self.clone();
        let mut names: Vec<_> =
            self.messages().flat_map(Message::params).map(str::to_owned).collect();
        names.extend(copy.texts().flat_map(|text| param_names(text)));
        names
    }
}

/// `text` with the values of its `{param:NAME}`; in `{param:NAME|url}` another placeholder stands in for a
/// parameter that is not given. `Err` is the first that is not given.
pub(crate) fn fill_params(text: &str, params: &Params) -> Result<String, Box<str>> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{param:") {
        let (name, tail) = after.split_once('}').ok_or_else(|| Box::<str>::from(after))?;
        out.push_str(before);
        let (name, fallback) = name.split_once('|').map_or((name, None), |(n, f)| (n, Some(f)));
        match (params.get(name), fallback) {
            (Some(value), _) => out.push_str(&String::from_utf8_lossy(value.expose())),
            (None, Some(fallback)) => out.extend(["{", fallback, "}"]),
            (None, None) => return Err(name.into()),
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// The names in the `{param:NAME}` of a text.
pub(crate) fn param_names(text: &str) -> Vec<String> {
    let names = text.split("{param:").skip(1);
    let names = names.filter_map(|rest| rest.split_once(['}', '|']));
    names.map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Secret;
    use super::*;

    #[test]
    fn a_parameter_takes_the_place_of_its_name() {
        let params = Params::from([("id".to_owned(), Secret::new("7"))]);
        assert_eq!(fill_params("a{param:id}b{param:id}", &params).unwrap(), "a7b7");
        assert_eq!(fill_params("a{param:other}", &params), Err("other".into()));
        assert_eq!(fill_params("{param:other|url}!", &params).unwrap(), "{url}!");
        assert_eq!(fill_params("{param:id|url}", &params).unwrap(), "7");
        assert_eq!(param_names("{param:a}|{param:b|url}"), ["a", "b"]);
    }
}
