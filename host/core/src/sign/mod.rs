//! Sign: the schemes run backwards, for samples that a source accepts and for what egress sends.
//!
//! Time and randomness are arguments. What is signed here verifies under the same provider file; a scheme
//! that signs something the draft has not is an error, never a guess.

mod key;
mod outgoing;
mod place;
mod scheme;
mod token;

use ring::rand::SystemRandom;
use thiserror::Error;

use crate::provider::Provider;
use crate::time::Timestamp;
use crate::verify::{KeyError, Params, RequestView, Secret, VerifyError};

pub use key::SecretPair;
pub use outgoing::{StandardWebhooksSigner, sign_sha256_header, sign_standard_webhooks};

/// A request that is to be signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestDraft {
    /// The method.
    pub method: String,
    /// The public URL that it is sent to.
    pub url: String,
    /// Headers it has already.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl RequestDraft {
    fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name))
    }

    fn view<T>(&self, see: impl FnOnce(RequestView<'_>) -> T) -> T {
        let headers: Vec<(&str, &[u8])> =
            self.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        see(RequestView {
            method: &self.method,
            url: &self.url,
            headers: &headers,
            body: &self.body,
        })
    }
}

/// What a sender signs with.
#[derive(Debug, Clone, Copy)]
pub struct Signing<'a> {
    /// The shared secret, or the private key.
    pub secret: &'a Secret,
    /// What the source was given besides, and signs as well.
    pub params: &'a Params,
    /// The one scheme to sign by; `None` takes the strongest that fits.
    pub scheme: Option<&'a str>,
}

/// A draft that cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignError {
    /// The secret is no signing key of the scheme.
    #[error("secret cannot sign by scheme {scheme}")]
    Key {
        /// The scheme.
        scheme: String,
        /// Why not.
        #[source]
        cause: KeyError,
    },
    /// Something that the scheme signs is not in the draft.
    #[error("draft lacks something that scheme {scheme} signs")]
    Draft {
        /// The scheme.
        scheme: String,
        /// What a receiver would say.
        #[source]
        cause: VerifyError,
    },
    /// A parameter is signed and was not given.
    #[error("parameter {param} is not given, and scheme {scheme} signs it")]
    ParamMissing {
        /// The scheme.
        scheme: String,
        /// Name of the parameter.
        param: String,
    },
    /// A fresh RSA key cannot be made here: the sender brings its own.
    #[error(
        "scheme {scheme} signs with an RSA key, which is not made here: give a private key in PEM (PKCS #8), \
         as openssl genpkey -algorithm RSA writes it, and its public half to the source"
    )]
    KeyPairWanted {
        /// The scheme.
        scheme: String,
    },
    /// The hash of the scheme is broken: what was signed so is still verified, and no more is made.
    #[error(
        "scheme {scheme} signs with RSA over SHA-1, which is broken: such signatures are verified here and not made"
    )]
    VerifiedOnly {
        /// The scheme.
        scheme: String,
    },
    /// Signing by this algorithm is not supported.
    #[error("signing by scheme {scheme} is not supported")]
    Unsupported {
        /// The scheme.
        scheme: String,
    },
    /// No secret to sign with.
    #[error("no secret to sign with")]
    NoSecret,
    /// The system gave no randomness.
    #[error("no randomness to be had")]
    NoRandomness,
}

impl Provider {
    /// `draft` as a genuine request of this provider: with the headers of its signature, or with the signature in
    /// its body, where the draft must have a place for it. Signed by the first scheme that the secret is a key of
    /// and whose fields the draft has.
    pub fn sign_request(
        &self,
        signing: Signing<'_>,
        draft: &RequestDraft,
        now: Timestamp,
        random: &SystemRandom,
    ) -> Result<RequestDraft, SignError> {
        let mut refused = None;
        for scheme in &self.schemes {
            if signing.scheme.is_some_and(|name| name != &*scheme.name) {
                continue;
            }
            let signed = scheme::signed(scheme, signing, draft, now, random);
            match signed {
                Ok(signed) => return Ok(signed),
                // What the strongest scheme lacks is told, unless a later one has got further.
                Err(error @ SignError::Key { .. }) => drop(refused.get_or_insert(error)),
                Err(error) => {
                    let told = matches!(refused, None | Some(SignError::Key { .. }));
                    refused = if told { Some(error) } else { refused };
                }
            }
        }
        Err(refused.unwrap_or(SignError::NoSecret))
    }

    /// A fresh secret for a scheme of this provider: the named one, or else the first that shares a secret,
    /// which more senders know than key pairs.
    pub fn generate_secret(
        &self,
        scheme: Option<&str>,
        random: &SystemRandom,
    ) -> Result<SecretPair, SignError> {
        let shared = self.schemes.iter().find(|s| !s.algorithm.has_key_pair());
        let chosen = match (scheme, shared) {
            (None, Some(shared)) => Some(shared),
            _ => self.scheme(scheme),
        };
        let chosen = chosen.ok_or_else(|| SignError::Unsupported {
            scheme: scheme.unwrap_or_default().to_owned(),
        })?;
        // A provider's own form is that of its shared secret, whichever scheme signs with it.
        let form = self.secret_form().filter(|_| !chosen.algorithm.has_key_pair());
        match form {
            Some(form) => SecretPair::of_form(form, random),
            None => SecretPair::generate(chosen, random),
        }
    }
}
