//! A signature scheme as data: where the signature is, what it covers, how it is made. `provider`
//! parses and checks the text form.

use std::sync::Arc;
use std::time::Duration;

use crate::selector::{BodyKind, Selector};

use super::Params;
use super::fetched::FetchedKeyRule;
use super::http_message::HttpMessageRule;
use super::jwt::JwtRule;
use super::message::{MessagePart, SignedMessage};
use crate::json_pointer::Pointer;
use crate::request::RequestView;
use crate::selector::Shape;

/// A signature scheme of a provider.
#[derive(Debug, Clone)]
pub struct Scheme {
    /// The name within the provider, such as `v1`.
    pub name: Arc<str>,
    /// The selectors of the signature. The first with a value counts; a selector of several values
    /// gives all of them.
    pub signature: Vec<Selector>,
    /// The form of signatures in the selected value.
    pub format: SignatureFormat,
    /// The encoding of a signature.
    pub encoding: Encoding,
    /// A signature algorithm.
    pub algorithm: Algorithm,
    /// The decoding of a configured secret to a key.
    pub key: KeyForm,
    /// The signed message.
    pub message: SignedMessage,
    /// Alternative messages, for senders that differ.
    pub message_variants: Vec<SignedMessage>,
    /// The signed time, if the scheme has one.
    pub timestamp: Option<TimestampRule>,
    /// Fields that must have one of certain values.
    pub require: Vec<Requirement>,
    /// Fields that must have a certain shape.
    pub shapes: Vec<(Selector, Shape)>,
    /// The number of found signatures that must be valid.
    pub candidates: CandidateRule,
    /// A digest of the body among the signed fields, for messages that do not contain the body
    /// itself.
    pub body_digest: Option<BodyDigest>,
    /// An array in the body; each item is signed as if it were the body.
    pub items: Option<Pointer>,
    /// The signature is a JSON Web Token with these claims.
    pub jwt: Option<JwtRule>,
    /// The signature is an HTTP Message Signature (RFC 9421) that covers these components.
    pub http_message: Option<HttpMessageRule>,
    /// The place where the sender publishes its keys, for schemes without a configured key.
    pub fetched_key: Option<FetchedKeyRule>,
    /// The name of another scheme of the provider that must hold too.
    pub also: Option<Box<str>>,
}

/// A field and its permitted values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub from: Selector,
    /// The permitted values, compared byte by byte.
    pub any_of: Vec<Box<str>>,
}

/// The form of signatures in a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureFormat {
    /// The whole text after a prefix, which may be empty.
    Prefix(Box<str>),
    /// Several items; an item with `prefix` is a signature.
    List {
        /// The separator characters.
        separators: Box<str>,
        /// The prefix of a signature of the accepted version.
        prefix: Box<str>,
    },
    /// Several `key=value` items; the value of `key` is a signature.
    Pairs {
        /// The separator characters.
        separators: Box<str>,
        /// The key of a signature of the accepted version.
        key: Box<str>,
    },
}

/// The encoding of a signature.
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
    /// No encoding; for static tokens.
    Plain,
}

/// A signature algorithm.
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
    /// SHA-256 over the secret followed by the message.
    Sha256SecretPrefix,
    /// Ed25519.
    Ed25519,
    /// ECDSA on P-256 with SHA-256; the signature is ASN.1 DER.
    EcdsaP256Sha256Der,
    /// RSA PKCS #1 v1.5 with SHA-1; legacy.
    RsaPkcs1Sha1,
    /// RSA PKCS #1 v1.5 with SHA-256.
    RsaPkcs1Sha256,
    /// RSA PSS with SHA-512.
    RsaPssSha512,
    /// ECDSA on P-256 with SHA-256; the signature is its two numbers of 32 bytes each.
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384; the signature is its two numbers of 48 bytes each.
    EcdsaP384Sha384,
    /// The request holds the secret itself.
    StaticEquals,
}

impl Algorithm {
    /// True if signing and verifying use different keys.
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

/// The decoding of a configured secret to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// The bytes of the secret.
    Utf8,
    /// Base64, with PEM header and footer lines removed.
    Base64,
    Hex,
    /// Base64 after an optional `whsec_`.
    Whsec,
    /// Base64 after `whpk_`, or after `whsk_` to sign.
    Whpk,
    /// Base64 of 32 bytes after a required `whsec_`: for sources that may have a plain token
    /// instead.
    WhsecOnly,
    /// The bytes of the secret, and also the key that [`KeyForm::Whsec`] decodes, if it has at
    /// least 16 bytes: for a sender that changed from one form to the other.
    WhsecOrUtf8,
    /// The secret in Unicode normal form NFKD.
    Nfkd,
    /// The secret with HTML escapes such as `&amp;` decoded.
    HtmlText,
    /// The SHA-1 of the secret.
    Sha1,
    /// A public key: PEM, a certificate, a JSON Web Key, or a set of JSON Web Keys.
    PublicKey,
}

/// The place of the signed time, and its permitted difference from the hub's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampRule {
    /// The selectors of the time; the first that has a value counts.
    pub from: Vec<Selector>,
    pub unit: TimeUnit,
    /// The permitted difference from the hub's clock; `None` accepts any time.
    pub tolerance: Option<Duration>,
    pub direction: Direction,
}

/// The format of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Unix seconds in decimal digits.
    Seconds,
    /// Unix milliseconds in decimal digits.
    Millis,
    /// RFC 3339.
    Rfc3339,
}

/// The direction in which a time is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Not too old and not too far ahead.
    Both,
    /// Not too old; any time in the future is accepted.
    Past,
}

/// The number of found signatures that must be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandidateRule {
    /// One valid signature is enough, as during a key rotation.
    Any,
    /// Every signature must be valid, as in a batch whose items each carry the token.
    All,
    /// There must be exactly one signature.
    One,
}

/// The SHA-256 of the body as a signed field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyDigest {
    pub from: Selector,
    pub encoding: Encoding,
}

impl Scheme {
    /// The number of families: sets of header names that belong together, such as `webhook-*` and
    /// `svix-*`.
    #[must_use]
    pub fn families(&self) -> usize {
        self.signature.iter().map(Selector::families).max().unwrap_or(1)
    }

    /// True if the signature covers the public URL, so that the source must configure it.
    #[must_use]
    pub fn signs_url(&self) -> bool {
        self.messages().any(SignedMessage::contains_url)
            || self.jwt.as_ref().is_some_and(JwtRule::names_url)
            || self.http_message.is_some()
    }

    /// True if a change of the value at `source` breaks the signature.
    #[must_use]
    pub(crate) fn covers(&self, source: &Selector) -> bool {
        match (&self.jwt, &self.http_message) {
            (None, None) => self.message.covers(source),
            (Some(jwt), _) => source.reads_body() && jwt.covers_body(),
            (None, Some(rule)) => source.reads_body() && rule.covers_body(),
        }
    }

    /// True if any change of the body breaks the signature.
    #[must_use]
    pub fn covers_body(&self) -> bool {
        let covered = match (&self.jwt, &self.http_message) {
            (None, None) => self.message.covers_body(),
            (Some(jwt), _) => jwt.covers_body(),
            (None, Some(rule)) => rule.covers_body(),
        };
        self.algorithm != Algorithm::StaticEquals && covered
    }

    fn messages(&self) -> impl Iterator<Item = &SignedMessage> {
        std::iter::once(&self.message).chain(&self.message_variants)
    }

    /// True if a change of the URL's query breaks the signature.
    #[must_use]
    pub(crate) fn covers_query(&self) -> bool {
        match (&self.jwt, &self.http_message) {
            (None, None) => self.messages().all(SignedMessage::covers_query),
            (Some(jwt), _) => jwt.covers_query(),
            (None, Some(rule)) => rule.covers_query(),
        }
    }

    /// True if the signatures of two requests without a body differ: the signature covers the
    /// query, or something else that differs, such as the time. A static token signs nothing and
    /// counts as well.
    #[must_use]
    pub(crate) fn distinguishes_queries(&self) -> bool {
        let distinct = match (&self.jwt, &self.http_message) {
            (None, None) => self.messages().all(SignedMessage::covers_head),
            // Every JSON Web Token has its own time.
            (Some(_), _) => true,
            (None, Some(rule)) => rule.max_age.is_some() || rule.covers_query(),
        };
        distinct || self.algorithm == Algorithm::StaticEquals
    }

    /// True if the signed text is derived from the payload, but is not the payload as received. The
    /// unsigned rest of a captured request can then be changed.
    pub(super) fn signs_derived_text(&self, request: &RequestView<'_>) -> bool {
        if self.algorithm == Algorithm::StaticEquals {
            false
        } else if request.payload_is_query() {
            self.messages().any(SignedMessage::rewrites_query)
        } else {
            !self.covers_body() && !self.signs_checksum()
        }
    }

    /// True if only certain fields of a form are signed, so that others can be added.
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

    /// True if only a checksum of the body is signed. Other bodies with the same checksum are easy
    /// to find.
    pub(crate) fn signs_checksum(&self) -> bool {
        self.messages().any(SignedMessage::contains_checksum)
    }

    /// True if a change of the method breaks the signature.
    pub(super) fn covers_method(&self) -> bool {
        match (&self.jwt, &self.http_message) {
            (None, None) => self.messages().all(SignedMessage::covers_method),
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
            // Both formats contain their own time.
            (Some(_), _) | (None, Some(_)) => true,
        }
    }

    /// The kind that the body is read as, if the signature covers parts of it and not the whole.
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

    /// The texts that may contain `{param:NAME}`.
    fn texts(&mut self) -> impl Iterator<Item = &mut Box<str>> {
        let format = match &mut self.format {
            SignatureFormat::Prefix(prefix) | SignatureFormat::List { prefix, .. } => Some(prefix),
            SignatureFormat::Pairs { .. } => None,
        };
        let required = self.require.iter_mut().flat_map(|r| &mut r.any_of);
        let claims = self.jwt.iter_mut().flat_map(JwtRule::texts);
        format.into_iter().chain(required).chain(claims)
    }

    /// The scheme with the source's parameters filled in; `Err` is the first parameter that is not
    /// given.
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
            changed |= fetched.apply_params(params);
        }
        Ok(if changed { Arc::new(filled) } else { self.clone() })
    }

    /// The names of the parameters that the scheme needs.
    pub(crate) fn params(&self) -> Vec<String> {
        let mut copy = self.clone();
        let mut names: Vec<_> =
            self.messages().flat_map(SignedMessage::params).map(str::to_owned).collect();
        names.extend(copy.texts().flat_map(|text| param_names(text)));
        names
    }
}

/// `text` with the values of its `{param:NAME}`. In `{param:NAME|url}`, another placeholder
/// replaces a parameter that is not given. `Err` is the first parameter that is not given.
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

/// The parameter names in the `{param:NAME}` placeholders of a text.
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
    fn fill_params_replaces_placeholders() {
        let params = Params::from([("id".to_owned(), Secret::new("7"))]);
        assert_eq!(fill_params("a{param:id}b{param:id}", &params).unwrap(), "a7b7");
        assert_eq!(fill_params("a{param:other}", &params), Err("other".into()));
        assert_eq!(fill_params("{param:other|url}!", &params).unwrap(), "{url}!");
        assert_eq!(fill_params("{param:id|url}", &params).unwrap(), "7");
        assert_eq!(param_names("{param:a}|{param:b|url}"), ["a", "b"]);
    }
}
