//! A sample as its provider would send it: new ids and times, signed. Sends nothing.

use std::fmt::Write as _;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rand::Rng;
use ring::rand::SystemRandom;
use thiserror::Error;
use weir_core::provider::Provider;
use weir_core::sample::RenderedSample;
use weir_core::sign::{RequestDraft, SignError, SigningInput};
use weir_core::time::Timestamp;

use super::edits::{ChangeError, SampleChanges, media_type};
use crate::config::shown;

/// A signed sample, ready to be sent.
#[derive(Debug, Clone)]
pub struct SignedSample {
    pub method: String,
    /// The query, for a request whose content is in the URL and not in the body.
    pub query: Option<String>,
    /// Headers, including the signature.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A sample that cannot be made.
#[derive(Debug, Error)]
pub enum SampleError {
    #[error("{provider} has no sample `{name}`; its samples are {known}")]
    Unknown { provider: String, name: String, known: String },
    #[error("{provider} does not send by {method}; it sends by {known}")]
    Method { provider: String, method: String, known: String },
    #[error("sample `{name}` is not a form and cannot be sent by GET; choose another sample")]
    NoForm { name: String },
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error("sign the sample")]
    Sign(#[from] SignError),
}

/// A request before it is changed and signed.
#[derive(Debug, Clone)]
pub(crate) struct SampleDraft {
    method: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl SampleDraft {
    /// A sample with new ids and times.
    pub(crate) fn of_sample(
        provider: &Provider,
        name: &str,
        method: Option<&str>,
        now: Timestamp,
        random: &mut impl Rng,
    ) -> Result<Self, SampleError> {
        let sample = provider.sample(name).ok_or_else(|| {
            let known: Vec<_> =
                provider.samples.iter().map(|sample| sample.name.as_str()).collect();
            SampleError::Unknown {
                provider: provider.name.to_string(),
                name: shown::name(name).into(),
                known: known.join(", "),
            }
        })?;
        let method = Self::method(provider, method.or(sample.method.as_deref()))?;
        if method == "GET" && !sample.is_form() {
            return Err(SampleError::NoForm { name: name.into() });
        }
        let RenderedSample { headers, body } = sample.render(random, now);
        Ok(Self { method, headers, body: body.into_bytes() })
    }

    /// A request without a sample: its body and headers are given.
    pub(crate) fn of_body(
        provider: &Provider,
        method: Option<&str>,
        body: &[u8],
    ) -> Result<Self, SampleError> {
        let method = Self::method(provider, method)?;
        let headers = vec![("content-type".into(), media_type(body).into())];
        Ok(Self { method, headers, body: Vec::new() })
    }

    pub(crate) fn method_name(&self) -> &str {
        &self.method
    }

    pub(crate) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    fn method(provider: &Provider, method: Option<&str>) -> Result<String, SampleError> {
        let method = method.unwrap_or_else(|| provider.methods.iter().next().unwrap_or("POST"));
        if provider.methods.contains(method) {
            return Ok(method.to_owned());
        }
        Err(SampleError::Method {
            provider: provider.name.to_string(),
            method: shown::name(method).into(),
            known: provider.methods.to_string(),
        })
    }

    /// Makes the changes and signs the result.
    pub(crate) fn sign(
        self,
        provider: &Provider,
        changes: &SampleChanges,
        signing: SigningInput<'_>,
        url: &str,
        now: Timestamp,
    ) -> Result<SignedSample, SampleError> {
        let Self { method, mut headers, body } = self;
        let mut body = changes.body(body)?;
        changes.put_headers(&mut headers);
        let query = if method == "GET" {
            headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
            Some(String::from_utf8_lossy(&std::mem::take(&mut body)).into_owned())
        } else {
            None
        };
        let asked = with_query(url, query.as_deref());
        let draft = RequestDraft { method, url: asked, headers, body };
        let mut signed = provider.sign_request(signing, &draft, now, &SystemRandom::new())?;
        // A signature header that the operator gave is meant to be wrong and replaces the right
        // one.
        changes.put_headers(&mut signed.headers);
        // The signature may be in the query.
        let query = query.map(|_| signed.url.get(url.len() + 1..).unwrap_or_default().to_owned());
        Ok(SignedSample {
            method: signed.method,
            query,
            headers: signed.headers,
            body: signed.body,
        })
    }
}

impl SignedSample {
    /// A sample of `provider`, signed for `url` as the sender would name it, by `method` or the
    /// provider's own.
    pub fn make(
        provider: &Provider,
        name: &str,
        method: Option<&str>,
        signing: SigningInput<'_>,
        url: &str,
        now: Timestamp,
        random: &mut impl Rng,
    ) -> Result<Self, SampleError> {
        let draft = SampleDraft::of_sample(provider, name, method, now, random)?;
        draft.sign(provider, &SampleChanges::default(), signing, url, now)
    }

    /// The URL of the request: the receiver's, with the sample's query.
    #[must_use]
    pub fn address(&self, url: &str) -> String {
        with_query(url, self.query.as_deref())
    }

    /// The request to a receiver at `url`.
    ///
    /// # Errors
    /// If that is not a URL.
    pub fn request(&self, url: &str) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::builder().method(&*self.method).uri(self.address(url));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Full::from(self.body.clone()))
    }

    /// The curl command that sends it, to paste into a shell.
    #[must_use]
    pub fn curl(&self, url: &str) -> String {
        let mut command = format!("curl -i {}", quoted(self.address(url).as_bytes()));
        if self.method != "POST" && self.query.is_none() {
            let _ = write!(command, " -X {}", self.method);
        }
        for (name, value) in &self.headers {
            // Writing to a string cannot fail.
            let _ = write!(command, " \\\n  -H {}", quoted(format!("{name}: {value}").as_bytes()));
        }
        if self.query.is_none() {
            let _ = write!(command, " \\\n  --data-binary {}", quoted(&self.body));
        }
        command
    }
}

/// A URL with more in its query.
fn with_query(url: &str, query: Option<&str>) -> String {
    let Some(query) = query else { return url.to_owned() };
    let mark = if url.contains('?') { '&' } else { '?' };
    format!("{url}{mark}{query}")
}

/// Bytes as one word of a shell command.
fn quoted(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
        _ => escaped(bytes),
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut out = String::from("$'");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\'' | '\\' => out.extend(['\\', c]),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if c.is_control() => {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "\\u{:04x}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use weir_core::provider::Catalog;
    use weir_core::request::RequestView;
    use weir_core::verify::{NamedSecret, Params, Secret};

    use super::*;

    /// Providers that sign with more than a secret, or with an RSA key, are tested in weir-core.
    #[test]
    fn every_sample_of_a_provider_with_only_a_secret_verifies() {
        let catalog = Catalog::built_in().unwrap();
        let now = Timestamp::from_millis(1_760_000_000_000);
        let url = "https://hooks.example.com/webhook/x";
        for provider in catalog.iter() {
            let more = provider.params.iter().any(|p| p.required && p.name != "secret");
            let pair = match provider.generate_secret(None, &SystemRandom::new()) {
                Err(SignError::KeyPairNeeded { .. }) => continue,
                _ if more => continue,
                pair => pair.unwrap(),
            };
            let verifier = provider.verifier(&[NamedSecret::new("a", pair.verifying)]).unwrap();
            assert!(!provider.samples.is_empty(), "{}", provider.name);
            for sample in &provider.samples {
                let mut random = StdRng::seed_from_u64(7);
                let name = &sample.name;
                let signing =
                    SigningInput { secret: &pair.sending, params: &Params::new(), scheme: None };
                let made = SignedSample::make(provider, name, None, signing, url, now, &mut random)
                    .unwrap();
                let (method, address) = (&*made.method, made.address(url));
                let headers: Vec<(&str, &[u8])> =
                    made.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
                let body = &made.body[..];
                let request = RequestView { method, url: &address, headers: &headers, body };
                let verdict = verifier.verify(&request, now);
                assert!(verdict.is_ok(), "{} {name}: {verdict:?}", provider.name);
                let scheme =
                    provider.scheme(Some(&verifier.schemes().next().unwrap()[..])).unwrap();
                if !scheme.covers_body() && !scheme.signs_url() {
                    continue;
                }
                let tampered = [body, b" "].concat();
                let request = RequestView { body: &tampered, ..request };
                let verdict = verifier.verify(&request, now);
                assert!(verdict.is_err(), "{} {name}", provider.name);
            }
        }
    }

    #[test]
    fn an_unknown_sample_is_refused_with_the_known_ones() {
        let catalog = Catalog::built_in().unwrap();
        let provider = catalog.get("custom").unwrap();
        let mut random = StdRng::seed_from_u64(7);
        let (secret, now) = (Secret::new("s"), Timestamp::from_millis(0));
        let signing = SigningInput { secret: &secret, params: &Params::new(), scheme: None };
        let error = SignedSample::make(provider, "nonsense", None, signing, "u", now, &mut random);
        assert_eq!(
            error.unwrap_err().to_string(),
            "custom has no sample `nonsense`; its samples are payment.success, order.created, \
             user.signup"
        );
    }

    #[test]
    fn a_command_survives_the_shell() {
        assert_eq!(quoted(b"it's"), "'it'\\''s'");
        assert_eq!(quoted(b"\xff'"), "$'\\xff\\''");
        assert_eq!(quoted(b"a\r\n'\\"), "$'a\\r\\n\\'\\\\'");
        let mut sample = SignedSample {
            method: "POST".into(),
            query: None,
            headers: vec![("A".into(), "b".into())],
            body: "{}".into(),
        };
        assert_eq!(
            sample.curl("http://h/"),
            "curl -i 'http://h/' \\\n  -H 'A: b' \\\n  --data-binary '{}'"
        );
        sample.method = "PUT".into();
        assert_eq!(
            sample.curl("http://h/"),
            "curl -i 'http://h/' -X PUT \\\n  -H 'A: b' \\\n  --data-binary '{}'"
        );
        sample.query = Some("a=b&c=d".into());
        assert_eq!(sample.curl("http://h/?k=1"), "curl -i 'http://h/?k=1&a=b&c=d' \\\n  -H 'A: b'");
    }

    #[test]
    fn a_sample_is_sent_only_by_its_providers_methods() {
        let catalog = Catalog::built_in().unwrap();
        let (secret, now) = (Secret::new("s"), Timestamp::from_millis(1_760_000_000_000));
        let make = |provider: &str, name: &str, method: Option<&str>| {
            let signing = SigningInput { secret: &secret, params: &Params::new(), scheme: None };
            let (provider, url) = (catalog.get(provider).unwrap(), "https://h.example/in?k=1");
            let mut random = StdRng::seed_from_u64(7);
            SignedSample::make(provider, name, method, signing, url, now, &mut random)
        };
        let asked = make("twilio", "delivered", Some("GET")).unwrap();
        assert!(asked.body.is_empty() && !asked.headers.iter().any(|(n, _)| n == "content-type"));
        assert!(asked.address("http://h/").starts_with("http://h/?SmsSid=SM"), "{asked:?}");
        assert_eq!(make("twilio", "ringing", None).unwrap().method, "GET", "as the file says");
        assert!(make("twilio", "ringing", Some("POST")).unwrap().body.starts_with(b"CallSid="));
        let deleted = make("zendesk", "zen:event-type:ticket.created", Some("DELETE")).unwrap();
        assert!(deleted.query.is_none() && deleted.body.starts_with(b"{"));
        let said = |made: Result<SignedSample, SampleError>| made.unwrap_err().to_string();
        assert_eq!(
            said(make("github", "push", Some("GET"))),
            "github does not send by GET; it sends by POST"
        );
        assert!(said(make("hubspot", "contact.creation", Some("GET"))).contains("is not a form"));
    }
}
