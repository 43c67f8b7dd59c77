//! The strength of secrets and schemes: the refused ones and the warnings.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_core::provider::Provider;
use weir_core::verify::{
    Algorithm, NamedSecret, PasteMistake, Scheme, Secret, SecretWarning, WeakSecret,
    check_text_secret, paste_mistakes,
};

use super::tree::Section;
use weir_core::units::format_duration;

/// Longest accepted age of a signed request without a warning.
const TOLERANCE_GOOD: Duration = Duration::from_secs(86_400);

/// Warns about traces of copying on a configured secret.
pub(super) fn note_traces(section: &Section<'_>, key: &str, secret: &Secret) {
    let bytes = secret.expose();
    for trace in paste_mistakes(bytes) {
        let what = format!(
            "the secret ({} bytes) {trace}; if the sender's copy differs, every signature is \
             refused",
            bytes.len()
        );
        section.warning(key, what);
    }
}

/// The same for a value that is not a signing secret, such as a header, which may begin with
/// `Bearer`.
pub(super) fn note_traces_of_value(section: &Section<'_>, key: &str, value: &Secret) {
    for trace in
        paste_mistakes(value.expose()).into_iter().filter(|trace| *trace != PasteMistake::AuthWord)
    {
        section.warning(key, format!("the value ({} bytes) {trace}", value.expose().len()));
    }
}

/// Checks the secrets of a source with each scheme that would use them. False if one is refused.
pub(super) fn judge_secrets(
    section: &Section<'_>,
    provider: &Provider,
    secrets: &[NamedSecret],
) -> bool {
    let mut strong = true;
    for (index, secret) in secrets.iter().enumerate() {
        let key = format!("secrets[{index}]");
        let is_for = |scheme: &&std::sync::Arc<Scheme>| {
            secret.scheme.as_deref().is_none_or(|only| *only == *scheme.name)
        };
        let mut doubts = BTreeSet::new();
        for scheme in provider.schemes.iter().filter(is_for) {
            match scheme.check_secret_strength(&secret.value) {
                Ok(found) => doubts.extend(found.iter().map(ToString::to_string)),
                Err(weakness) => {
                    let least = scheme.minimum_secret();
                    let what = format!(
                        "the secret {weakness}. Scheme {} of {} takes {least}; `weir secret \
                         generate {}` makes one",
                        scheme.name, provider.name, provider.name
                    );
                    section.problem(&key, what);
                    strong = false;
                    break;
                }
            }
        }
        if strong {
            doubts.iter().for_each(|doubt| section.warning(&key, format!("the secret {doubt}")));
            note_form(section, &key, provider, &secret.value);
        }
    }
    strong
}

/// Warns about a secret without the prefix of its provider.
fn note_form(section: &Section<'_>, key: &str, provider: &Provider, secret: &Secret) {
    let Some(start) = provider.secret_prefix() else { return };
    let written = secret.expose().trim_ascii();
    if !written.starts_with(start.as_bytes()) && paste_mistakes(secret.expose()).is_empty() {
        let what = format!(
            "the secret does not begin with `{start}`, as those of {} do; check that it is the \
             right one",
            provider.name
        );
        section.warning(key, what);
    }
}

/// Checks a secret that is used unchanged: a token or a parameter.
pub(super) fn judge_text_of(section: &Section<'_>, key: &str, name: &str, bytes: &[u8]) -> bool {
    note(section, key, name, check_text_secret(bytes))
}

/// Notes the result of a check. False if the secret is refused.
pub(super) fn note(
    section: &Section<'_>,
    key: &str,
    name: &str,
    judged: Result<Vec<SecretWarning>, WeakSecret>,
) -> bool {
    match judged {
        Ok(doubts) => {
            doubts.iter().for_each(|doubt| section.warning(key, format!("the {name} {doubt}")));
            true
        }
        Err(weakness) => {
            let what = format!(
                "the {name} {weakness}; `weir secret generate` makes one that is long enough"
            );
            section.problem(key, what);
            false
        }
    }
}

/// Warns about weaknesses of the source's own scheme.
pub(super) fn note_schemes(section: &Section<'_>, provider: &Provider) {
    for scheme in &provider.schemes {
        let timestamp = scheme.timestamp.as_ref();
        let tolerance = timestamp.and_then(|rule| rule.tolerance);
        if let Some(long) = tolerance.filter(|long| *long > TOLERANCE_GOOD) {
            let key = if section.has("tolerance") { "tolerance" } else { "signature.timestamp" };
            let what = format!(
                "{} is long: a captured request is valid for all that time, unless its id is known",
                format_duration(long)
            );
            section.warning(key, what);
        }
        if section.has("signature") {
            note_message(section, scheme);
        }
    }
}

fn note_message(section: &Section<'_>, scheme: &Scheme) {
    if scheme.algorithm == Algorithm::StaticEquals {
        let what = "static-equals signs nothing: every reader of a request has the secret. Ask \
            for an \
                    HMAC, or keep the URL on a private network";
        return section.warning("signature.algorithm", what);
    }
    if scheme.http_message.is_some() || scheme.jwt.is_some() {
        if !scheme.covers_body() {
            let what = "the body is not signed, so one captured signature is valid for any body";
            section.warning("signature", what);
        }
        return;
    }
    let messages = || std::iter::once(&scheme.message).chain(&scheme.message_variants);
    if scheme.body_digest.is_none() && !messages().all(|message| message.reads_body()) {
        let what = "the body is not signed, so one captured signature is valid for any body; \
            write {body} into it";
        section.warning("signature.message", what);
    }
    if let Some((before, after)) = messages().find_map(|message| message.adjacent_variable_parts())
    {
        let what = format!(
            "nothing separates {before} and {after}: bytes can move from one to the other and the \
             signature still matches. If the sender allows it, add a separator, such as \
             {before}.{after}"
        );
        section.warning("signature.message", what);
    }
}
