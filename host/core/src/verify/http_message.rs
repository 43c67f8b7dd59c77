//! HTTP Message Signatures (RFC 9421): the components that a signature covers, and the text that is
//! signed for them; with the digest of the body that such a signature may cover (RFC 9530).
//!
//! The request chooses what is signed, so the scheme's rule says what must be. Parameters are
//! signed byte for byte as received. Only one component parameter is supported, `name` of
//! `@query-param`; a signature with another one is refused.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::scheme::Algorithm;
use super::signature::CANDIDATES_MAX;
use super::{LISTED_HEADERS_MAX, VerifyError};
use crate::request::{RequestView, SIGNED_HEADER_BYTES_MAX};
use crate::time::{Timestamp, millis};

/// The maximum time by which a sender's clock may be ahead of the hub's.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// The requirements on a signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpMessageRule {
    /// The components that it must cover.
    pub components: Vec<Box<str>>,
    /// The maximum age by its `created`.
    pub max_age: Option<Duration>,
    /// The required `tag`, which names an application.
    pub tag: Option<Box<str>>,
}

/// One signature of a request, with its signed text.
#[derive(Debug)]
pub(super) struct HttpSignature<'a> {
    input: SignatureInput<'a>,
    pub(super) base: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

/// The signature input of one signature: its components and parameters.
#[derive(Debug)]
struct SignatureInput<'a> {
    /// The components and parameters as received.
    text: &'a str,
    components: Vec<Component<'a>>,
    parameters: Vec<(&'a str, &'a str)>,
}

#[derive(Debug)]
struct Component<'a> {
    /// The name and parameters as received.
    text: &'a str,
    name: Cow<'a, str>,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Algorithm {
    /// The algorithm's name in RFC 9421; `None` if it has none.
    pub(crate) const fn http_name(self) -> Option<&'static str> {
        Some(match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::EcdsaP384Sha384 => "ecdsa-p384-sha384",
            Self::RsaPkcs1Sha256 => "rsa-v1_5-sha256",
            Self::RsaPssSha512 => "rsa-pss-sha512",
            _ => return None,
        })
    }
}

impl HttpMessageRule {
    /// True if a signature must cover the digest of the body.
    pub(super) fn covers_body(&self) -> bool {
        self.components.iter().any(|component| **component == *"content-digest")
    }

    /// True if a signature must cover the query.
    pub(super) fn covers_query(&self) -> bool {
        let holds_it = |name: &str| matches!(name, "@query" | "@target-uri" | "@request-target");
        self.components.iter().any(|component| holds_it(component))
    }

    /// True if a signature must cover the method.
    pub(super) fn covers_method(&self) -> bool {
        self.components.iter().any(|component| **component == *"@method")
    }

    /// The signatures of a request that use this algorithm and cover the required components, with
    /// the time of each.
    pub(super) fn signatures<'a>(
        &self,
        inputs: &'a str,
        signatures: &str,
        algorithm: Algorithm,
        request: &RequestView<'_>,
    ) -> Result<Vec<HttpSignature<'a>>, VerifyError> {
        let signatures = members(signatures)?;
        let (mut found, mut refusal) = (Vec::new(), VerifyError::SignatureUnsupported);
        for (label, text) in members(inputs)? {
            let Some((_, value)) = signatures.iter().find(|(l, _)| *l == label) else { continue };
            match self.signature(text, value, algorithm, request) {
                Ok(signature) => found.extend(signature),
                // A proxy may have added a signature of its own, which follows other rules.
                Err(why) => refusal = why,
            }
        }
        if found.is_empty() { Err(refusal) } else { Ok(found) }
    }

    /// Reads one signature; `None` if it is of another algorithm or for another application.
    fn signature<'a>(
        &self,
        input: &'a str,
        signature: &str,
        algorithm: Algorithm,
        request: &RequestView<'_>,
    ) -> Result<Option<HttpSignature<'a>>, VerifyError> {
        let input = SignatureInput::parse(input).ok_or(VerifyError::SignatureMalformed)?;
        let other = |alg: &str| Some(alg) != algorithm.http_name();
        let tag = input.string("tag");
        if input.string("alg").is_some_and(other)
            || self.tag.as_deref().is_some_and(|wanted| tag != Some(wanted))
        {
            return Ok(None);
        }
        for wanted in &self.components {
            if !input.components.iter().any(|c| *c.name == **wanted) {
                return Err(VerifyError::SignedFieldMissing);
            }
        }
        let signature = bytes(signature).ok_or(VerifyError::SignatureMalformed)?;
        let base = input.base(request)?;
        Ok(Some(HttpSignature { input, base, signature }))
    }
}

impl HttpSignature<'_> {
    /// Checks the times of a valid signature; returns its `created`.
    pub(super) fn check_times(
        &self,
        rule: &HttpMessageRule,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, VerifyError> {
        let stale = |at: Timestamp| {
            let seconds = |t: Timestamp| i64::try_from(t.as_secs()).unwrap_or(i64::MAX);
            VerifyError::TimestampStale { skew_s: seconds(now).saturating_sub(seconds(at)) }
        };
        let (created, expires) = (self.input.time("created")?, self.input.time("expires")?);
        if let Some(at) = expires.filter(|at| *at < now) {
            return Err(stale(at));
        }
        let ahead = |at: &Timestamp| at.as_millis().saturating_sub(now.as_millis());
        if let Some(at) = created.filter(|at| ahead(at) > millis(AHEAD_MAX)) {
            return Err(stale(at));
        }
        if let Some(most) = rule.max_age {
            let at = created.ok_or(VerifyError::TimestampMissing)?;
            if now.as_secs().saturating_sub(at.as_secs()) > most.as_secs() {
                return Err(stale(at));
            }
        }
        Ok(created)
    }
}

/// All values of a header as one value, joined as in RFC 9110.
pub(super) fn joined(request: &RequestView<'_>, name: &str) -> Result<Option<String>, VerifyError> {
    let values = request.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    let mut out: Option<String> = None;
    for (_, value) in values {
        let text = std::str::from_utf8(value).map_err(|_| VerifyError::SignatureMalformed)?.trim();
        // A line end would let one component pass for two.
        if text.contains(['\r', '\n']) {
            return Err(VerifyError::SignatureMalformed);
        }
        match &mut out {
            Some(out) => {
                out.push_str(", ");
                out.push_str(text);
            }
            None => out = Some(text.to_owned()),
        }
        if out.as_ref().is_some_and(|out| out.len() > SIGNED_HEADER_BYTES_MAX) {
            return Err(VerifyError::HeaderTooLong);
        }
    }
    Ok(out)
}

/// The members of a dictionary (RFC 8941) with their raw values. Names must be unique.
fn members(text: &str) -> Result<Vec<(&str, &str)>, VerifyError> {
    let mut out: Vec<(&str, &str)> = Vec::new();
    for member in split(text, b',') {
        let member = member.trim();
        let (key, value) = member.split_once('=').ok_or(VerifyError::SignatureMalformed)?;
        if out.iter().any(|(known, _)| *known == key) {
            return Err(VerifyError::HeaderDuplicated);
        }
        if out.len() == CANDIDATES_MAX {
            return Err(VerifyError::TooManySignatures);
        }
        out.push((key, value));
    }
    Ok(out)
}

/// Splits at separators outside strings and parentheses.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped, mut depth) = (false, false, 0usize);
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if byte == separator && !quoted && depth == 0 => {
                    rest = Some(&text[at + 1..]);
                    return Some(&text[..at]);
                }
                b'(' if !quoted => depth += 1,
                b')' if !quoted => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        rest = None;
        Some(text)
    })
}

/// Parses `;key=value;flag` to pairs; the text must start with a semicolon.
fn parameters(text: &str) -> Option<Vec<(&str, &str)>> {
    let mut parts = split(text, b';');
    if !parts.next()?.is_empty() {
        return None;
    }
    let pairs: Vec<_> = parts
        .map(|part| {
            let part = part.trim_start_matches(' ');
            part.split_once('=').unwrap_or((part, "?1"))
        })
        .collect();
    let twice = |(at, (key, _)): (usize, &(&str, &str))| pairs[..at].iter().any(|(k, _)| k == key);
    (pairs.len() <= CANDIDATES_MAX && !pairs.iter().enumerate().any(twice)).then_some(pairs)
}

/// The content of a quoted string, if it needs no unescaping.
fn plain_string(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains(['"', '\\'])).then_some(inner)
}

/// The bytes of `:base64:`.
fn bytes(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.trim().strip_prefix(':')?.strip_suffix(':')?).ok()
}

impl<'a> SignatureInput<'a> {
    /// Parses `("name";p "other");created=1`.
    fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let inner = text.strip_prefix('(')?;
        // The list ends at the first closing parenthesis outside a string.
        let (list, rest) = split(inner, b')').next().map(|list| inner.split_at(list.len()))?;
        let parameters = parameters(rest.strip_prefix(')')?)?;
        let mut components: Vec<Component<'a>> = Vec::new();
        for item in split(list, b' ').filter(|item| !item.is_empty()) {
            let component = Component::parse(item)?;
            let twice = components.iter().any(|c| c.text == component.text);
            if twice || components.len() == LISTED_HEADERS_MAX {
                return None;
            }
            components.push(component);
        }
        Some(Self { text, components, parameters })
    }

    fn string(&self, name: &str) -> Option<&'a str> {
        let (_, value) = self.parameters.iter().find(|(key, _)| *key == name)?;
        plain_string(value)
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, VerifyError> {
        let Some((_, value)) = self.parameters.iter().find(|(key, _)| *key == name) else {
            return Ok(None);
        };
        let digits = value.len() <= 12 && value.bytes().all(|b| b.is_ascii_digit());
        let seconds = digits.then(|| value.parse::<u64>().ok()).flatten();
        let seconds = seconds.ok_or(VerifyError::TimestampMalformed)?;
        Ok(Some(Timestamp::from_millis(seconds * 1000)))
    }

    /// The signed text.
    fn base(&self, request: &RequestView<'_>) -> Result<Vec<u8>, VerifyError> {
        let mut out = String::new();
        for component in &self.components {
            let value = component.value(request)?;
            out.push_str(component.text);
            out.push_str(": ");
            out.push_str(&value);
            out.push('\n');
        }
        out.push_str("\"@signature-params\": ");
        out.push_str(self.text);
        Ok(out.into_bytes())
    }
}

/// The characters that stay unescaped when a query parameter is rewritten.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

impl<'a> Component<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let end = text.strip_prefix('"')?.find('"')? + 2;
        let (name, rest) = text.split_at(end);
        let name = plain_string(name)?;
        let lower = !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase());
        let parameters = if rest.is_empty() { Vec::new() } else { parameters(rest)? };
        lower.then_some(Self { text, name: Cow::Borrowed(name), parameters })
    }

    fn value(&self, request: &RequestView<'_>) -> Result<String, VerifyError> {
        let url = Url::of(request.url);
        if &*self.name == "@query-param" {
            let [("name", name)] = self.parameters[..] else {
                return Err(VerifyError::SignatureUnsupported);
            };
            let name = plain_string(name).ok_or(VerifyError::SignatureMalformed)?;
            return url.parameter(name).ok_or(VerifyError::SignedFieldMissing);
        }
        if !self.parameters.is_empty() {
            return Err(VerifyError::SignatureUnsupported);
        }
        let path = if url.path.is_empty() { "/" } else { url.path };
        let query = url.query.map_or(String::new(), |query| format!("?{query}"));
        Ok(match &*self.name {
            "@method" => request.method.to_owned(),
            "@target-uri" => request.url.to_owned(),
            "@authority" => url.authority(),
            "@scheme" => url.scheme.to_ascii_lowercase(),
            "@request-target" => format!("{path}{query}"),
            "@path" => path.to_owned(),
            "@query" if query.is_empty() => "?".to_owned(),
            "@query" => query,
            name if name.starts_with('@') => return Err(VerifyError::SignatureUnsupported),
            name => joined(request, name)?.ok_or(VerifyError::SignedFieldMissing)?,
        })
    }
}

/// The parts of the public URL.
struct Url<'a> {
    scheme: &'a str,
    authority: &'a str,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Url<'a> {
    fn of(url: &'a str) -> Self {
        let url = url.split('#').next().unwrap_or("");
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (path, query) = tail.split_once('?').map_or((tail, None), |(p, q)| (p, Some(q)));
        Self { scheme, authority, path, query }
    }

    /// The host and port in lower case, without the scheme's default port.
    fn authority(&self) -> String {
        let authority = self.authority.to_ascii_lowercase();
        let port = if self.scheme.eq_ignore_ascii_case("http") { ":80" } else { ":443" };
        authority.strip_suffix(port).map_or(authority.clone(), str::to_owned)
    }

    /// The value of a parameter that occurs once, escaped again.
    fn parameter(&self, name: &str) -> Option<String> {
        let wanted = form_urlencoded::parse(name.as_bytes()).next().map(|(name, _)| name)?;
        let mut found =
            form_urlencoded::parse(self.query?.as_bytes()).filter(|(n, _)| *n == wanted);
        let (_, value) = found.next()?;
        found.next().is_none().then(|| utf8_percent_encode(&value, QUERY).to_string())
    }
}

/// Refuses a body that does not match its `Content-Digest`. Every digest of a supported kind must
/// be right, and at least one must be supported. Without the header, nothing is refused.
pub(super) fn check_content_digest(request: &RequestView<'_>) -> Result<(), VerifyError> {
    let Some(text) = joined(request, "content-digest")? else { return Ok(()) };
    let mismatch = VerifyError::BodyDigestMismatch;
    let mut known = false;
    for (name, value) in members(&text).map_err(|_| mismatch)? {
        let digest = match name {
            "sha-256" => Sha256::digest(request.body).to_vec(),
            "sha-512" => Sha512::digest(request.body).to_vec(),
            _ => continue,
        };
        known = true;
        let claimed = bytes(value).ok_or(mismatch)?;
        if !bool::from(digest.as_slice().ct_eq(&claimed)) {
            return Err(mismatch);
        }
    }
    if known { Ok(()) } else { Err(mismatch) }
}

/// `Content-Digest`, `Signature-Input` without its label, and the text to sign, for requests that
/// the hub signs.
pub(crate) struct HttpMessageDraft {
    pub(crate) content_digest: String,
    pub(crate) input: String,
    pub(crate) base: Vec<u8>,
}

/// The text that a sender signs: the components of the rule, and always the target and the body.
pub(crate) fn draft(
    rule: &HttpMessageRule,
    algorithm: &str,
    request: &RequestView<'_>,
    now: Timestamp,
) -> Result<HttpMessageDraft, VerifyError> {
    let digest = STANDARD.encode(Sha256::digest(request.body));
    let content_digest = format!("sha-256=:{digest}:");
    let mut names = vec!["@method", "@authority", "@path", "content-digest"];
    for name in &rule.components {
        if !names.contains(&&**name) {
            names.push(name);
        }
    }
    let names: Vec<_> = names.into_iter().map(|name| format!("\"{name}\"")).collect();
    let tag = rule.tag.as_ref().map_or(String::new(), |tag| format!(";tag=\"{tag}\""));
    let created = now.as_secs();
    let input = format!("({});created={created};alg=\"{algorithm}\"{tag}", names.join(" "));
    let mut headers = request.headers.to_vec();
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-digest"));
    headers.push(("content-digest", content_digest.as_bytes()));
    let request = RequestView { headers: &headers, ..*request };
    let parsed = SignatureInput::parse(&input).ok_or(VerifyError::SignatureMalformed)?;
    let base = parsed.base(&request)?;
    Ok(HttpMessageDraft { content_digest, base, input })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADERS: &[(&str, &[u8])] =
        &[("Host", b"x"), ("X-A", b" 1 "), ("x-a", b"2"), ("Content-Type", b"text/plain")];

    fn request() -> RequestView<'static> {
        let url = "https://Example.com:443/foo?param=Value&Pet=dog&a=%20b&two=1&two=2";
        RequestView { method: "POST", url, headers: HEADERS, body: b"{}" }
    }

    fn base(input: &str) -> Result<String, VerifyError> {
        let input = SignatureInput::parse(input).ok_or(VerifyError::SignatureMalformed)?;
        Ok(String::from_utf8(input.base(&request())?).unwrap())
    }

    #[test]
    fn the_base_is_the_components_then_the_parameters() {
        let input = r#"("@method"  "@authority" "@path" "@query" "@scheme" "@request-target" "x-a" "@query-param";name="a");created=1;x="a,b;c)""#;
        assert_eq!(
            base(input).unwrap(),
            format!(
                "\"@method\": POST\n\"@authority\": example.com\n\"@path\": /foo\n\
                 \"@query\": ?param=Value&Pet=dog&a=%20b&two=1&two=2\n\"@scheme\": https\n\
                 \"@request-target\": /foo?param=Value&Pet=dog&a=%20b&two=1&two=2\n\"x-a\": 1, 2\n\
                 \"@query-param\";name=\"a\": %20b\n\"@signature-params\": {input}"
            )
        );
        assert_eq!(base("();created=1").unwrap(), "\"@signature-params\": ();created=1");
    }

    #[test]
    fn missing_or_unreadable_components_are_refused() {
        for (input, refusal) in [
            (r#"("x-b")"#, VerifyError::SignedFieldMissing),
            (r#"("@query-param";name="two")"#, VerifyError::SignedFieldMissing),
            (r#"("@query-param")"#, VerifyError::SignatureUnsupported),
            (r#"("@status")"#, VerifyError::SignatureUnsupported),
            (r#"("x-a";sf)"#, VerifyError::SignatureUnsupported),
            (r#"("X-A")"#, VerifyError::SignatureMalformed),
            (r#"("x-a" "x-a")"#, VerifyError::SignatureMalformed),
            (r#"("x-a""#, VerifyError::SignatureMalformed),
            (r#"("x-a) "#, VerifyError::SignatureMalformed),
            (r#"();created=1;created=2"#, VerifyError::SignatureMalformed),
            ("x-a", VerifyError::SignatureMalformed),
            ("", VerifyError::SignatureMalformed),
        ] {
            assert_eq!(base(input), Err(refusal), "{input}");
        }
        assert_eq!(members("a=1, a=2"), Err(VerifyError::HeaderDuplicated));
        assert_eq!(members("a=1,"), Err(VerifyError::SignatureMalformed));
        let many: Vec<_> = (0..=CANDIDATES_MAX).map(|n| format!("a{n}=1")).collect();
        assert_eq!(members(&many.join(",")), Err(VerifyError::TooManySignatures));
    }

    #[test]
    fn an_unreadable_signature_does_not_affect_another() {
        let labels = |inputs: &str| {
            let rule = HttpMessageRule { components: vec!["@method".into()], ..Default::default() };
            let signatures = "a=:AAAA:, b=:AAAA:";
            let found = rule.signatures(inputs, signatures, Algorithm::Ed25519, &request());
            found.map(|found| found.len())
        };
        assert_eq!(labels(r#"a=("x-a";sf), b=("@method")"#), Ok(1));
        assert_eq!(labels(r#"a=("@path"), b=("@method")"#), Ok(1));
        assert_eq!(labels(r#"a=("@method");alg="other", b=("@method")"#), Ok(1));
        assert_eq!(labels(r#"b=("@path")"#), Err(VerifyError::SignedFieldMissing));
    }

    #[test]
    fn a_line_end_in_a_header_cannot_add_a_component() {
        let headers: &[(&str, &[u8])] = &[("x-a", b"1\n\"x-b\": 2")];
        let request = RequestView { headers, ..request() };
        assert_eq!(joined(&request, "x-a"), Err(VerifyError::SignatureMalformed));
    }

    #[test]
    fn every_supported_digest_must_match() {
        let of = |text: &str| {
            let headers: &[(&str, &[u8])] = &[("content-digest", text.as_bytes())];
            check_content_digest(&RequestView { headers, ..request() })
        };
        let right = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(b"{}")));
        assert_eq!(of(&right), Ok(()));
        assert_eq!(of(&format!("md5=:AAAA:, {right}")), Ok(()));
        for wrong in ["sha-256=:AAAA:", "md5=:AAAA:", "sha-256=x", "", "sha-256"] {
            assert_eq!(of(wrong), Err(VerifyError::BodyDigestMismatch), "{wrong}");
        }
        assert_eq!(of(&format!("{right}, sha-512=:AAAA:")), Err(VerifyError::BodyDigestMismatch));
        assert_eq!(check_content_digest(&request()), Ok(()));
    }

    #[test]
    fn times_are_checked_if_present() {
        let at = |input: &'static str, rule: &HttpMessageRule, now_s: u64| {
            let input = SignatureInput::parse(input).unwrap();
            let signature = HttpSignature { input, base: Vec::new(), signature: Vec::new() };
            signature.check_times(rule, Timestamp::from_millis(now_s * 1000)).map(|_| ())
        };
        let (lax, strict) = (
            HttpMessageRule::default(),
            HttpMessageRule { max_age: Some(Duration::from_secs(300)), ..Default::default() },
        );
        let stale = |skew_s| Err(VerifyError::TimestampStale { skew_s });
        assert_eq!(at("()", &lax, 1), Ok(()));
        assert_eq!(at("()", &strict, 1), Err(VerifyError::TimestampMissing));
        assert_eq!(at("();created=1000", &strict, 1300), Ok(()));
        assert_eq!(at("();created=1000", &strict, 1301), stale(301));
        assert_eq!(at("();created=1000", &lax, 939), stale(-61));
        assert_eq!(at("();expires=1000", &lax, 1001), stale(1));
        for odd in ["();created=-1", "();created=1.5", "();created=\"1\"", "();created"] {
            assert_eq!(at(odd, &lax, 1), Err(VerifyError::TimestampMalformed), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(text in "[()\";=:a@\\\\, ,0-9A-Z*-]{0,60}", more in any::<String>()) {
            for text in [text.as_str(), more.as_str()] {
                let _ = members(text);
                let _ = base(text);
            }
        }
    }
}
