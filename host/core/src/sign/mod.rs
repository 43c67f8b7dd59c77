//! Signing: the schemes in reverse, for samples that a source accepts and for messages that the hub
//! sends.
//!
//! Time and randomness are arguments. A signed request verifies under the same provider file. If a
//! scheme signs something that the draft lacks, signing fails.

mod insert;
mod jwt;
mod key;
mod outgoing;
mod scheme;
mod secret_form;

use std::sync::Arc;

use ring::rand::SystemRandom;
use thiserror::Error;

use crate::request::RequestView;
use crate::time::Timestamp;
use crate::verify::{KeyError, Params, Scheme, Secret, VerifyError};

pub use key::SecretPair;
pub use outgoing::{StandardWebhooksSigner, sign_sha256_header, sign_standard_webhooks};
pub use secret_form::{InvalidForm, SecretForm};

/// A request before it is signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestDraft {
    pub method: String,
    /// The public URL of the request.
    pub url: String,
    pub headers: Vec<(String, String)>,
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

/// The secrets and parameters that a sender signs with.
#[derive(Debug, Clone, Copy)]
pub struct SigningInput<'a> {
    /// The shared secret, or the private key.
    pub secret: &'a Secret,
    /// The parameters of the source; some are signed.
    pub params: &'a Params,
    /// The scheme to sign with; `None` takes the strongest that fits.
    pub scheme: Option<&'a str>,
}

/// Why a draft cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignError {
    /// The secret is not a signing key of the scheme.
    #[error("secret cannot sign with scheme {scheme}")]
    Key {
        scheme: String,
        #[source]
        cause: KeyError,
    },
    /// The draft lacks something that the scheme signs.
    #[error("draft lacks something that scheme {scheme} signs")]
    Draft {
        scheme: String,
        /// The error that a receiver would report.
        #[source]
        cause: VerifyError,
    },
    /// A signed parameter is not given.
    #[error("parameter {param} is not given, and scheme {scheme} signs it")]
    ParamMissing { scheme: String, param: String },
    /// An RSA key cannot be generated here: the sender must bring one.
    #[error(
        "scheme {scheme} signs with an RSA key, which is not generated here: use a private key \
         in PEM (PKCS #8), such as openssl genpkey -algorithm RSA writes, and configure its public half in the source"
    )]
    KeyPairNeeded { scheme: String },
    /// The hash of the scheme is broken: its signatures are verified but not made.
    #[error(
        "scheme {scheme} signs with RSA and SHA-1, which is broken: such signatures are \
         verified but not made"
    )]
    VerifiedOnly { scheme: String },
    /// Signing with this algorithm is not supported.
    #[error("signing with scheme {scheme} is not supported")]
    Unsupported { scheme: String },
    #[error("no secret to sign with")]
    NoSecret,
    /// The system has no randomness.
    #[error("the system has no randomness")]
    NoRandomness,
}

/// Signs `draft` with the first of `schemes` whose key the secret is and whose fields the draft
/// has. The signature goes into headers, or into the body or query, where the draft must have a
/// place for it.
pub(crate) fn sign_request(
    schemes: &[Arc<Scheme>],
    signing: SigningInput<'_>,
    draft: &RequestDraft,
    now: Timestamp,
    random: &SystemRandom,
) -> Result<RequestDraft, SignError> {
    let mut refused = None;
    for scheme in schemes {
        if signing.scheme.is_some_and(|name| name != &*scheme.name) {
            continue;
        }
        let signed = scheme::signed(scheme, signing, draft, now, random);
        match signed {
            Ok(signed) => return Ok(signed),
            // Reports the error of the strongest scheme, unless a later one got further.
            Err(error @ SignError::Key { .. }) => drop(refused.get_or_insert(error)),
            Err(error) => {
                let further = matches!(refused, None | Some(SignError::Key { .. }));
                refused = if further { Some(error) } else { refused };
            }
        }
    }
    Err(refused.unwrap_or(SignError::NoSecret))
}

/// Generates a secret for a scheme: the named one, else the first with a shared secret, which more
/// senders support than key pairs. `form` is the form of the provider's shared secret.
pub(crate) fn generate_secret(
    schemes: &[Arc<Scheme>],
    name: Option<&str>,
    form: Option<&SecretForm>,
    random: &SystemRandom,
) -> Result<SecretPair, SignError> {
    let shared = schemes.iter().find(|s| !s.algorithm.has_key_pair());
    let chosen = match (name, shared) {
        (None, Some(shared)) => Some(shared),
        _ => schemes.iter().find(|s| name.is_none_or(|name| *s.name == *name)),
    };
    let chosen = chosen
        .ok_or_else(|| SignError::Unsupported { scheme: name.unwrap_or_default().to_owned() })?;
    match form.filter(|_| !chosen.algorithm.has_key_pair()) {
        Some(form) => SecretPair::of_form(form, random),
        None => SecretPair::generate(chosen, random),
    }
}
