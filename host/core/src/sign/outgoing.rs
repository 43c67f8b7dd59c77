//! Signatures of outgoing messages: Standard Webhooks, or a plain HMAC header.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use ring::signature::Ed25519KeyPair;
use sha2::Sha256;

use super::SignError;
use crate::time::Timestamp;
use crate::verify::{KeyError, KeyForm, Secret, keyed};

/// The keys of a destination that uses Standard Webhooks, prepared once.
pub struct StandardWebhooksSigner {
    keys: Vec<OutgoingKey>,
}

enum OutgoingKey {
    V1(Hmac<Sha256>),
    V1a(Ed25519KeyPair),
}

impl fmt::Debug for StandardWebhooksSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandardWebhooksSigner").field("keys", &self.keys.len()).finish()
    }
}

impl StandardWebhooksSigner {
    /// Accepts one secret, or two during a rotation: `whsec_…` signs `v1`, `whsk_…` signs `v1a`.
    pub fn new(secrets: &[Secret]) -> Result<Self, SignError> {
        if secrets.is_empty() {
            return Err(SignError::NoSecret);
        }
        let keys = secrets.iter().map(OutgoingKey::new).collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// The value of `webhook-signature`. The message also carries `id` as `webhook-id` and
    /// `timestamp` as `webhook-timestamp`, in whole Unix seconds.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: Timestamp, body: &[u8]) -> String {
        let head = format!("{id}.{}.", timestamp.as_secs());
        let mut out = String::new();
        for key in &self.keys {
            if !out.is_empty() {
                out.push(' ');
            }
            match key {
                OutgoingKey::V1(keyed) => {
                    let mut mac = keyed.clone();
                    mac.update(head.as_bytes());
                    mac.update(body);
                    out.push_str("v1,");
                    STANDARD.encode_string(mac.finalize().into_bytes(), &mut out);
                }
                OutgoingKey::V1a(pair) => {
                    let signature = pair.sign(&[head.as_bytes(), body].concat());
                    out.push_str("v1a,");
                    STANDARD.encode_string(signature.as_ref(), &mut out);
                }
            }
        }
        out
    }
}

impl OutgoingKey {
    fn new(secret: &Secret) -> Result<Self, SignError> {
        let wrong = |scheme: &str| {
            let scheme = scheme.to_owned();
            move |cause| SignError::Key { scheme, cause }
        };
        if secret.expose().trim_ascii().starts_with(b"whsk_") {
            let key = KeyForm::Whpk.decode(secret).map_err(wrong("v1a"))?;
            let pair = super::key::ed25519(&key).ok_or(KeyError::NotPrivate);
            return Ok(Self::V1a(pair.map_err(wrong("v1a"))?));
        }
        let key = KeyForm::Whsec.decode(secret).map_err(wrong("v1"))?;
        Ok(Self::V1(keyed(&key).map_err(wrong("v1"))?))
    }
}

/// The value of `webhook-signature` for one message. Prepares the keys each time; egress keeps a
/// [`StandardWebhooksSigner`].
pub fn sign_standard_webhooks(
    id: &str,
    timestamp: Timestamp,
    body: &[u8],
    secrets: &[Secret],
) -> Result<String, SignError> {
    Ok(StandardWebhooksSigner::new(secrets)?.sign(id, timestamp, body))
}

/// The value of a header such as `X-Webhook-Signature`: `sha256=` and the hexadecimal HMAC-SHA256
/// of the body.
pub fn sign_sha256_header(body: &[u8], secret: &Secret) -> Result<String, SignError> {
    let wrong = |cause| SignError::Key { scheme: "sha256".to_owned(), cause };
    let key = KeyForm::Utf8.decode(secret).map_err(wrong)?;
    let mut mac: Hmac<Sha256> = keyed(&key).map_err(wrong)?;
    mac.update(body);
    Ok(format!("sha256={}", hex::encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_matches_the_published_example() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let at = Timestamp::from_millis(1_614_265_330_999);
        let body = br#"{"test": 2432232314}"#;
        let value = sign_standard_webhooks("msg_p5jXN8AQM9LWM0D4loKWxJek", at, body, &[secret]);
        assert_eq!(value.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_plain_header_matches_githubs_example() {
        let secret = Secret::new("It's a Secret to Everybody");
        assert_eq!(
            sign_sha256_header(b"Hello, World!", &secret).unwrap(),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }

    #[test]
    fn an_empty_secret_signs_nothing() {
        assert_eq!(StandardWebhooksSigner::new(&[]).unwrap_err(), SignError::NoSecret);
        assert!(sign_sha256_header(b"", &Secret::new("")).is_err());
        assert!(StandardWebhooksSigner::new(&[Secret::new("whsec_")]).is_err());
    }
}
