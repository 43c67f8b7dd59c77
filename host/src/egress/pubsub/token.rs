//! The token of a service account: signed here, so that no server has to be asked for one.
//!
//! Source: AIP-4111, self-signed JWT with an audience; RFC 7515 and RFC 7518 (RS256).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::json;
use weir_core::time::Timestamp;

use crate::config::ServiceAccount;

/// The service that the token is for, also at an endpoint of a region.
const AUDIENCE: &str = "https://pubsub.googleapis.com/";
/// The life of a token. The server accepts an hour at most.
const LIFE: Duration = Duration::from_secs(3_600);
/// A token is replaced this long before it ends, because a request takes its time and the clocks
/// differ.
const MARGIN: Duration = Duration::from_secs(300);

/// Signs the tokens of one account.
pub(super) struct TokenSigner {
    account: ServiceAccount,
    last: Mutex<Option<SignedToken>>,
}

/// A token, and the time from which on another is used.
struct SignedToken {
    bearer: HeaderValue,
    from: Timestamp,
    until: Timestamp,
}

impl TokenSigner {
    pub(super) fn new(account: ServiceAccount) -> Self {
        Self { account, last: Mutex::new(None) }
    }

    /// The value of `Authorization` at this time; none if the key cannot sign.
    pub(super) fn bearer(&self, at: Timestamp) -> Option<HeaderValue> {
        let mut last = self.last.lock();
        // A clock that was set back makes a token of the future, which the server refuses.
        if let Some(token) = last.as_ref().filter(|token| token.from <= at && at < token.until) {
            return Some(token.bearer.clone());
        }
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", self.signed(at)?)).ok()?;
        bearer.set_sensitive(true);
        *last = Some(SignedToken {
            bearer: bearer.clone(),
            from: at,
            until: at.after(LIFE.saturating_sub(MARGIN)),
        });
        Some(bearer)
    }

    fn signed(&self, at: Timestamp) -> Option<String> {
        let ServiceAccount { email, key_id, private_key } = &self.account;
        let encoded = |part: serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let head = encoded(json!({ "alg": "RS256", "typ": "JWT", "kid": key_id }));
        let seconds = at.as_secs();
        let claims = encoded(json!({
            "iss": email, "sub": email, "aud": AUDIENCE,
            "iat": seconds, "exp": seconds.saturating_add(LIFE.as_secs()),
        }));
        let text = format!("{head}.{claims}");
        let key = RsaKeyPair::from_pkcs8(private_key.expose()).ok()?;
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).ok()?;
        Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::pki_types::pem::PemObject as _;
    use weir_core::verify::Secret;

    use super::*;

    const KEY: &str = include_str!("../../../core/tests/providers/rsa-private.pem");

    fn signer() -> TokenSigner {
        let key = PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        TokenSigner::new(ServiceAccount {
            email: "hub@shop-1.iam.gserviceaccount.com".into(),
            key_id: "k1".into(),
            private_key: Secret::new(key.secret_pkcs8_der()),
        })
    }

    #[test]
    fn a_token_is_signed_by_the_key_and_ends_after_an_hour() {
        let at = Timestamp::from_millis(1_796_000_000_000);
        let bearer = signer().bearer(at).unwrap();
        let token = bearer.to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
        let (text, signature) = token.rsplit_once('.').unwrap();
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let key = RsaKeyPair::from_pkcs8(signer().account.private_key.expose()).unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key());
        public.verify(text.as_bytes(), &decoded(signature)).unwrap();
        let (head, claims) = text.split_once('.').unwrap();
        let read =
            |part: &str| -> serde_json::Value { serde_json::from_slice(&decoded(part)).unwrap() };
        assert_eq!(read(head), json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }));
        let claims = read(claims);
        assert_eq!(claims["iat"], 1_796_000_000);
        assert_eq!(claims["exp"], 1_796_003_600);
        assert_eq!(claims["aud"], "https://pubsub.googleapis.com/");
    }

    #[test]
    fn a_token_is_used_until_shortly_before_its_end() {
        let (signer, at) = (signer(), Timestamp::from_millis(1_796_000_000_000));
        let first = signer.bearer(at).unwrap();
        let seconds = |n: u64| at.after(Duration::from_secs(n));
        assert_eq!(signer.bearer(seconds(3_299)).unwrap(), first);
        let second = signer.bearer(seconds(3_300)).unwrap();
        assert_ne!(second, first);
        assert_ne!(signer.bearer(at).unwrap(), second, "the clock was set back");
    }
}
