//! The headers that identify and sign a message. Pure; the core has the algorithms.

use http::{HeaderName, HeaderValue};
use weir_core::id::MessageId;
use weir_core::sign::{SignError, StandardWebhooksSigner, sign_sha256_header};
use weir_core::time::Timestamp;
use weir_core::verify::Secret;

use crate::config::{Signing, Webhook};

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const STANDARD: HeaderName = HeaderName::from_static("webhook-signature");
const SHA256: HeaderName = HeaderName::from_static("x-webhook-signature");

/// Signs the messages to one endpoint.
#[derive(Debug)]
pub(super) enum Signer {
    /// The endpoint has no secret: messages are only identified.
    Nothing,
    /// With every secret, so that a receiver can rotate.
    Standard(StandardWebhooksSigner),
    /// With the current secret: the header has one signature.
    Sha256Header(Secret),
}

impl Signer {
    pub(super) fn new(webhook: &Webhook) -> Result<Self, SignError> {
        let Some(current) = webhook.secrets.first() else { return Ok(Self::Nothing) };
        Ok(match webhook.signing {
            Signing::Standard => Self::Standard(StandardWebhooksSigner::new(&webhook.secrets)?),
            Signing::Sha256Header => {
                sign_sha256_header(b"", current)?;
                Self::Sha256Header(current.clone())
            }
        })
    }

    /// The headers that identify a message and sign it at `now`.
    pub(super) fn headers(
        &self,
        id: MessageId,
        now: Timestamp,
        body: &[u8],
    ) -> Vec<(HeaderName, HeaderValue)> {
        let id = id.to_string();
        let signature = match self {
            Self::Nothing => None,
            Self::Standard(signer) => Some((STANDARD, signer.sign(&id, now, body))),
            // `new` has checked the secret.
            Self::Sha256Header(secret) => {
                sign_sha256_header(body, secret).ok().map(|value| (SHA256, value))
            }
        };
        // Ids and signatures are always valid header values.
        let texts = [Some((ID, id)), signature].into_iter().flatten();
        texts
            .filter_map(|(name, text)| Some((name, HeaderValue::try_from(text).ok()?)))
            .chain([(TIMESTAMP, HeaderValue::from(now.as_secs()))])
            .collect()
    }
}
