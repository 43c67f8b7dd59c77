//! Verify: does this request come from the sender it claims?
//!
//! Pure over headers, raw bytes, secrets and the time. The raw body is verified before anything parses it,
//! except where a scheme signs fields of the body. Compares in constant time. Knows no provider by name, no
//! source, no store; says in a refusal what was wrong and never what would have been right.

mod algorithm;
mod encoding;
mod key;
mod message;
mod refusal;
mod request;
mod scheme;
mod secret;
mod signature;
mod timestamp;

use std::borrow::Cow;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::provider::Source;
use crate::time::Timestamp;

use algorithm::Outcome;
use signature::Candidates;

pub(crate) use algorithm::join;
pub use key::KeyError;
pub(crate) use key::{PreparedKey, keyed, p256_spki};
pub use message::{InvalidMessage, Message, Part, UrlForm};
pub use refusal::Refusal;
pub use request::{RequestView, SIGNED_HEADER_BYTES_MAX};
pub use scheme::{
    Algorithm, BodyDigest, CandidateRule, Direction, Encoding, Format, KeyForm, Scheme, TimeUnit,
    TimestampRule,
};
pub use secret::{NamedSecret, Secret};
pub use signature::CANDIDATES_MAX;

/// Which of a provider's schemes a source accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemePolicy {
    /// The first one, in the file's order, that a secret is configured for, and no other: a request cannot
    /// choose a weaker one.
    Strongest,
    /// Every one that a secret is configured for.
    Any,
}

/// What came of verifying a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// The sender is who it claims to be.
    Verified(Verified),
    /// It is not, or cannot be told.
    Refused(Refusal),
    /// A key that the request names must be fetched first; then ask again.
    NeedKey(KeyRef),
}

/// How a request was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The scheme's name.
    pub scheme: Arc<str>,
    /// The name of the secret that fitted.
    pub secret: Arc<str>,
    /// The signed time, where the scheme has one.
    pub timestamp: Option<Timestamp>,
    /// Which family of header names was signed; facts are read from the same one.
    pub(crate) family: usize,
}

/// A key to be fetched: which scheme asks, and what the request calls the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRef {
    /// The scheme's name.
    pub scheme: Arc<str>,
    /// The key's name or address, as the request gives it: a stranger's word.
    pub key: String,
}

/// Secrets that cannot protect a source.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SecretError {
    /// None at all.
    #[error("no secret is configured")]
    None,
    /// A secret names a scheme that the provider has not.
    #[error("secret {secret}: the provider has no scheme {scheme:?}")]
    UnknownScheme {
        /// Name of the secret.
        secret: Arc<str>,
        /// The scheme it names.
        scheme: Box<str>,
    },
    /// No scheme can use it.
    #[error("secret {secret} cannot be used with scheme {scheme}")]
    Unusable {
        /// Name of the secret.
        secret: Arc<str>,
        /// The scheme that came nearest.
        scheme: Arc<str>,
        /// Why not.
        #[source]
        cause: KeyError,
    },
}

/// The schemes and prepared keys of one source. Made once per configuration, used for every request.
#[derive(Debug, Clone)]
pub struct Verifier {
    schemes: Vec<KeyedScheme>,
}

#[derive(Debug, Clone)]
struct KeyedScheme {
    scheme: Arc<Scheme>,
    keys: Vec<(Arc<str>, PreparedKey)>,
}

impl Verifier {
    /// Decodes every secret for the schemes it is for. A secret that is empty, or that no scheme can use, is
    /// an error: a source that looks protected and is not would be worse than none.
    pub fn new(
        schemes: &[Arc<Scheme>],
        policy: SchemePolicy,
        secrets: &[NamedSecret],
    ) -> Result<Self, SecretError> {
        if secrets.is_empty() {
            return Err(SecretError::None);
        }
        let mut keyed: Vec<KeyedScheme> = schemes
            .iter()
            .map(|s| KeyedScheme { scheme: Arc::clone(s), keys: Vec::new() })
            .collect();
        for secret in secrets {
            offer(secret, &mut keyed)?;
        }
        keyed.retain(|k| !k.keys.is_empty());
        if policy == SchemePolicy::Strongest {
            keyed.truncate(1);
        }
        Ok(Self { schemes: keyed })
    }

    /// The names of the schemes that are accepted.
    pub fn schemes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.schemes.iter().map(|k| &k.scheme.name)
    }

    /// Verifies a request as of `now`.
    #[must_use]
    pub fn verify(&self, request: &RequestView<'_>, now: Timestamp) -> Verification {
        let mut refusal = Refusal::SignatureMissing;
        for keyed in &self.schemes {
            match keyed.verify(request, now) {
                Ok(verified) => return Verification::Verified(verified),
                Err(why) if why.progress() >= refusal.progress() => refusal = why,
                Err(_) => {}
            }
        }
        Verification::Refused(refusal)
    }

    /// True if the request carries something where an accepted scheme has its signature. What does not is no
    /// failed webhook but noise.
    #[must_use]
    pub fn is_claimed_by(&self, request: &RequestView<'_>) -> bool {
        self.schemes.iter().any(|k| {
            !matches!(Candidates::find(&k.scheme, request), Err(Refusal::SignatureMissing))
        })
    }

    /// The keyed hash of `text` under the first secret, for the handshakes that ask for one.
    pub(crate) fn handshake_key(&self) -> Option<&PreparedKey> {
        self.schemes.first()?.keys.first().map(|(_, key)| key)
    }
}

fn offer(secret: &NamedSecret, schemes: &mut [KeyedScheme]) -> Result<(), SecretError> {
    let mut refused = None;
    let mut accepted = false;
    for keyed in schemes {
        if secret.scheme.as_deref().is_some_and(|only| *only != *keyed.scheme.name) {
            continue;
        }
        match PreparedKey::new(&keyed.scheme, &secret.value) {
            Ok(key) => {
                keyed.keys.push((Arc::clone(&secret.name), key));
                accepted = true;
            }
            Err(cause) if refused.is_none() => {
                refused = Some((Arc::clone(&keyed.scheme.name), cause));
            }
            Err(_) => {}
        }
    }
    match (accepted, refused, &secret.scheme) {
        (true, ..) => Ok(()),
        (false, Some((scheme, cause)), _) => {
            Err(SecretError::Unusable { secret: Arc::clone(&secret.name), scheme, cause })
        }
        (false, None, Some(scheme)) => Err(SecretError::UnknownScheme {
            secret: Arc::clone(&secret.name),
            scheme: scheme.clone(),
        }),
        (false, None, None) => Err(SecretError::None),
    }
}

impl KeyedScheme {
    fn verify(&self, request: &RequestView<'_>, now: Timestamp) -> Result<Verified, Refusal> {
        let scheme = &*self.scheme;
        let candidates = Candidates::find(scheme, request)?;
        for (header, expected) in &scheme.require {
            if request.single_header(header)? != Some(expected.as_bytes()) {
                return Err(Refusal::HeaderUnexpected);
            }
        }
        // The body is parsed for a time only once the signature holds; what the message needs comes first.
        let early = scheme.message.covers_timestamp();
        let text = if early { scheme.timestamp_text(request, &candidates)? } else { None };
        scheme.check_body_covered(request)?;
        let secret = self.fitting_secret(request, &candidates, text.as_deref())?;
        let timestamp = match &scheme.timestamp {
            None => None,
            Some(rule) => {
                let text =
                    if early { text } else { scheme.timestamp_text(request, &candidates)? };
                let signed = rule.parse(&text.ok_or(Refusal::TimestampMissing)?)?;
                rule.judge(signed, now)?;
                Some(signed)
            }
        };
        Ok(Verified {
            scheme: Arc::clone(&scheme.name),
            secret,
            timestamp,
            family: candidates.family,
        })
    }

    fn fitting_secret(
        &self,
        request: &RequestView<'_>,
        candidates: &Candidates<'_>,
        timestamp: Option<&[u8]>,
    ) -> Result<Arc<str>, Refusal> {
        let scheme = &*self.scheme;
        let mut refusal = Refusal::SignatureMismatch;
        for url in scheme.message.url_forms(request.url) {
            let parts = scheme.message.resolve(request, timestamp, candidates.family, &url)?;
            for (name, key) in &self.keys {
                match key.check(&parts, &candidates.items, scheme.encoding, scheme.candidates) {
                    Outcome::Match => return Ok(Arc::clone(name)),
                    Outcome::Mismatch => {}
                    Outcome::Malformed => refusal = Refusal::SignatureMalformed,
                }
            }
        }
        Err(refusal)
    }
}

impl Scheme {
    fn timestamp_text<'a>(
        &self,
        request: &RequestView<'a>,
        candidates: &Candidates<'a>,
    ) -> Result<Option<Cow<'a, [u8]>>, Refusal> {
        let Some(rule) = &self.timestamp else { return Ok(None) };
        for source in &rule.from {
            let text = match source {
                Source::Pair(key) => candidates.pair(&self.format, key)?.map(Cow::Borrowed),
                source => source.read(request, candidates.family)?,
            };
            if let Some(text) = text {
                return Ok(Some(text));
            }
        }
        Err(Refusal::TimestampMissing)
    }

    /// Where the message does not hold the body, a digest of it must: as a rule the sender's form fields are
    /// signed one by one and any other body by its digest.
    pub(crate) fn check_body_covered(&self, request: &RequestView<'_>) -> Result<(), Refusal> {
        let Some(digest) = &self.body_digest else { return Ok(()) };
        let Some(text) = digest.from.read(request, 0)? else {
            let covered = request.is_form() || request.body.is_empty();
            return if covered { Ok(()) } else { Err(Refusal::BodyNotSigned) };
        };
        let mut room = [0; 64];
        let claimed = digest.encoding.decode(&text, &mut room);
        let claimed = claimed.ok_or(Refusal::BodyDigestMismatch)?;
        if bool::from(Sha256::digest(request.body).as_slice().ct_eq(claimed)) {
            Ok(())
        } else {
            Err(Refusal::BodyDigestMismatch)
        }
    }
}
