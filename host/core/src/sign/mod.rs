//! Sign: the schemes run backwards, for samples that a source accepts and for what egress sends.
//!
//! Time and randomness are arguments. What is signed here verifies under the same provider file; a scheme
//! that signs something the draft has not is an error, never a guess.

mod key;
mod outgoing;

use ring::rand::SystemRandom;
use thiserror::Error;

use crate::provider::{Provider, Source};
use crate::time::Timestamp;
use crate::verify::{Format, KeyError, Refusal, RequestView, Scheme, Secret};

use key::SigningKey;

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
        cause: Refusal,
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
    /// The headers that make `draft` a genuine request of this provider, signed by the strongest scheme that
    /// `secret` is a signing key of. They are to be added to the draft's own.
    pub fn sign(
        &self,
        secret: &Secret,
        draft: &RequestDraft,
        now: Timestamp,
        random: &SystemRandom,
    ) -> Result<Vec<(String, String)>, SignError> {
        let mut refused = Err(SignError::NoSecret);
        for scheme in &self.schemes {
            match SigningKey::new(scheme, secret, random) {
                Ok(key) => return scheme.sign(&key, draft, now, random),
                Err(error) => refused = Err(error),
            }
        }
        refused
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
        SecretPair::generate(chosen, random)
    }
}

impl Scheme {
    fn sign(
        &self,
        key: &SigningKey,
        draft: &RequestDraft,
        now: Timestamp,
        random: &SystemRandom,
    ) -> Result<Vec<(String, String)>, SignError> {
        let family = self.family_of(draft);
        let name = self.header_name(family)?;
        let mut added: Vec<(String, String)> =
            self.require.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let time = self.time_to_sign(draft, now, family, &mut added)?;

        let headers = draft.headers.iter().chain(&added);
        let headers: Vec<(&str, &[u8])> =
            headers.map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let request = RequestView {
            method: &draft.method,
            url: &draft.url,
            headers: &headers,
            body: &draft.body,
        };
        let lacking = |cause| SignError::Draft { scheme: self.name.to_string(), cause };
        self.check_body_covered(&request).map_err(lacking)?;
        let url = self.message.url_forms(&draft.url).swap_remove(0);
        let parts = self
            .message
            .resolve(&request, time.as_deref().map(str::as_bytes), family, &url)
            .map_err(lacking)?;
        let signature = self.encoding.encode(&key.sign(&parts, random)?);

        added.push((name, self.write(&signature, time.as_deref())));
        Ok(added)
    }

    /// The family whose headers the draft has.
    fn family_of(&self, draft: &RequestDraft) -> usize {
        let has = |name: &str| draft.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let fields = self.message.fields().filter_map(|source| match source {
            Source::Header(names) if names.len() > 1 => Some(names),
            _ => None,
        });
        fields
            .filter_map(|names| names.iter().position(|name| has(name)))
            .next()
            .unwrap_or_default()
    }

    fn header_name(&self, family: usize) -> Result<String, SignError> {
        match self.signature.first() {
            Some(Source::Header(names)) => {
                names.get(family).or(names.first()).map(|n| n.to_string())
            }
            Some(Source::Headers(patterns)) => {
                patterns.first().map(|p| format!("{}{}", p.name, if p.numbered { "1" } else { "" }))
            }
            _ => None,
        }
        .ok_or_else(|| SignError::Unsupported { scheme: self.name.to_string() })
    }

    /// The text of the time to sign: the draft's own where it has one, else now, put where the scheme has it.
    fn time_to_sign(
        &self,
        draft: &RequestDraft,
        now: Timestamp,
        family: usize,
        added: &mut Vec<(String, String)>,
    ) -> Result<Option<String>, SignError> {
        let Some(rule) = &self.timestamp else { return Ok(None) };
        let headers: Vec<(&str, &[u8])> =
            draft.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let request = RequestView {
            method: &draft.method,
            url: &draft.url,
            headers: &headers,
            body: &draft.body,
        };
        for source in &rule.from {
            if let Ok(Some(text)) = source.read(&request, family) {
                return Ok(Some(String::from_utf8_lossy(&text).into_owned()));
            }
        }
        let text = rule.unit.write(now);
        for source in &rule.from {
            match source {
                Source::Pair(_) => return Ok(Some(text)),
                Source::Header(names) => {
                    let name = names.get(family).or(names.first());
                    added.extend(name.map(|name| (name.to_string(), text.clone())));
                    return Ok(Some(text));
                }
                _ => {}
            }
        }
        let cause = Refusal::TimestampMissing;
        Err(SignError::Draft { scheme: self.name.to_string(), cause })
    }

    fn write(&self, signature: &str, time: Option<&str>) -> String {
        match &self.format {
            Format::Prefix(prefix) | Format::List { prefix, .. } => format!("{prefix}{signature}"),
            Format::Pairs { separators, key } => {
                let from = self.timestamp.iter().flat_map(|rule| &rule.from);
                let beside = from.filter_map(|source| match source {
                    Source::Pair(key) => time.map(|time| format!("{key}={time}")),
                    _ => None,
                });
                let mut items: Vec<_> = beside.collect();
                items.push(format!("{key}={signature}"));
                items.join(separators.get(..1).unwrap_or(","))
            }
        }
    }
}
