//! JSON Web Tokens as their provider would make them.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::key::SigningKey;
use super::{RequestDraft, SignError};
use crate::time::Timestamp;
use crate::verify::{JwtRule, Scheme};

/// The validity of a token, in seconds.
const LIFE_S: u64 = 300;

/// Makes a token with the claims of `rule`.
pub(super) fn make(
    scheme: &Scheme,
    rule: &JwtRule,
    key: &SigningKey,
    draft: &RequestDraft,
    now: Timestamp,
    random: &SystemRandom,
) -> Result<String, SignError> {
    let unsupported = || SignError::Unsupported { scheme: scheme.name.to_string() };
    let algorithm = scheme.algorithm.jws_name().ok_or_else(unsupported)?;
    let mut claims = Map::new();
    for (name, values) in &rule.claims {
        let value = values.first().map(|value| value.replace("{url}", &draft.url));
        let value = value.unwrap_or_default();
        // A text such as `true` becomes a boolean; verification compares claims by their text.
        let value = match value.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => Value::String(value),
        };
        let name = name.split('|').next().unwrap_or_default();
        claims.insert(name.to_owned(), value);
    }
    for digest in &rule.digests {
        let hash = draft.view(|request| digest.bytes(&request).map(Sha256::digest));
        let missing = |cause| SignError::Draft { scheme: scheme.name.to_string(), cause };
        let text = digest.encoding.encode(&hash.map_err(missing)?);
        claims.insert(digest.claim.to_string(), Value::String(text));
    }
    let now = now.as_secs();
    claims.extend([("iat", now), ("exp", now + LIFE_S)].map(|(n, v)| (n.to_owned(), v.into())));
    let header = json!({ "alg": algorithm, "typ": "JWT" });
    let [header, claims] =
        [header, Value::Object(claims)].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{header}.{claims}");
    let signature = key.sign(&[Cow::Borrowed(message.as_bytes())], random)?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
