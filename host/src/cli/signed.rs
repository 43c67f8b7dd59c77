//! A sample as its provider would send it: fresh ids and times, signed. Sends nothing.

use std::borrow::Cow;
use std::fmt::Write as _;

use rand::Rng;
use ring::rand::SystemRandom;
use thiserror::Error;
use weir_core::provider::Provider;
use weir_core::sign::{RequestDraft, SignError, Signing};
use weir_core::time::Timestamp;
use weir_core::verify::{Params, Secret};

/// A signed sample, ready to be sent.
#[derive(Debug, Clone)]
pub struct SignedSample {
    /// Headers, the signature's among them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// A sample that cannot be made.
#[derive(Debug, Error)]
pub enum SampleError {
    /// No such sample.
    #[error("{provider} has no sample `{name}`; there is: {known}")]
    Unknown {
        /// The provider.
        provider: String,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The secret does not sign.
    #[error("sign the sample")]
    Sign(#[from] SignError),
}

impl SignedSample {
    /// A sample of `provider` by name, signed as for `url`, which is what senders believe the address to be.
    pub fn make(
        provider: &Provider,
        name: &str,
        signing: &Secret,
        params: &Params,
        url: &str,
        now: Timestamp,
        random: &mut impl Rng,
    ) -> Result<Self, SampleError> {
        let sample = provider.sample(name).ok_or_else(|| {
            let known: Vec<_> =
                provider.samples.iter().map(|sample| sample.name.as_str()).collect();
            SampleError::Unknown {
                provider: provider.name.to_string(),
                name: name.into(),
                known: known.join(", "),
            }
        })?;
        let rendered = sample.render(random, now);
        let draft = RequestDraft {
            method: "POST".into(),
            url: url.into(),
            headers: rendered.headers,
            body: rendered.body.into_bytes(),
        };
        let signing = Signing { secret: signing, params, scheme: None };
        let signed = provider.sign_request(signing, &draft, now, &SystemRandom::new())?;
        let body = String::from_utf8_lossy(&signed.body).into_owned();
        Ok(Self { headers: signed.headers, body })
    }

    /// The command that sends it, to be pasted into a shell.
    #[must_use]
    pub fn curl(&self, url: &str) -> String {
        let mut command = format!("curl -i {}", quoted(url));
        for (name, value) in &self.headers {
            // Writing to a string cannot fail.
            let _ = write!(command, " \\\n  -H {}", quoted(&format!("{name}: {value}")));
        }
        let _ = write!(command, " \\\n  --data-binary {}", quoted(&self.body));
        command
    }
}

/// A text as one word of a shell.
fn quoted(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        let mut out = String::from("$'");
        for c in text.chars() {
            match c {
                '\'' | '\\' => out.extend(['\\', c]),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if c.is_control() => {
                    let _ = write!(out, "\\u{:04x}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        out.push('\'');
        return out.into();
    }
    format!("'{}'", text.replace('\'', "'\\''")).into()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use weir_core::provider::Catalog;
    use weir_core::verify::{NamedSecret, RequestView, Verification};

    use super::*;

    /// Those that sign with more than a secret, or with an RSA key, are tried in weir-core.
    #[test]
    fn every_sample_of_every_provider_that_needs_only_a_secret_verifies() {
        let catalog = Catalog::built_in().unwrap();
        let now = Timestamp::from_millis(1_760_000_000_000);
        let url = "https://hooks.example.com/webhook/x";
        for provider in catalog.iter() {
            let more = provider.params.iter().any(|p| p.required && p.name != "secret");
            let pair = match provider.generate_secret(None, &SystemRandom::new()) {
                Err(SignError::KeyPairWanted { .. }) => continue,
                _ if more => continue,
                pair => pair.unwrap(),
            };
            let verifier = provider.verifier(&[NamedSecret::new("a", pair.verifying)]).unwrap();
            assert!(!provider.samples.is_empty(), "{}", provider.name);
            for sample in &provider.samples {
                let mut random = StdRng::seed_from_u64(7);
                let name = &sample.name;
                let made = SignedSample::make(
                    provider,
                    name,
                    &pair.sending,
                    &Params::new(),
                    url,
                    now,
                    &mut random,
                )
                .unwrap();
                let headers: Vec<(&str, &[u8])> =
                    made.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
                let body = made.body.as_bytes();
                let request = RequestView { method: "POST", url, headers: &headers, body };
                let verdict = verifier.verify(&request, now);
                assert!(
                    matches!(verdict, Verification::Verified(_)),
                    "{} {name}: {verdict:?}",
                    provider.name
                );
                let scheme =
                    provider.scheme(Some(&verifier.schemes().next().unwrap()[..])).unwrap();
                if !scheme.covers_body() && !scheme.signs_url() {
                    continue;
                }
                let tampered = [body, b" "].concat();
                let request = RequestView { body: &tampered, ..request };
                let verdict = verifier.verify(&request, now);
                assert!(!matches!(verdict, Verification::Verified(_)), "{} {name}", provider.name);
            }
        }
    }

    #[test]
    fn an_unknown_sample_is_answered_with_those_there_are() {
        let catalog = Catalog::built_in().unwrap();
        let provider = catalog.get("custom").unwrap();
        let mut random = StdRng::seed_from_u64(7);
        let (secret, now) = (Secret::new("s"), Timestamp::from_millis(0));
        let error = SignedSample::make(
            provider,
            "nonsense",
            &secret,
            &Params::new(),
            "u",
            now,
            &mut random,
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            "custom has no sample `nonsense`; there is: payment.success, order.created, user.signup"
        );
    }

    #[test]
    fn a_command_survives_the_shell() {
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted("a\r\n'\\"), "$'a\\r\\n\\'\\\\'");
        let sample = SignedSample { headers: vec![("A".into(), "b".into())], body: "{}".into() };
        assert_eq!(
            sample.curl("http://h/"),
            "curl -i 'http://h/' \\\n  -H 'A: b' \\\n  --data-binary '{}'"
        );
    }
}
