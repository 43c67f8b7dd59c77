//! One scheme with the keys of one source: the order of the checks on a request.
//!
//! Cheap checks come first. Nothing that a sender wrote is parsed before the signature is valid,
//! except where the scheme signs parts of the body.

use std::borrow::Cow;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::algorithm::Comparison;
use super::fetched::{FetchedKeyRule, KeyAddress, KeyLookup, KeyRing};
use super::http_message::{self, HttpMessageRule};
use super::jwt::{JwtRule, JwtToken};
use super::scheme::{CandidateRule, Encoding, Requirement, Scheme};
use super::signature::Candidates;
use super::{
    Params, PreparedKey, SecretError, SignatureContext, SignedDigest, Unverified, Verification,
    Verified, VerifyError,
};
use crate::bounds::EVENTS_PER_REQUEST_MAX;
use crate::json_pointer::{JsonError, array_items};
use crate::request::RequestView;
use crate::selector::{Selector, unless_duplicated};
use crate::time::Timestamp;

/// The name that is recorded for a key that the sender published.
const PUBLISHED: &str = "published";

/// A scheme with its parameters filled in, and its keys.
#[derive(Debug, Clone)]
pub(super) struct KeyedScheme {
    pub(super) scheme: Arc<Scheme>,
    pub(super) keys: Vec<(Arc<str>, PreparedKey)>,
    /// Another scheme that must hold too; it is checked first.
    pub(super) also: Option<Box<KeyedScheme>>,
}

/// The first parameter that a scheme still needs to fetch its keys.
pub(super) fn missing_fetch_param(scheme: &Scheme, params: &Params) -> Option<SecretError> {
    let names = scheme.fetched_key.as_ref()?.params();
    let missing = names.into_iter().find(|name| !params.contains_key(name))?;
    Some(SecretError::ParamMissing { scheme: scheme.name.clone(), param: missing.into() })
}

impl KeyedScheme {
    pub(super) fn new(scheme: Arc<Scheme>) -> Self {
        Self { scheme, keys: Vec::new(), also: None }
    }

    /// True if the scheme, or the one that must hold too, signs the public URL.
    pub(super) fn signs_url(&self) -> bool {
        self.scheme.signs_url() || self.also.as_ref().is_some_and(|also| also.signs_url())
    }

    /// True if there is a key, or an address to fetch one from.
    pub(super) fn is_ready(&self) -> bool {
        !self.keys.is_empty() || self.fetches()
    }

    /// True if the keys are fetched. A configured key takes precedence.
    pub(super) fn fetches(&self) -> bool {
        let complete = |rule: &FetchedKeyRule| rule.params().is_empty();
        self.keys.is_empty() && self.scheme.fetched_key.as_ref().is_some_and(complete)
    }

    pub(super) fn carries_signature(&self, request: &RequestView<'_>) -> bool {
        match &self.scheme.items {
            Some(items) => matches!(items.find(request.body), Ok(Some(_))),
            None => {
                let found = Candidates::find(&self.scheme, request);
                !matches!(found, Err(VerifyError::SignatureMissing))
            }
        }
    }

    pub(super) fn verify(
        &self,
        request: &RequestView<'_>,
        now: Timestamp,
        ring: &KeyRing,
    ) -> Verification {
        if let Some(also) = &self.also {
            also.verify(request, now, ring)?;
        }
        let Some(items) = &self.scheme.items else { return self.verify_one(request, now, ring) };
        let array = unless_duplicated(items.find_unique(request.body))?.flatten();
        let array = array.ok_or(VerifyError::SignatureMissing)?;
        let items = match array_items(array.get().as_bytes(), EVENTS_PER_REQUEST_MAX) {
            Ok(items) => items,
            Err(JsonError::TooMany(_)) => return Err(VerifyError::TooManySignatures.into()),
            Err(_) => return Err(VerifyError::SignatureMissing.into()),
        };
        let mut first = None;
        let mut signed = Vec::with_capacity(items.len());
        for item in items {
            let part = RequestView { body: item.get().as_bytes(), ..*request };
            let verified = self.verify_one(&part, now, ring)?;
            signed.extend_from_slice(&verified.signed);
            first.get_or_insert(verified);
        }
        let first = first.ok_or(VerifyError::SignatureMissing)?;
        Ok(Verified { signed: signed.into(), ..first })
    }

    fn verify_one(
        &self,
        request: &RequestView<'_>,
        now: Timestamp,
        ring: &KeyRing,
    ) -> Verification {
        let scheme = &*self.scheme;
        if let Some(rule) = &scheme.http_message {
            return self.verify_http_message(rule, request, now);
        }
        let candidates = Candidates::find(scheme, request)?;
        scheme.check_query_covered(request)?;
        for requirement in &scheme.require {
            requirement.check(request, candidates.family)?;
        }
        for (source, shape) in &scheme.shapes {
            let text = source.read(request, candidates.family)?;
            if !text.is_some_and(|text| shape.fits(&text)) {
                return Err(VerifyError::SignatureMalformed.into());
            }
        }
        if let Some(rule) = &scheme.jwt {
            return self.verify_tokens(rule, &candidates, request, now, ring);
        }
        // A time that is not part of the message is read only after the signature was valid,
        // because reading it may parse the body.
        let early = scheme.message.covers_timestamp();
        let text = if early { scheme.timestamp_text(request, &candidates)? } else { None };
        scheme.check_body_covered(request)?;
        let fetched = self.fetched(request, None, now, ring)?;
        let keys = fetched.as_ref().map_or(&self.keys[..], std::slice::from_ref);
        let (secret, signed) =
            scheme.matching_secret(keys, request, &candidates, text.as_deref())?;
        let timestamp = match &scheme.timestamp {
            None => None,
            Some(rule) => {
                let text =
                    if early { text } else { scheme.timestamp_text(request, &candidates)? };
                let signed = rule.parse(&text.ok_or(VerifyError::TimestampMissing)?)?;
                rule.check(signed, now)?;
                Some(signed)
            }
        };
        let signed = signed.into_iter().collect();
        Ok(Verified { signed, ..self.verified(secret, timestamp, candidates.family) })
    }

    fn verified(&self, secret: Arc<str>, timestamp: Option<Timestamp>, family: usize) -> Verified {
        let scheme = self.scheme.name.clone();
        Verified { scheme, secret, timestamp, family, signed: Box::default() }
    }

    /// Verifies every token if the scheme demands all of them, else the first.
    fn verify_tokens(
        &self,
        rule: &JwtRule,
        candidates: &Candidates<'_>,
        request: &RequestView<'_>,
        now: Timestamp,
        ring: &KeyRing,
    ) -> Verification {
        let count = match self.scheme.candidates {
            CandidateRule::All => candidates.items.len(),
            CandidateRule::Any | CandidateRule::One => 1,
        };
        let mut first = None;
        for text in candidates.items.iter().take(count) {
            let (secret, timestamp) = self.verify_token(rule, text, request, now, ring)?;
            first.get_or_insert_with(|| self.verified(secret, timestamp, candidates.family));
        }
        let first = first.ok_or(VerifyError::SignatureMissing)?;
        Ok(Verified { signed: rule.signed_query(request)?.into_iter().collect(), ..first })
    }

    fn verify_token(
        &self,
        rule: &JwtRule,
        text: &[u8],
        request: &RequestView<'_>,
        now: Timestamp,
        ring: &KeyRing,
    ) -> Result<(Arc<str>, Option<Timestamp>), Unverified> {
        let token = JwtToken::parse(text, self.scheme.algorithm)?;
        let fetched = self.fetched(request, token.key_id.as_deref(), now, ring)?;
        let keys = fetched.as_ref().map_or(&self.keys[..], std::slice::from_ref);
        let signature = [Cow::Borrowed(token.signature.as_slice())];
        let fits = |key: &PreparedKey| match key {
            PreparedKey::Published(algorithm, set) => set
                .named(token.key_id.as_deref())
                .any(|key| key.verify(*algorithm, token.message, &token.signature)),
            key => {
                let message = [Cow::Borrowed(token.message)];
                let rule = CandidateRule::Any;
                key.check(&message, &signature, Encoding::Plain, rule) == Comparison::Match
            }
        };
        let secret = keys.iter().find(|(_, key)| fits(key));
        let (secret, _) = secret.ok_or(VerifyError::SignatureMismatch)?;
        let timestamp = rule.check(&token.claims()?, request, now)?;
        Ok((secret.clone(), timestamp))
    }

    fn verify_http_message(
        &self,
        rule: &HttpMessageRule,
        request: &RequestView<'_>,
        now: Timestamp,
    ) -> Verification {
        let header =
            |name| http_message::joined(request, name)?.ok_or(VerifyError::SignatureMissing);
        let (inputs, signatures) = (header("signature-input")?, header("signature")?);
        self.scheme.check_query_covered(request)?;
        let found = rule.signatures(&inputs, &signatures, self.scheme.algorithm, request)?;
        let fits = |key: &PreparedKey, base: &[u8], signature: &[u8]| {
            let (message, signature) = ([Cow::Borrowed(base)], [Cow::Borrowed(signature)]);
            let any = CandidateRule::Any;
            key.check(&message, &signature, Encoding::Plain, any) == Comparison::Match
        };
        for signature in found {
            let mut keys = self.keys.iter();
            let fitting = keys.find(|(_, key)| fits(key, &signature.base, &signature.signature));
            if let Some((secret, _)) = fitting {
                http_message::check_content_digest(request)?;
                let timestamp = signature.check_times(rule, now)?;
                return Ok(self.verified(secret.clone(), timestamp, 0));
            }
        }
        Err(VerifyError::SignatureMismatch.into())
    }

    /// The published key, if the scheme has published keys and none is configured. The address is
    /// checked even if its key is not needed: a request that points elsewhere is not from the
    /// sender.
    fn fetched(
        &self,
        request: &RequestView<'_>,
        key_id: Option<&str>,
        now: Timestamp,
        ring: &KeyRing,
    ) -> Result<Option<(Arc<str>, PreparedKey)>, Unverified> {
        let Some(rule) = &self.scheme.fetched_key else { return Ok(None) };
        let configured = !self.keys.is_empty();
        if configured && matches!(rule.at, KeyAddress::Fixed(_)) {
            return Ok(None);
        }
        let url = rule.url(request)?;
        if configured {
            return Ok(None);
        }
        match rule.look_up(&self.scheme.name, url.clone(), key_id, ring, now)? {
            KeyLookup::Needed(key) => Err(Unverified::NeedKey(Box::new(key))),
            KeyLookup::Found(set) => {
                for key in set.named(key_id) {
                    rule.check_certificate(&url, key, now)?;
                }
                let key = PreparedKey::Published(self.scheme.algorithm, (*set).clone());
                Ok(Some((PUBLISHED.into(), key)))
            }
        }
    }
}

impl Requirement {
    fn check(&self, request: &RequestView<'_>, family: usize) -> Result<(), VerifyError> {
        let text = self.from.read(request, family)?;
        let fits = text.is_some_and(|text| self.any_of.iter().any(|v| v.as_bytes() == &*text));
        if fits { Ok(()) } else { Err(VerifyError::HeaderUnexpected) }
    }
}

impl Scheme {
    fn matching_secret(
        &self,
        keys: &[(Arc<str>, PreparedKey)],
        request: &RequestView<'_>,
        candidates: &Candidates<'_>,
        timestamp: Option<&[u8]>,
    ) -> Result<(Arc<str>, Option<SignedDigest>), VerifyError> {
        let mut refusal = VerifyError::SignatureMismatch;
        let derived = self.signs_derived_text(request);
        for message in std::iter::once(&self.message).chain(&self.message_variants) {
            for url in message.url_forms(request.url) {
                let context = SignatureContext::new(timestamp, candidates.family, &url);
                let context = context.with_header(candidates, &self.format);
                let parts = message.resolve(request, &context)?;
                for (name, key) in keys {
                    match key.check(&parts, &candidates.items, self.encoding, self.candidates) {
                        Comparison::Match => {
                            let digest = derived.then(|| message.digest(&parts));
                            return Ok((name.clone(), digest));
                        }
                        Comparison::Mismatch => {}
                        Comparison::Malformed => refusal = VerifyError::SignatureMalformed,
                    }
                }
            }
        }
        Err(refusal)
    }

    fn timestamp_text<'a>(
        &self,
        request: &RequestView<'a>,
        candidates: &Candidates<'a>,
    ) -> Result<Option<Cow<'a, [u8]>>, VerifyError> {
        let Some(rule) = &self.timestamp else { return Ok(None) };
        for source in &rule.from {
            let text = match source {
                Selector::Pair(key) => candidates.pair(&self.format, key)?.map(Cow::Borrowed),
                source => source.read(request, candidates.family)?,
            };
            if let Some(text) = text {
                return Ok(Some(text));
            }
        }
        Err(VerifyError::TimestampMissing)
    }

    /// Refuses a request whose query would be its payload under another method, if the signature
    /// covers the query but not the method: a captured `GET`, sent as a `POST` without a body,
    /// would be another event.
    pub(super) fn check_method_covered(
        &self,
        request: &RequestView<'_>,
    ) -> Result<(), VerifyError> {
        let bare = request.body.is_empty() && !request.query().is_empty();
        let changed = bare && !request.payload_is_query();
        let covered = !changed || self.covers_method() || !self.covers_query();
        if covered { Ok(()) } else { Err(VerifyError::QueryNotSigned) }
    }

    /// Refuses a request without a body if the signature covers only bodies: all such requests have
    /// the same signature.
    pub(crate) fn check_query_covered(&self, request: &RequestView<'_>) -> Result<(), VerifyError> {
        let covered = !request.payload_is_query() || self.distinguishes_queries();
        if covered { Ok(()) } else { Err(VerifyError::QueryNotSigned) }
    }

    /// Checks that the body is covered: if the message does not contain the body, a signed digest
    /// of it must be present. Senders usually sign the fields of a form, and the digest of any
    /// other body.
    pub(crate) fn check_body_covered(&self, request: &RequestView<'_>) -> Result<(), VerifyError> {
        let Some(digest) = &self.body_digest else { return Ok(()) };
        let Some(text) = digest.from.read(request, 0)? else {
            // A form without fields adds nothing to the signed text, but would replace the query.
            let covered = request.body.is_empty() || request.has_form_fields();
            return if covered { Ok(()) } else { Err(VerifyError::BodyNotSigned) };
        };
        let mut buffer = [0; 64];
        let claimed = digest.encoding.decode(&text, &mut buffer);
        let claimed = claimed.ok_or(VerifyError::BodyDigestMismatch)?;
        if bool::from(Sha256::digest(request.body).as_slice().ct_eq(claimed)) {
            Ok(())
        } else {
            Err(VerifyError::BodyDigestMismatch)
        }
    }
}
