//! Signatures that are JSON Web Tokens (RFC 7519): the claims that a token must have, and the
//! digests that bind it to the request.
//!
//! A scheme permits one algorithm, which its file names: a token with another algorithm, or with
//! none, is refused whatever its signature.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::scheme::{Algorithm, Encoding};
use super::{SignedDigest, VerifyError, canonical};
use crate::request::RequestView;
use crate::time::{Timestamp, millis};

/// The maximum time by which a sender's clock may be ahead of the hub's.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// The requirements on a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JwtRule {
    /// Claims with their permitted values. `{url}` is the public URL, `{param:NAME}` a parameter.
    /// `one|other` is a claim that may have either name: one must be present, and each one present
    /// must match.
    pub claims: Vec<(Box<str>, Vec<Box<str>>)>,
    /// The maximum age by the claim `iat`; if `None`, the token must have `exp`.
    pub max_age: Option<Duration>,
    pub digests: Vec<DigestClaim>,
}

/// A claim that holds a SHA-256 digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestClaim {
    pub claim: Box<str>,
    pub of: DigestInput,
    pub encoding: Encoding,
    /// True if the claim may be missing when the digested bytes are empty.
    pub optional_if_empty: bool,
    /// True if, for a query payload, the digest is of the query's parameters as JSON.
    pub query_as_json: bool,
}

/// The digested bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DigestInput {
    Body,
    Url,
    /// The method and the public URL, in the canonical form of Atlassian's products.
    Atlassian {
        /// The base URL of paths; `{origin}` means the origin of the public URL.
        base: Box<str>,
    },
}

/// A parsed token, not yet verified.
#[derive(Debug)]
pub(super) struct JwtToken<'a> {
    /// The signed bytes.
    pub(super) message: &'a [u8],
    pub(super) signature: Vec<u8>,
    pub(super) key_id: Option<String>,
    claims: &'a [u8],
}

#[derive(Deserialize)]
struct JwtHeader {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl Algorithm {
    /// The algorithm's name in a token's header; `None` if tokens cannot use it.
    pub(crate) const fn jws_name(self) -> Option<&'static str> {
        Some(match self {
            Self::HmacSha256 => "HS256",
            Self::HmacSha384 => "HS384",
            Self::HmacSha512 => "HS512",
            Self::RsaPkcs1Sha256 => "RS256",
            Self::RsaPssSha512 => "PS512",
            Self::EcdsaP256Sha256 => "ES256",
            Self::EcdsaP384Sha384 => "ES384",
            Self::Ed25519 => "EdDSA",
            _ => return None,
        })
    }
}

impl<'a> JwtToken<'a> {
    /// Parses a token in compact form.
    pub(super) fn parse(text: &'a [u8], algorithm: Algorithm) -> Result<Self, VerifyError> {
        let malformed = VerifyError::SignatureMalformed;
        let mut parts = text.split(|b| *b == b'.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed);
        };
        let decoded = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed);
        let signature = decoded(signature)?;
        let header: JwtHeader = serde_json::from_slice(&decoded(header)?).map_err(|_| malformed)?;
        // A critical extension that is not supported must be refused (RFC 7515, 4.1.11).
        if Some(header.alg.as_str()) != algorithm.jws_name() || header.crit.is_some() {
            return Err(VerifyError::SignatureUnsupported);
        }
        let message =
            &text[..text.len() - text.rsplit(|b| *b == b'.').next().map_or(0, <[u8]>::len) - 1];
        Ok(Self { message, signature, key_id: header.kid, claims })
    }

    /// Parses the claims. Call it only after the signature is verified.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, VerifyError> {
        let bytes = URL_SAFE_NO_PAD.decode(self.claims).ok();
        let claims = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        claims.ok_or(VerifyError::SignatureMalformed)
    }
}

impl JwtRule {
    /// True if the token contains the public URL.
    pub(super) fn names_url(&self) -> bool {
        let named = |value: &str| value.contains("{url}") || value.contains("|url}");
        self.digests.iter().any(|digest| digest.of != DigestInput::Body)
            || self.claims.iter().flat_map(|(_, values)| values).any(|value| named(value))
    }

    pub(super) fn covers_body(&self) -> bool {
        self.digests.iter().any(|digest| digest.of == DigestInput::Body)
    }

    pub(super) fn covers_query(&self) -> bool {
        self.names_url() || self.digests.iter().any(|digest| digest.query_as_json)
    }

    pub(super) fn covers_method(&self) -> bool {
        let is_of_method = |of: &DigestInput| matches!(of, DigestInput::Atlassian { .. });
        self.digests.iter().any(|digest| is_of_method(&digest.of))
    }

    /// The digest of a query that is signed in another form than received; `None` otherwise.
    pub(super) fn signed_query(
        &self,
        request: &RequestView<'_>,
    ) -> Result<Option<SignedDigest>, VerifyError> {
        let rewritten = self.digests.iter().any(|digest| digest.query_as_json);
        if !rewritten || !request.payload_is_query() {
            return Ok(None);
        }
        Ok(Some(Sha256::digest(canonical::query_json(request.query())?).into()))
    }

    pub(super) fn texts(&mut self) -> impl Iterator<Item = &mut Box<str>> {
        let bases = self.digests.iter_mut().filter_map(|digest| match &mut digest.of {
            DigestInput::Atlassian { base } => Some(base),
            DigestInput::Body | DigestInput::Url => None,
        });
        self.claims.iter_mut().flat_map(|(_, values)| values).chain(bases)
    }

    /// Checks the claims of a token whose signature is valid; returns the time of `iat`.
    pub(super) fn check(
        &self,
        claims: &Map<String, Value>,
        request: &RequestView<'_>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, VerifyError> {
        for (name, values) in &self.claims {
            let mut found = name.split('|').filter_map(|name| claims.get(name)).peekable();
            let fits = |value: &Value| {
                values
                    .iter()
                    .any(|wanted| claim_equals(value, &wanted.replace("{url}", request.url)))
            };
            if found.peek().is_none() || !found.all(fits) {
                return Err(VerifyError::ClaimMismatch);
            }
        }
        for digest in &self.digests {
            digest.check(claims, request)?;
        }
        self.check_times(claims, now)
    }

    fn check_times(
        &self,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, VerifyError> {
        let time = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => seconds(value).map(Some).ok_or(VerifyError::TimestampMalformed),
        };
        let (issued, from, until) = (time("iat")?, time("nbf")?, time("exp")?);
        let stale = |at: Timestamp| {
            let seconds = |t: Timestamp| i64::try_from(t.as_secs()).unwrap_or(i64::MAX);
            VerifyError::TimestampStale { skew_s: seconds(now).saturating_sub(seconds(at)) }
        };
        if until.is_none() && (self.max_age.is_none() || issued.is_none()) {
            return Err(VerifyError::TimestampMissing);
        }
        if let Some(until) = until.filter(|until| *until <= now) {
            return Err(stale(until));
        }
        for start in issued.into_iter().chain(from) {
            if start.as_millis().saturating_sub(now.as_millis()) > millis(AHEAD_MAX) {
                return Err(stale(start));
            }
        }
        if let (Some(issued), Some(most)) = (issued, self.max_age)
            && now.as_secs().saturating_sub(issued.as_secs()) > most.as_secs()
        {
            return Err(stale(issued));
        }
        Ok(issued.or(from))
    }
}

/// True if a claim equals `wanted` as text, number or boolean, or is a list that contains it (as
/// `aud` may be).
fn claim_equals(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text == wanted,
        Value::Bool(_) | Value::Number(_) => {
            let text = value.to_string();
            text == wanted
        }
        Value::Array(values) => values.iter().any(|v| v.as_str() == Some(wanted)),
        Value::Null | Value::Object(_) => false,
    }
}

/// Parses a time of RFC 7519: seconds, perhaps with a fraction.
fn seconds(value: &Value) -> Option<Timestamp> {
    let whole = match value.as_u64() {
        Some(whole) => whole,
        // The fraction is dropped: the error is less than a second.
        None => {
            let text = value.as_number()?.to_string();
            let (whole, fraction) = text.split_once('.')?;
            // A number with an exponent is not a plausible time.
            fraction.bytes().all(|b| b.is_ascii_digit()).then(|| whole.parse().ok())??
        }
    };
    Some(Timestamp::from_millis(whole.checked_mul(1000)?))
}

impl DigestClaim {
    fn check(
        &self,
        claims: &Map<String, Value>,
        request: &RequestView<'_>,
    ) -> Result<(), VerifyError> {
        let (missing, mismatch) = match self.of {
            DigestInput::Body | DigestInput::Url => {
                (VerifyError::BodyNotSigned, VerifyError::BodyDigestMismatch)
            }
            DigestInput::Atlassian { .. } => {
                (VerifyError::ClaimMismatch, VerifyError::ClaimMismatch)
            }
        };
        let Some(text) = claims.get(&*self.claim).and_then(Value::as_str) else {
            let may_be = self.optional_if_empty && self.is_of_nothing(request);
            return if may_be { Ok(()) } else { Err(missing) };
        };
        let bytes = self.bytes(request)?;
        let mut buffer = [0; 64];
        let claimed = self.encoding.decode(text.as_bytes(), &mut buffer).ok_or(mismatch)?;
        let same = bool::from(Sha256::digest(&bytes).as_slice().ct_eq(claimed));
        if same { Ok(()) } else { Err(mismatch) }
    }

    /// The digested bytes of a request.
    pub(crate) fn bytes<'a>(
        &self,
        request: &RequestView<'a>,
    ) -> Result<Cow<'a, [u8]>, VerifyError> {
        Ok(match &self.of {
            DigestInput::Atlassian { base } => Cow::Owned(canonical::atlassian(request, base)?),
            DigestInput::Url => Cow::Borrowed(request.url.as_bytes()),
            DigestInput::Body if self.is_of_query(request) => {
                Cow::Owned(canonical::query_json(request.query())?)
            }
            DigestInput::Body => Cow::Borrowed(request.body),
        })
    }

    fn is_of_query(&self, request: &RequestView<'_>) -> bool {
        self.query_as_json && request.payload_is_query()
    }

    fn is_of_nothing(&self, request: &RequestView<'_>) -> bool {
        match self.of {
            DigestInput::Url | DigestInput::Atlassian { .. } => request.url.is_empty(),
            DigestInput::Body if self.is_of_query(request) => request.query().is_empty(),
            DigestInput::Body => request.body.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(header: &str, claims: &str) -> String {
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        format!("{header}.{claims}.AAAA")
    }

    fn parsed(header: &str) -> Result<(), VerifyError> {
        JwtToken::parse(token(header, "{}").as_bytes(), Algorithm::HmacSha256).map(|_| ())
    }

    #[test]
    fn the_scheme_chooses_the_algorithm() {
        assert_eq!(parsed(r#"{"alg":"HS256"}"#), Ok(()));
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"NONE"}"#,
            r#"{"alg":"hs256"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"HS256","crit":["exp"]}"#,
        ] {
            assert_eq!(parsed(header), Err(VerifyError::SignatureUnsupported), "{header}");
        }
        for header in ["{}", "[]", "", r#"{"alg":5}"#] {
            assert_eq!(parsed(header), Err(VerifyError::SignatureMalformed), "{header}");
        }
        for text in ["", ".", "a.b", "a.b.c.d", "e30.e30.=", "{}.{}.x"] {
            let parsed = JwtToken::parse(text.as_bytes(), Algorithm::HmacSha256);
            assert_eq!(parsed.err(), Some(VerifyError::SignatureMalformed), "{text}");
        }
    }

    #[test]
    fn the_signed_text_is_the_text_as_received() {
        let text = token(r#"{"alg":"HS256","kid":"k"}"#, r#"{"a":1}"#);
        let token = JwtToken::parse(text.as_bytes(), Algorithm::HmacSha256).unwrap();
        assert_eq!(token.message, text.strip_suffix(".AAAA").unwrap().as_bytes());
        assert_eq!(
            (token.key_id.as_deref(), token.signature.as_slice()),
            (Some("k"), &[0, 0, 0][..])
        );
    }

    fn checked(
        rule: &JwtRule,
        claims: Value,
        now_s: u64,
    ) -> Result<Option<Timestamp>, VerifyError> {
        let request =
            RequestView { method: "POST", url: "https://h.example/in", headers: &[], body: b"{}" };
        let Value::Object(claims) = claims else { panic!() };
        rule.check(&claims, &request, Timestamp::from_millis(now_s * 1000))
    }

    #[test]
    fn claims_must_have_the_values_of_the_file() {
        let rule = JwtRule {
            claims: vec![("aud".into(), vec!["{url}".into(), "other".into()])],
            ..JwtRule::default()
        };
        let of = |aud: Value| checked(&rule, serde_json::json!({"aud": aud, "exp": 200}), 100);
        assert_eq!(of("https://h.example/in".into()), Ok(None));
        assert_eq!(of(serde_json::json!(["x", "other"])), Ok(None));
        assert_eq!(of("https://h.example/in2".into()), Err(VerifyError::ClaimMismatch));
        assert_eq!(of(Value::Null), Err(VerifyError::ClaimMismatch));
        assert_eq!(
            checked(&rule, serde_json::json!({"exp": 200}), 100),
            Err(VerifyError::ClaimMismatch)
        );
    }

    #[test]
    fn an_implausible_time_is_refused() {
        let rule = JwtRule::default();
        for (claims, refusal) in [
            (r#"{"exp": 200.5, "iat": 99.9}"#, None),
            (r#"{"exp": 2e2, "nbf": 1.5}"#, None),
            (r#"{"exp": 200, "iat": 1.5e100}"#, Some(VerifyError::TimestampMalformed)),
            (r#"{"exp": 200, "nbf": 1.5e17}"#, Some(VerifyError::TimestampMalformed)),
            (r#"{"exp": 1.5e-9}"#, Some(VerifyError::TimestampMalformed)),
            (r#"{"exp": 200, "iat": -1.5}"#, Some(VerifyError::TimestampMalformed)),
        ] {
            let claims_of = serde_json::from_str(claims).unwrap();
            assert_eq!(checked(&rule, claims_of, 100).err(), refusal, "{claims}");
        }
    }

    #[test]
    fn a_claim_with_two_names_is_checked_under_both() {
        let claims = vec![("azp|appid".into(), vec!["graph".into()])];
        let rule = JwtRule { claims, ..JwtRule::default() };
        for (claims, fits) in [
            (serde_json::json!({"exp": 200, "azp": "graph"}), true),
            (serde_json::json!({"exp": 200, "appid": "graph"}), true),
            (serde_json::json!({"exp": 200, "appid": "graph", "azp": "graph"}), true),
            (serde_json::json!({"exp": 200, "appid": "graph", "azp": "other"}), false),
            (serde_json::json!({"exp": 200, "azp|appid": "graph"}), false),
            (serde_json::json!({"exp": 200}), false),
        ] {
            assert_eq!(checked(&rule, claims.clone(), 100).is_ok(), fits, "{claims}");
        }
    }

    #[test]
    fn a_token_is_valid_only_in_its_time() {
        let exp = JwtRule::default();
        let of = |rule: &JwtRule, claims, now| checked(rule, claims, now).map(|_| ());
        let stale = |skew_s| Err(VerifyError::TimestampStale { skew_s });
        assert_eq!(of(&exp, serde_json::json!({"exp": 200}), 199), Ok(()));
        assert_eq!(of(&exp, serde_json::json!({"exp": 200}), 200), stale(0));
        assert_eq!(of(&exp, serde_json::json!({"exp": 900, "nbf": 200}), 140), Ok(()));
        assert_eq!(of(&exp, serde_json::json!({"exp": 900, "nbf": 200}), 139), stale(-61));
        assert_eq!(of(&exp, serde_json::json!({}), 1), Err(VerifyError::TimestampMissing));
        assert_eq!(of(&exp, serde_json::json!({"iat": 1}), 1), Err(VerifyError::TimestampMissing));
        for odd in [serde_json::json!("200"), serde_json::json!(-1), serde_json::json!(1e300)] {
            let claims = serde_json::json!({"exp": odd});
            assert_eq!(of(&exp, claims, 1), Err(VerifyError::TimestampMalformed));
        }
        let age = JwtRule { max_age: Some(Duration::from_secs(300)), ..JwtRule::default() };
        assert_eq!(of(&age, serde_json::json!({"iat": 1000.5}), 1300), Ok(()));
        assert_eq!(of(&age, serde_json::json!({"iat": 1000}), 1301), stale(301));
    }

    #[test]
    fn a_digest_binds_the_body() {
        let digest = DigestClaim {
            claim: "h".into(),
            of: DigestInput::Body,
            encoding: Encoding::Hex,
            optional_if_empty: true,
            query_as_json: false,
        };
        let rule = JwtRule { digests: vec![digest], ..JwtRule::default() };
        let right = hex::encode(Sha256::digest(b"{}"));
        let of = |h: Value| checked(&rule, serde_json::json!({"exp": 9, "h": h}), 1).map(|_| ());
        assert_eq!(of(right.clone().into()), Ok(()));
        assert_eq!(of(right.to_uppercase().into()), Err(VerifyError::BodyDigestMismatch));
        assert_eq!(of("00".into()), Err(VerifyError::BodyDigestMismatch));
        assert_eq!(of(Value::Null), Err(VerifyError::BodyNotSigned));
    }

    #[test]
    fn a_digest_binds_a_query_payload() {
        let digest = DigestClaim {
            claim: "h".into(),
            of: DigestInput::Body,
            encoding: Encoding::Hex,
            optional_if_empty: true,
            query_as_json: true,
        };
        let rule = JwtRule { digests: vec![digest], ..JwtRule::default() };
        let of = |method, query: &str, body: &[u8], hashed: Option<&str>| {
            let url = format!("https://h.example/in{query}");
            let request = RequestView { method, url: &url, headers: &[], body };
            let mut claims = serde_json::json!({ "exp": 9 });
            if let Some(text) = hashed {
                claims["h"] = hex::encode(Sha256::digest(text)).into();
            }
            let now = Timestamp::from_millis(1_000);
            rule.check(claims.as_object().unwrap(), &request, now).map(|_| ())
        };
        let json = r#"{"to":"1","from":"2"}"#;
        assert_eq!(of("GET", "?to=1&from=2", b"", Some(json)), Ok(()));
        for (query, hashed, refusal) in [
            ("?to=1&from=3", Some(json), VerifyError::BodyDigestMismatch),
            ("?from=2&to=1", Some(json), VerifyError::BodyDigestMismatch),
            ("?to=1&from=2", Some(""), VerifyError::BodyDigestMismatch),
            ("?to=1&from=2", None, VerifyError::BodyNotSigned),
        ] {
            assert_eq!(of("GET", query, b"", hashed), Err(refusal), "{query} {hashed:?}");
        }
        assert_eq!((of("GET", "", b"", None), of("GET", "", b"", Some("{}"))), (Ok(()), Ok(())));
        assert_eq!(of("POST", "?to=1", b"{}", Some("{}")), Ok(()), "a body is what it is of");
    }

    proptest! {
        #[test]
        fn no_text_makes_a_token_panic(text in prop::collection::vec(any::<u8>(), 0..120), json in "[\\[\\]{}\":,a-z0-9.-]{0,60}") {
            let _ = JwtToken::parse(&text, Algorithm::HmacSha256);
            let text = token(r#"{"alg":"HS256"}"#, &json);
            let token = JwtToken::parse(text.as_bytes(), Algorithm::HmacSha256).unwrap();
            let _ = token.claims();
        }
    }
}
