//! Verify: does this request come from the sender it claims?
//!
//! Pure over headers, raw bytes, secrets and the time. The raw body is verified before anything parses it,
//! except where a scheme signs fields of the body. Compares in constant time. Knows no provider by name, no
//! source, no store; says in a refusal what was wrong and never what would have been right.

mod algorithm;
mod canonical;
mod chain;
mod encoding;
mod fetched;
mod http_message;
mod jwt;
mod key;
mod keyed_scheme;
mod message;
mod multipart;
mod pasted;
mod public_key;
mod refusal;
mod request;
mod scheme;
mod secret;
mod signature;
mod strength;
mod timestamp;
mod web_address;

use std::sync::Arc;

use thiserror::Error;

use crate::time::Timestamp;

use keyed_scheme::{KeyedScheme, Unverified};

pub(crate) use algorithm::join;
pub use canonical::UrlForm;
pub use chain::{Authorities, ISSUERS_MAX};
pub use fetched::{
    FetchedDocument, FetchedKeyRule, KEY_LIFE, KEY_REFRESH_AFTER, KeyAddress, KeyAnswer,
    KeyDocument, KeyRef, KeyRing,
};
pub use http_message::HttpMessageRule;
pub(crate) use http_message::draft as draft_http_message;
pub use jwt::{DigestClaim, DigestInput, JwtRule};
pub use key::KeyError;
pub(crate) use key::{PreparedKey, ed25519_spki, keyed, p256_spki};
pub(crate) use message::SignatureContext;
pub use message::{InvalidMessage, Message, MessagePart};
pub use multipart::{MultipartField, PARTS_MAX, multipart_fields};
pub use pasted::{PasteMistake, likely_key_form, paste_mistakes};
pub(crate) use public_key::p384_spki;
pub use public_key::{KEY_DOCUMENT_BYTES_MAX, KeySet};
pub use refusal::VerifyError;
pub use request::{RequestView, SIGNED_HEADER_BYTES_MAX, is_form, payload_is_query};
pub(crate) use scheme::param_names;
pub use scheme::{
    Algorithm, BodyDigest, CandidateRule, Direction, Encoding, Format, KeyForm, Requirement,
    Scheme, TimeUnit, TimestampRule,
};
pub use secret::{NamedSecret, Params, Secret};
pub use signature::CANDIDATES_MAX;
pub use strength::{
    MinimumSecret, SecretWarning, TEXT_BYTES_MIN, WeakSecret, check_text_secret,
    check_whsec_secret, is_placeholder,
};
pub(crate) use web_address::is_key_url;
pub use web_address::{HostPattern, PathPattern, is_allowed_url};

/// Most fields of a form that is read for a signature.
pub const FORM_FIELDS_MAX: usize = 10_000;
/// Most headers that a request may list as signed.
pub const LISTED_HEADERS_MAX: usize = 64;

/// Which of a provider's schemes a source accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemePolicy {
    /// The first one, in the file's order, that a secret is configured for, and no other: a request cannot
    /// choose a weaker one.
    Strongest,
    /// The first one, in the file's order, that a secret is configured for and that the request carries: for
    /// senders whose products sign differently, or several times. A weaker signature does not save a request
    /// whose stronger one is wrong.
    StrongestPresent,
    /// Every one that a secret is configured for.
    Any,
}

/// What came of verifying a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// The sender is who it claims to be.
    Verified(Verified),
    /// It is not, or cannot be told.
    Refused(VerifyError),
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
    /// Digests of what is signed, without the time: one per item where each item is signed by itself. Empty where the
    /// payload is signed byte by byte, or nothing of it is.
    pub(crate) signed: Box<[SignedDigest]>,
}

/// SHA-256 of the canonical text that a signature covers.
pub(crate) type SignedDigest = [u8; 32];

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
    /// A parameter that the provider's scheme needs was not given.
    #[error("parameter {param} is not given, and scheme {scheme} needs it")]
    ParamMissing {
        /// The scheme.
        scheme: Arc<str>,
        /// Name of the parameter.
        param: Box<str>,
    },
    /// A parameter that would change the address of the scheme's keys.
    #[error(
        "parameter {param} cannot stand in the address of scheme {scheme}'s keys: it may hold letters, digits, '-', '.' and '_'"
    )]
    ParamUnusable {
        /// The scheme.
        scheme: Arc<str>,
        /// Name of the parameter.
        param: Box<str>,
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
    policy: SchemePolicy,
    /// Media types that the sender may use and nobody here reads.
    unread: Arc<[Box<str>]>,
    /// Events may come by a method whose payload is the query.
    by_query: bool,
}

impl Verifier {
    /// Decodes every secret for the schemes it is for. A secret that is empty, or that no scheme can use, is
    /// an error: a source that looks protected and is not would be worse than none. Schemes whose keys are
    /// published by the sender need no secret.
    pub fn new(
        schemes: &[Arc<Scheme>],
        policy: SchemePolicy,
        secrets: &[NamedSecret],
        params: &Params,
    ) -> Result<Self, SecretError> {
        let mut keyed = Vec::new();
        let mut missing = None;
        for scheme in schemes {
            let unusable = scheme.fetched_key.as_ref().and_then(|key| key.unusable_param(params));
            if let Some(param) = unusable {
                let (scheme, param) = (Arc::clone(&scheme.name), param.into());
                return Err(SecretError::ParamUnusable { scheme, param });
            }
            match scheme.with_params(params) {
                Ok(scheme) => keyed.push(KeyedScheme::new(scheme)),
                Err(param) => {
                    let scheme = Arc::clone(&scheme.name);
                    missing.get_or_insert(SecretError::ParamMissing { scheme, param });
                }
            }
        }
        // What one scheme lacks is no fault where another has all that it needs, unless the source means that one.
        let missing = match half_meant(schemes, &keyed, params) {
            Some(half) => return Err(half),
            None => missing.filter(|_| keyed.is_empty()),
        };
        for secret in secrets {
            if let Err(error) = offer(secret, &mut keyed) {
                return Err(missing.unwrap_or(error));
            }
        }
        join_those_that_belong_together(&mut keyed)?;
        keyed.retain(KeyedScheme::is_ready);
        if keyed.is_empty() {
            let fetched = schemes.iter().all(|scheme| scheme.fetched_key.is_some());
            let unfetchable = || schemes.iter().find_map(|s| keyed_scheme::lacking(s, params));
            let unfetchable = fetched.then(unfetchable).flatten();
            return Err(missing.or(unfetchable).unwrap_or(SecretError::None));
        }
        if policy == SchemePolicy::Strongest {
            keyed.truncate(1);
        }
        Ok(Self { schemes: keyed, policy, unread: Arc::default(), by_query: false })
    }

    /// The same, refusing bodies of these media types for what they are and not for want of a signature.
    pub(crate) fn without_types(self, unread: &Arc<[Box<str>]>) -> Self {
        Self { unread: Arc::clone(unread), ..self }
    }

    /// The same, for a provider whose events may stand in the query.
    pub(crate) fn taking_queries(self, by_query: bool) -> Self {
        Self { by_query, ..self }
    }

    /// A verifier that refuses every request, for a source whose secret is yet to be handed over.
    pub(crate) fn awaiting_secret() -> Self {
        let (policy, unread) = (SchemePolicy::Strongest, Arc::default());
        Self { schemes: Vec::new(), policy, unread, by_query: false }
    }

    /// The names of the schemes that are accepted.
    pub fn schemes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.schemes.iter().map(|k| &k.scheme.name)
    }

    /// True if an accepted scheme needs the public URL, so that the source must know it.
    #[must_use]
    pub fn signs_url(&self) -> bool {
        self.schemes.iter().any(KeyedScheme::signs_url)
    }

    /// True if a scheme takes keys that the sender publishes, so that [`Verifier::verify_with`] and a ring that
    /// is kept are wanted.
    #[must_use]
    pub fn fetches_keys(&self) -> bool {
        self.schemes.iter().any(KeyedScheme::fetches)
    }

    /// Verifies a request as of `now`, with configured keys only.
    #[must_use]
    pub fn verify(&self, request: &RequestView<'_>, now: Timestamp) -> Verification {
        self.verify_with(request, now, &KeyRing::default())
    }

    /// Verifies a request as of `now`. On [`Verification::NeedKey`] fetch the key, put it into the ring, and ask
    /// again; a second `NeedKey` for the same key means that it cannot be had.
    #[must_use]
    pub fn verify_with(
        &self,
        request: &RequestView<'_>,
        now: Timestamp,
        ring: &KeyRing,
    ) -> Verification {
        if self.unread.iter().any(|media_type| request.is_of_type(media_type)) {
            return Verification::Refused(VerifyError::ContentTypeUnsupported);
        }
        let mut refusal = VerifyError::SignatureMissing;
        let mut needed = None;
        for keyed in &self.schemes {
            let method =
                if self.by_query { keyed.scheme.check_method_told(request) } else { Ok(()) };
            let outcome = method.map_err(Unverified::from);
            let absent = match outcome.and_then(|()| keyed.verify(request, now, ring)) {
                Ok(verified) => return Verification::Verified(verified),
                Err(Unverified::NeedKey(key)) => {
                    needed.get_or_insert(key);
                    false
                }
                Err(Unverified::Refused(why)) => {
                    if why.progress() >= refusal.progress() {
                        refusal = why;
                    }
                    why.is_absence()
                }
            };
            if self.policy == SchemePolicy::StrongestPresent && !absent {
                break;
            }
        }
        match needed {
            Some(key) => Verification::NeedKey(*key),
            None => Verification::Refused(refusal),
        }
    }

    /// True if the request carries something where an accepted scheme has its signature. What does not is no
    /// failed webhook but noise.
    #[must_use]
    pub fn carries_signature(&self, request: &RequestView<'_>) -> bool {
        self.schemes.iter().any(|keyed| keyed.carries_signature(request))
    }

    /// The key for the handshakes that ask for a keyed hash: the one that verified the request, else the first.
    pub(crate) fn handshake_key(&self, verified: Option<&Verified>) -> Option<&PreparedKey> {
        let fitting = verified.and_then(|proof| {
            let keyed = self.schemes.iter().find(|k| k.scheme.name == proof.scheme)?;
            keyed.keys.iter().find(|(name, _)| *name == proof.secret)
        });
        let first = || self.schemes.first()?.keys.first();
        fitting.or_else(first).map(|(_, key)| key)
    }
}

/// What a scheme lacks that the source means, for it gives a parameter that no complete scheme has use for: without it,
/// less would be asked of requests than the operator believes.
fn half_meant(
    schemes: &[Arc<Scheme>],
    complete: &[KeyedScheme],
    params: &Params,
) -> Option<SecretError> {
    let wanted: Vec<_> = schemes.iter().map(|scheme| (scheme, scheme.params())).collect();
    let is_complete =
        |scheme: &Arc<Scheme>| complete.iter().any(|keyed| keyed.scheme.name == scheme.name);
    let scheme = params.keys().find_map(|name| {
        let users =
            wanted.iter().filter(|(_, names)| names.contains(name)).map(|(scheme, _)| *scheme);
        let users: Vec<_> = users.collect();
        users.first().copied().filter(|_| !users.iter().any(|scheme| is_complete(scheme)))
    })?;
    let param = scheme.with_params(params).err()?;
    Some(SecretError::ParamMissing { scheme: Arc::clone(&scheme.name), param })
}

/// Gives each scheme that is ready the one that must hold besides it. One that lacks its own secret is an error, for
/// without it less would be asked for than the source is meant to.
fn join_those_that_belong_together(schemes: &mut [KeyedScheme]) -> Result<(), SecretError> {
    for at in 0..schemes.len() {
        let Some(name) = schemes[at].scheme.also.clone().filter(|_| schemes[at].is_ready()) else {
            continue;
        };
        let ready = |keyed: &&KeyedScheme| *keyed.scheme.name == *name && keyed.is_ready();
        let also = schemes.iter().find(ready).cloned().ok_or(SecretError::None)?;
        schemes[at].also = Some(Box::new(also));
    }
    Ok(())
}

fn offer(secret: &NamedSecret, schemes: &mut [KeyedScheme]) -> Result<(), SecretError> {
    let mut refused = None;
    let mut accepted = false;
    for keyed in schemes {
        if secret.scheme.as_deref().is_some_and(|only| *only != *keyed.scheme.name) {
            continue;
        }
        match PreparedKey::every(&keyed.scheme, &secret.value) {
            Ok(keys) => {
                keyed.keys.extend(keys.into_iter().map(|key| (Arc::clone(&secret.name), key)));
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
