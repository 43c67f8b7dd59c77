//! Why a source refuses what its sender sends, as far as the set-up shows it. Pure; shows no secret and no signature.

use std::fmt::Write as _;

use weir_core::provider::Provider;
use weir_core::verify::paste_mistakes;

use crate::config::Source;

/// Requests that a source refuses, with none accepted, before the reason is looked for.
pub(crate) const FIRST_REFUSALS: u32 = 3;

/// What was seen, and what to look at, where requests are refused with this code; none if the set-up shows nothing.
pub(crate) fn likely_cause(source: &Source, code: &str) -> Option<String> {
    let (name, provider) = (&source.name, &source.provider);
    Some(match code {
        "signature_missing" => format!(
            "no signature was found in {}: see that the sender has the secret of source {name}, that the source is really \
             {}, and that no proxy takes headers away",
            places(provider),
            provider.name
        ),
        "signature_mismatch" => format!(
            "a signature is there, well formed, and wrong: check the secret of source {name} ({}){}; else see that no \
             proxy changes the body",
            secrets(source),
            url(source),
        ),
        "signature_malformed" | "signature_unsupported" => format!(
            "something stands in {} that is no signature of {}: see that the source names the right provider, and for a \
             scheme of your own its encoding and prefix",
            places(provider),
            provider.name
        ),
        "signed_field_missing" | "timestamp_missing" => format!(
            "a field that {} signs is missing: see that no proxy takes headers away, and that the source names the right \
             provider",
            provider.name
        ),
        "timestamp_stale" => {
            "the signature is right and its time is not: check the clock of this machine and the \
                              sender's, and for requests that are sent again the source's tolerance"
                .into()
        }
        "body_digest_mismatch" => {
            "the signature is right and the body is not what was signed: a proxy changes it".into()
        }
        "claim_mismatch" | "key_untrusted" | "header_unexpected" => format!(
            "the request is meant for another than source {name}: check its params and public_url{}",
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

/// Each secret by its name and length, with what copying has left on it.
fn secrets(source: &Source) -> String {
    if source.secrets.is_empty() {
        return "it was handed over by the sender, or is a key that it publishes".into();
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
                " and its public_url, which is signed: {url} must be what the sender was given, to the letter"
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
            "[server]\npublic_url = \"https://hooks.example.com\"\n[sources.a]\nprovider = \"{provider}\"\n\
             secrets = [\"{secret}\"]\n"
        );
        let config = load_text("weir.toml", &text, Path::new(""), true).unwrap().config;
        likely_cause(&config.sources["a"], code).unwrap_or_default()
    }

    #[test]
    fn what_a_secret_looks_like_is_named_and_it_is_not_shown() {
        let said = said("github", "7Qm2xV9sKd4LrT8wZp3N ", "signature_mismatch");
        assert!(said.contains("secret `literal-0` is 21 bytes and ends with a space"), "{said}");
        assert!(!said.contains("7Qm2xV"), "{said}");
    }

    #[test]
    fn each_refusal_leads_to_what_is_to_be_looked_at() {
        let of = |provider: &str, code: &str| said(provider, "7Qm2xV9sKd4LrT8wZp3N", code);
        for (provider, code, wanted) in [
            ("github", "signature_missing", "X-Hub-Signature-256"),
            ("twilio", "signature_mismatch", "https://hooks.example.com/webhook/a must be what"),
            ("stripe", "timestamp_stale", "check the clock"),
            ("slack", "signature_malformed", "names the right provider"),
            ("slack", "timestamp_missing", "no proxy takes headers away"),
        ] {
            let said = of(provider, code);
            assert!(said.contains(wanted), "{provider} {code}: {said}");
        }
        assert_eq!(of("github", "body_too_large"), "");
    }
}
