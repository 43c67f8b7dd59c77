//! The likely cause of a source's refusals, from its configuration. Pure. Shows no secret and no
//! signature.

use std::fmt::Write as _;

use weir_core::provider::Provider;
use weir_core::verify::paste_mistakes;

use crate::config::Source;

/// Refused requests, with none accepted, after which the cause is determined.
pub(crate) const FIRST_REFUSALS: u32 = 3;

/// The cause and the remedy for this code. None if the configuration shows nothing.
pub(crate) fn likely_cause(source: &Source, code: &str) -> Option<String> {
    let (name, provider) = (&source.name, &source.provider);
    Some(match code {
        "signature_missing" => format!(
            "there is no signature in {}: check that the sender has the secret of source {name}, \
             that the sender is \
             {}, and that no proxy removes headers",
            places(provider),
            provider.name
        ),
        "signature_mismatch" => format!(
            "the signature is well formed and does not match: check the secret of source {name} \
             ({}){}, and that no \
             proxy changes the body",
            secrets(source),
            url(source),
        ),
        "signature_malformed" | "signature_unsupported" => format!(
            "the value in {} is not a signature of {}: check that the source names the right \
             provider, and for a \
             scheme of your own its encoding and prefix",
            places(provider),
            provider.name
        ),
        "signed_field_missing" | "timestamp_missing" => format!(
            "a field that {} signs is missing: check that no proxy removes headers, and that the \
             source names the right \
             provider",
            provider.name
        ),
        "timestamp_stale" => {
            "the signature matches and its timestamp is out of range: check the clocks of this \
             machine and of \
             the sender, and the source's tolerance for repeated requests"
                .into()
        }
        "body_digest_mismatch" => {
            "the signature matches and the body does not: a proxy changes it".into()
        }
        "claim_mismatch" | "key_untrusted" | "header_unexpected" => format!(
            "the request is for another receiver than source {name}: check its params and \
             public_url{}",
            url(source)
        ),
        _ => return None,
    })
}

fn places(provider: &Provider) -> String {
    let mut places: Vec<String> = Vec::new();
    for place in provider.schemes.iter().flat_map(|scheme| &scheme.signature) {
        let place = place.to_string();
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places.join(" or ")
}

/// Each secret with its name, length and traces of copying.
fn secrets(source: &Source) -> String {
    if source.secrets.is_empty() {
        return "the sender handed it over, or publishes its key".into();
    }
    let mut said = String::new();
    for secret in &source.secrets {
        let bytes = secret.value.expose();
        let before = if said.is_empty() { "" } else { "; " };
        // Writing to a string cannot fail.
        let _ = write!(said, "{before}secret `{}` is {} bytes", secret.name, bytes.len());
        for trace in paste_mistakes(bytes) {
            let _ = write!(said, " and {trace}");
        }
    }
    said
}

fn url(source: &Source) -> String {
    match &source.public_url {
        Some(url) if source.verifier.signs_url() => {
            format!(
                " and its public_url, which is signed: {url} must be exactly the URL at the sender"
            )
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load_text;

    fn said(provider: &str, secret: &str, code: &str) -> String {
        let text = format!(
            "[server]\npublic_url = \"https://hooks.example.com\"\n[sources.a]\nprovider \
             = \"{provider}\"\n\
             secrets = [\"{secret}\"]\n"
        );
        let config = load_text("weir.toml", &text, Path::new(""), crate::config::Mode::Development)
            .unwrap()
            .config;
        likely_cause(&config.sources["a"], code).unwrap_or_default()
    }

    #[test]
    fn a_cause_describes_a_secret_without_showing_it() {
        let said = said("github", "7Qm2xV9sKd4LrT8wZp3N ", "signature_mismatch");
        assert!(said.contains("secret `literal-0` is 21 bytes and ends with a space"), "{said}");
        assert!(!said.contains("7Qm2xV"), "{said}");
    }

    #[test]
    fn each_refusal_has_a_cause_to_check() {
        let of = |provider: &str, code: &str| said(provider, "7Qm2xV9sKd4LrT8wZp3N", code);
        for (provider, code, wanted) in [
            ("github", "signature_missing", "X-Hub-Signature-256"),
            ("twilio", "signature_mismatch", "https://hooks.example.com/webhook/a must be exactly"),
            ("stripe", "timestamp_stale", "check the clocks"),
            ("slack", "signature_malformed", "names the right provider"),
            ("slack", "timestamp_missing", "no proxy removes headers"),
        ] {
            let said = of(provider, code);
            assert!(said.contains(wanted), "{provider} {code}: {said}");
        }
        assert_eq!(of("github", "body_too_large"), "");
    }
}
