//! The `webhook` kind: URL, signing, fixed headers, and the addresses it may have.

use std::time::Duration;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use weir_core::reserved_headers::reserved_header;
use weir_core::verify::{KeyError, Secret, check_text_secret, check_whsec_secret, likely_key_form};

use super::{DestinationDefaults, timeout_ok};
use crate::config::context::LoadContext;
use crate::config::tree::Section;
use crate::config::url::{endpoint, reachable};
use crate::config::{secret, secret_strength, trust};
use crate::guard::AllowedNetworks;
use crate::tls::TrustedRoots;

/// The most fixed headers on a message.
const HEADERS_MAX: usize = 64;

/// An HTTP endpoint that messages are posted to.
#[derive(Debug)]
pub struct Webhook {
    pub url: http::Uri,
    /// With no secrets, messages are not signed.
    pub signing: Signing,
    /// The current secret is first. All of them sign, so that a receiver can rotate.
    pub secrets: Vec<Secret>,
    /// Added to every message.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Time limit for the whole response.
    pub timeout: Duration,
    pub allow: AllowedNetworks,
    /// The authorities whose certificates are accepted.
    pub trust: TrustedRoots,
}

/// The form of a message's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature`, by the Standard Webhooks
    /// specification.
    Standard,
    /// `X-Webhook-Signature: sha256=` and the hex HMAC of the body, beside `webhook-id` and
    /// `webhook-timestamp`.
    Sha256Header,
}

/// Reads `allow`. Loopback addresses are allowed too if `loopback` is set.
pub(in crate::config) fn read_allow(section: &mut Section<'_>, loopback: bool) -> AllowedNetworks {
    let mut allow = AllowedNetworks { loopback, ..AllowedNetworks::default() };
    for (index, word) in section.list::<String>("allow").iter().flatten().enumerate() {
        if !allow.add(word) {
            let [private, link, metadata] =
                [AllowedNetworks::PRIVATE, AllowedNetworks::LINK_LOCAL, AllowedNetworks::METADATA];
            let known = format!("must be \"{private}\", \"{link}\" or \"{metadata}\"");
            section.problem(&format!("allow[{index}]"), known);
        }
    }
    allow
}

/// Reads the settings of a webhook whose `url` has been read already.
pub(super) fn read(
    section: &mut Section<'_>,
    url: Option<String>,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<Webhook> {
    let url = url.and_then(|text| match endpoint(&text) {
        Ok(url) => Some(url),
        Err(what) => {
            section.problem("url", what);
            None
        }
    });
    let signing = match section.maybe::<String>("signing").as_deref() {
        None | Some("standard") => Some(Signing::Standard),
        Some("sha256-header") => Some(Signing::Sha256Header),
        Some(_) => {
            section.problem("signing", "must be \"standard\" or \"sha256-header\"");
            None
        }
    };
    let secrets = secret::list_or_empty(section, "secrets", context);
    for (index, secret) in secrets.iter().flatten().enumerate() {
        if signing == Some(Signing::Standard) && !is_standard(&secret.value) {
            let nearest = likely_key_form(KeyError::NotBase64, secret.value.expose());
            let what = format!(
                "is not a Standard Webhooks secret, which is `whsec_` and base64; \
                 `weir secret generate` makes one, or set signing = \"sha256-header\"{}",
                nearest.map_or_else(String::new, |nearest| format!(". The nearest: {nearest}"))
            );
            section.problem(&format!("secrets[{index}]"), what);
            continue;
        }
        let judged = match signing {
            Some(Signing::Standard) => check_whsec_secret(&secret.value),
            _ => check_text_secret(secret.value.expose()),
        };
        secret_strength::note(section, &format!("secrets[{index}]"), "secret", judged);
    }
    let headers = headers(section, context);
    let timeout = match section.has("timeout") {
        true => section.checked("timeout", |d| timeout_ok(*d)),
        false => section.maybe("timeout").or(Some(defaults.timeout)),
    };
    let allow = read_allow(section, context.mode.is_development());
    reachable(section, "url", url.as_ref(), allow);
    let trust = trust::with_ca(trust, section, context);
    Some(Webhook {
        url: url?,
        signing: signing?,
        secrets: secrets?.into_iter().map(|secret| secret.value).collect(),
        headers,
        timeout: timeout?,
        allow,
        trust,
    })
}

fn headers(section: &mut Section<'_>, context: &LoadContext<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let given = section.entries("headers").unwrap_or_default();
    if given.len() > HEADERS_MAX {
        section.problem("headers", format!("has more than {HEADERS_MAX} entries"));
    }
    let mut headers = Vec::with_capacity(given.len());
    for (text, _, value) in given {
        let key = format!("headers.{text}");
        let Ok(name) = HeaderName::try_from(text) else {
            section.problem(&key, "is not the name of a header");
            continue;
        };
        if name == CONTENT_TYPE || reserved_header(name.as_str()) {
            let what = "is set by the hub, because it frames, signs or routes the message; \
                        use another name";
            section.problem(&key, what);
            continue;
        }
        let bytes = secret::text_or_reference(section, "headers", text, value, context);
        match bytes.map(HeaderValue::try_from) {
            Some(Ok(mut value)) => {
                // It may be a credential, and nothing here can tell.
                value.set_sensitive(true);
                headers.push((name, value));
            }
            Some(Err(_)) => section.problem(&key, "a header value may not hold control characters"),
            None => {}
        }
    }
    headers
}

fn is_standard(secret: &Secret) -> bool {
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
    let text = secret.expose().trim_ascii();
    let text = text.strip_prefix(b"whsec_").unwrap_or(text);
    engine.decode(text).is_ok_and(|key| !key.is_empty())
}
