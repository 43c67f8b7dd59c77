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
