//! Verification: does a request come from the sender that it claims?
//!
//! Pure over headers, raw bytes, secrets and the time. The raw body is verified before anything
//! parses it, except where a scheme signs fields of the body. Comparisons take constant time. An
//! error says what was wrong, never what would have been right. Knows no provider by name, no
//! source and no store.

mod algorithm;
mod canonical;
mod chain;
mod encoding;
mod error;
mod fetched;
mod http_message;
mod jwt;
mod key;
mod keyed_scheme;
mod message;
mod paste_mistake;
mod public_key;
mod scheme;
mod secret;
mod signature;
mod strength;
mod timestamp;
mod web_address;

use std::sync::Arc;

use thiserror::Error;

use crate::request::{ReadError, RequestView};
use crate::time::Timestamp;

use keyed_scheme::KeyedScheme;

pub(crate) use algorithm::join;
pub use canonical::UrlForm;
pub use chain::{Authorities, ISSUERS_MAX};
pub use error::VerifyError;
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
pub use message::{InvalidMessage, MessagePart, SignedMessage};
pub use paste_mistake::{PasteMistake, likely_key_form, paste_mistakes};
pub(crate) use public_key::p384_spki;
pub use public_key::{KEY_DOCUMENT_BYTES_MAX, KeySet};
pub(crate) use scheme::param_names;
pub use scheme::{
    Algorithm, BodyDigest, CandidateRule, Direction, Encoding, KeyForm, Requirement, Scheme,
    SignatureFormat, TimeUnit, TimestampRule,
};
pub use secret::{NamedSecret, Params, Secret};
pub use signature::CANDIDATES_MAX;
pub use strength::{
    MinimumSecret, SecretWarning, TEXT_BYTES_MIN, WeakSecret, check_text_secret,
    check_whsec_secret, is_placeholder,
};
pub(crate) use web_address::is_key_url;
pub use web_address::{HostPattern, PathPattern, is_allowed_url};

/// The maximum number of headers that a request may list as signed.
pub const LISTED_HEADERS_MAX: usize = 64;

/// The schemes of a provider that a source accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemePolicy {
    /// Only the first scheme, in the file's order, that has a secret: a request cannot choose a
    /// weaker one.
    Strongest,
    /// Only the first scheme, in the file's order, that has a secret and that the request uses: for
    /// senders whose products sign differently or several times. A valid weaker signature does not
    /// make up for an invalid stronger one.
    StrongestPresent,
    /// Every scheme that has a secret.
    Any,
}

/// The result of verifying a request.
pub type Verification = Result<Verified, Unverified>;

/// Why a request is not verified, or not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unverified {
    /// The request is not from the sender that it claims, or this cannot be determined.
    Refused(VerifyError),
    /// A key that the request names must be fetched first; then verify again.
    NeedKey(Box<KeyRef>),
}

impl From<VerifyError> for Unverified {
    fn from(error: VerifyError) -> Self {
        Self::Refused(error)
    }
}

impl From<ReadError> for Unverified {
    fn from(error: ReadError) -> Self {
        Self::Refused(error.into())
    }
}

/// The proof of a verified request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub scheme: Arc<str>,
    /// The name of the secret that matched.
    pub secret: Arc<str>,
    /// The signed time, if the scheme has one.
    pub timestamp: Option<Timestamp>,
    /// The family of header names that the signature uses; facts are read from the same family.
    pub(crate) family: usize,
    /// Digests of the signed content without the time, one per item if items are signed separately.
    /// Empty if the payload is signed byte by byte, or if none of it is signed.
    pub(crate) signed: Box<[SignedDigest]>,
}

impl Verified {
    /// The scheme of requests that no signature vouches for: an operator brought them from the
    /// provider's API.
    pub const API_SCHEME: &str = "provider-api";

    /// A request from the provider's API, which `by` brought.
    #[must_use]
    pub fn from_api(by: &str) -> Self {
        Self { secret: by.into(), ..Self::assumed(Self::API_SCHEME.into()) }
    }

    /// A message that the hub itself took from a server of this kind: those who may write to the
    /// server vouch for it.
    #[must_use]
    pub fn pulled(kind: &str) -> Self {
        Self::assumed(kind.into())
    }

    /// A proof of nothing, for requests that no sender sent.
    pub(crate) fn assumed(scheme: Arc<str>) -> Self {
        let signed = Box::default();
        Self { scheme, secret: "".into(), timestamp: None, family: 0, signed }
    }
}

/// SHA-256 of the canonical text that a signature covers.
pub(crate) type SignedDigest = [u8; 32];

/// An error in a source's secrets or parameters.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SecretError {
    #[error("no secret is configured")]
    None,
    /// A secret names a scheme that the provider does not have.
    #[error("secret {secret}: the provider has no scheme {scheme:?}")]
    UnknownScheme { secret: Arc<str>, scheme: Box<str> },
    /// A scheme needs a parameter that is not given.
    #[error("parameter {param} is not given, and scheme {scheme} needs it")]
    ParamMissing { scheme: Arc<str>, param: Box<str> },
    /// A parameter would change the address of the scheme's keys.
    #[error(
        "parameter {param} cannot be in the address of scheme {scheme}'s keys: \
         only letters, digits, '-', '.' and '_' are permitted"
    )]
    ParamUnusable { scheme: Arc<str>, param: Box<str> },
    /// No scheme can use the secret.
    #[error("secret {secret} cannot be used with scheme {scheme}")]
    Unusable {
        secret: Arc<str>,
        /// The first scheme that was tried.
        scheme: Arc<str>,
        #[source]
        cause: KeyError,
    },
}

/// The schemes and prepared keys of one source. Built once per configuration and used for every
/// request.
#[derive(Debug, Clone)]
pub struct Verifier {
    schemes: Vec<KeyedScheme>,
    policy: SchemePolicy,
    /// Media types that the sender may use and that are not supported.
    unread: Arc<[Box<str>]>,
    /// True if events may come by a method whose payload is the query.
    by_query: bool,
}

impl Verifier {
    /// Decodes every secret for its schemes. A secret that is empty, or that no scheme can use, is
    /// an error: a source must not look protected without being so. Schemes whose keys the sender
    /// publishes need no secret.
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
                let (scheme, param) = (scheme.name.clone(), param.into());
                return Err(SecretError::ParamUnusable { scheme, param });
            }
            match scheme.with_params(params) {
                Ok(scheme) => keyed.push(KeyedScheme::new(scheme)),
                Err(param) => {
                    let scheme = scheme.name.clone();
                    missing.get_or_insert(SecretError::ParamMissing { scheme, param });
                }
            }
        }
        // A scheme that misses a parameter is an error only if no other scheme is complete, or if
        // the source gives a parameter of this scheme only.
        let missing = match incomplete_scheme(schemes, &keyed, params) {
            Some(half) => return Err(half),
            None => missing.filter(|_| keyed.is_empty()),
        };
        for secret in secrets {
            if let Err(error) = add_secret(secret, &mut keyed) {
                return Err(missing.unwrap_or(error));
            }
        }
        link_required_schemes(&mut keyed)?;
        keyed.retain(KeyedScheme::is_ready);
        if keyed.is_empty() {
            let fetched = schemes.iter().all(|scheme| scheme.fetched_key.is_some());
            let missing_for_fetch =
                || schemes.iter().find_map(|s| keyed_scheme::missing_fetch_param(s, params));
            let missing_for_fetch = fetched.then(missing_for_fetch).flatten();
            return Err(missing.or(missing_for_fetch).unwrap_or(SecretError::None));
        }
        if policy == SchemePolicy::Strongest {
            keyed.truncate(1);
        }
        Ok(Self { schemes: keyed, policy, unread: Arc::default(), by_query: false })
    }

    /// Refuses bodies of these media types as unsupported.
    pub(crate) fn refusing_types(self, unread: &Arc<[Box<str>]>) -> Self {
        Self { unread: unread.clone(), ..self }
    }

    /// Sets whether events may be in the query.
    pub(crate) fn with_query_payloads(self, by_query: bool) -> Self {
        Self { by_query, ..self }
    }

    /// A verifier that refuses every request, for a source that takes none, or that will receive
    /// its secret in a handshake.
    #[must_use]
    pub fn refusing() -> Self {
        let (policy, unread) = (SchemePolicy::Strongest, Arc::default());
        Self { schemes: Vec::new(), policy, unread, by_query: false }
    }

    /// The names of the accepted schemes.
    pub fn schemes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.schemes.iter().map(|k| &k.scheme.name)
    }

    /// True if an accepted scheme signs the public URL, so that the source must configure it.
    #[must_use]
    pub fn signs_url(&self) -> bool {
        self.schemes.iter().any(KeyedScheme::signs_url)
    }

    /// True if a scheme uses keys that the sender publishes: call [`Verifier::verify_with`] with a
    /// key ring.
    #[must_use]
    pub fn fetches_keys(&self) -> bool {
        self.schemes.iter().any(KeyedScheme::fetches)
    }

    /// Verifies a request at time `now`, with configured keys only.
    pub fn verify(&self, request: &RequestView<'_>, now: Timestamp) -> Verification {
        self.verify_with(request, now, &KeyRing::default())
    }

    /// Verifies a request at time `now`. On [`Unverified::NeedKey`], fetch the key, add it to the
    /// ring and call this again; a second `NeedKey` for the same key means that the key is not
    /// available.
    pub fn verify_with(
        &self,
        request: &RequestView<'_>,
        now: Timestamp,
        ring: &KeyRing,
    ) -> Verification {
        if self.unread.iter().any(|media_type| request.is_of_type(media_type)) {
            return Err(VerifyError::ContentTypeUnsupported.into());
        }
        let mut error = VerifyError::SignatureMissing;
        let mut needed = None;
        for keyed in &self.schemes {
            let absent = match self.verify_by(keyed, request, now, ring) {
                Ok(verified) => return Ok(verified),
                Err(Unverified::NeedKey(key)) => {
                    needed.get_or_insert(key);
                    false
                }
                Err(Unverified::Refused(why)) => {
                    if why.progress() >= error.progress() {
                        error = why;
                    }
                    why.is_absence()
                }
            };
            if self.policy == SchemePolicy::StrongestPresent && !absent {
                break;
            }
        }
        Err(needed.map_or(Unverified::Refused(error), Unverified::NeedKey))
    }

    fn verify_by(
        &self,
        keyed: &KeyedScheme,
        request: &RequestView<'_>,
        now: Timestamp,
        ring: &KeyRing,
    ) -> Verification {
        if self.by_query {
            keyed.scheme.check_method_covered(request)?;
        }
        keyed.verify(request, now, ring)
    }

    /// True if the request carries a signature of an accepted scheme, valid or not. A request
    /// without one is noise, not a failed webhook.
    #[must_use]
    pub fn carries_signature(&self, request: &RequestView<'_>) -> bool {
        self.schemes.iter().any(|keyed| keyed.carries_signature(request))
    }

    /// The key for handshakes that ask for a keyed hash: the key that verified the request, else
    /// the first.
    pub(crate) fn handshake_key(&self, verified: Option<&Verified>) -> Option<&PreparedKey> {
        let fitting = verified.and_then(|proof| {
            let keyed = self.schemes.iter().find(|k| k.scheme.name == proof.scheme)?;
            keyed.keys.iter().find(|(name, _)| *name == proof.secret)
        });
        let first = || self.schemes.first()?.keys.first();
        fitting.or_else(first).map(|(_, key)| key)
    }
}

/// The parameter that a scheme still needs, if the source gives another parameter that only this
/// scheme uses. Without this error, the source would verify less than its operator believes.
fn incomplete_scheme(
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
    Some(SecretError::ParamMissing { scheme: scheme.name.clone(), param })
}

/// Links each scheme that has keys to the scheme that must hold too. If that one has no secret,
/// this is an error: requests would be verified less strictly than the provider's file demands.
fn link_required_schemes(schemes: &mut [KeyedScheme]) -> Result<(), SecretError> {
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

fn add_secret(secret: &NamedSecret, schemes: &mut [KeyedScheme]) -> Result<(), SecretError> {
    let mut refused = None;
    let mut accepted = false;
    for keyed in schemes {
        if secret.scheme.as_deref().is_some_and(|only| *only != *keyed.scheme.name) {
            continue;
        }
        match PreparedKey::every(&keyed.scheme, &secret.value) {
            Ok(keys) => {
                keyed.keys.extend(keys.into_iter().map(|key| (secret.name.clone(), key)));
                accepted = true;
            }
            Err(cause) if refused.is_none() => {
                refused = Some((keyed.scheme.name.clone(), cause));
            }
            Err(_) => {}
        }
    }
    match (accepted, refused, &secret.scheme) {
        (true, ..) => Ok(()),
        (false, Some((scheme, cause)), _) => {
            Err(SecretError::Unusable { secret: secret.name.clone(), scheme, cause })
        }
        (false, None, Some(scheme)) => {
            Err(SecretError::UnknownScheme { secret: secret.name.clone(), scheme: scheme.clone() })
        }
        (false, None, None) => Err(SecretError::None),
    }
}
