//! The headers by which a receiver knows a message and its sender. Pure; the arithmetic is the core's.

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

/// Signs what goes to one endpoint.
#[derive(Debug)]
pub(super) enum Signer {
    /// The endpoint has no secret: messages are identified only.
    Nothing,
    /// By every secret that there is, so that a receiver can rotate.
    Standard(StandardWebhooksSigner),
    /// By the current secret: the form has room for one signature.
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

    /// The headers that identify a message and sign it as of `now`.
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
            // The secret was tried when the signer was made.
            Self::Sha256Header(secret) => {
                sign_sha256_header(body, secret).ok().map(|value| (SHA256, value))
            }
        };
        // Ids and signatures are letters, digits and a little punctuation: always header values.
        let texts = [Some((ID, id)), signature].into_iter().flatten();
        texts
            .filter_map(|(name, text)| Some((name, HeaderValue::try_from(text).ok()?)))
            .chain([(TIMESTAMP, HeaderValue::from(now.as_secs()))])
            .collect()
    }
}
