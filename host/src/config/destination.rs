//! `[destinations.NAME]` and `[defaults.destination]`: ways out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use weir_core::breaker::BreakerPolicy;
use weir_core::name::DestinationName;
use weir_core::outgoing::reserved_header;
use weir_core::retry::RetryPolicy;
use weir_core::verify::{KeyError, Secret, check_text_secret, check_whsec_secret, likely_key_form};

use super::breaker::RawBreaker;
use super::context::LoadContext;
use super::retry::{InvalidSetting, RawRetry};
use super::secret;
use super::secret_strength;
use super::server::at_most;
use super::tree::Section;
use super::url::{endpoint, reachable};
use crate::tls::TrustedRoots;

/// Most requests to one destination at once.
const CONCURRENCY_MAX: usize = 1_024;
/// Longest wait for an answer: past it a slot is better used for a retry.
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// Most fixed headers on a message.
const HEADERS_MAX: usize = 64;

/// A way out.
#[derive(Debug)]
pub struct Destination {
    /// Its name.
    pub name: DestinationName,
    /// How it is reached.
    pub kind: DestinationKind,
    /// When to try again.
    pub retry: RetryPolicy,
    /// When to leave it alone.
    pub breaker: BreakerPolicy,
    /// Requests at once.
    pub concurrency: usize,
}

/// How a destination is reached.
#[derive(Debug)]
pub enum DestinationKind {
    /// An HTTP endpoint.
    Webhook(Box<Webhook>),
    /// Kept here, for development.
    Inbox,
}

/// An HTTP endpoint.
#[derive(Debug)]
pub struct Webhook {
    /// Where.
    pub url: http::Uri,
    /// How messages are signed; with no secrets they are not.
    pub signing: Signing,
    /// Current first; all of them sign, so that a receiver can rotate.
    pub secrets: Vec<Secret>,
    /// Added to every message.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// For the whole answer.
    pub timeout: Duration,
    /// Which addresses it may have beside the internet's.
    pub allow: Allow,
    /// Who vouches for it.
    pub trust: TrustedRoots,
}

/// Which addresses an endpoint may have beside the internet's. No word implies another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allow {
    /// This machine: what development mode allows by itself.
    pub loopback: bool,
    /// `@private`: this machine, private networks, what lies behind a carrier's address translation.
    pub private: bool,
    /// `@linklocal`: the link itself.
    pub link_local: bool,
    /// `@metadata`: where a cloud answers with the machine's credentials.
    pub metadata: bool,
}

impl Allow {
    /// The word for private addresses.
    pub const PRIVATE: &str = "@private";
    /// The word for link-local addresses.
    pub const LINK_LOCAL: &str = "@linklocal";
    /// The word for metadata addresses.
    pub const METADATA: &str = "@metadata";

    /// The words under `allow`; beside them this machine, where development mode sends to it.
    pub(super) fn read(section: &mut Section<'_>, loopback: bool) -> Self {
        let mut allow = Self { loopback, ..Self::default() };
        for (index, word) in section.list::<String>("allow").iter().flatten().enumerate() {
            if !allow.add(word) {
                let [private, link, metadata] = [Self::PRIVATE, Self::LINK_LOCAL, Self::METADATA];
                let known = format!("must be \"{private}\", \"{link}\" or \"{metadata}\"");
                section.problem(&format!("allow[{index}]"), known);
            }
        }
        allow
    }

    /// Takes a word in. False if it is none.
    fn add(&mut self, word: &str) -> bool {
        match word {
            Self::PRIVATE => self.private = true,
            Self::LINK_LOCAL => self.link_local = true,
            Self::METADATA => self.metadata = true,
            _ => return false,
        }
        true
    }
}

/// How messages to an endpoint are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature`, by the Standard Webhooks specification.
    Standard,
    /// `X-Webhook-Signature: sha256=` and the hex HMAC of the body, beside `webhook-id` and `webhook-timestamp`.
    Sha256Header,
}

/// What a destination gets that says nothing else.
#[derive(Debug, Clone)]
pub(super) struct DestinationDefaults {
    pub(super) timeout: Duration,
    pub(super) concurrency: usize,
    pub(super) retry: RetryPolicy,
    pub(super) breaker: BreakerPolicy,
    raw_retry: RawRetry,
    raw_breaker: RawBreaker,
    growing: RawRetry,
}

/// Reads `[defaults.destination]`. `growing` has the waits to fall back on where only some of them are said.
pub(super) fn defaults(
    mut section: Section<'_>,
    growing: &RawRetry,
) -> Option<DestinationDefaults> {
    let timeout = section.checked("timeout", |d| timeout_ok(*d));
    let concurrency = section.checked("concurrency", |n| at_most(*n, CONCURRENCY_MAX));
    let raw_retry = RawRetry::read(&mut section.section("retry")).growing_as(growing);
    let noted = |(key, what): InvalidSetting| section.problem(&format!("retry.{key}"), what);
    let retry = raw_retry.policy().map_err(noted).ok();
    let raw_breaker = RawBreaker::read(&mut section.section("breaker"));
    let noted = |(key, what): InvalidSetting| section.problem(&format!("breaker.{key}"), what);
    let breaker = raw_breaker.policy().map_err(noted).ok();
    section.finish();
    Some(DestinationDefaults {
        timeout: timeout?,
        concurrency: concurrency?,
        retry: retry?,
        breaker: breaker?,
        raw_retry,
        raw_breaker,
        growing: growing.clone(),
    })
}

/// The built-in destination of development mode.
pub(super) fn inbox(defaults: &DestinationDefaults) -> Option<Destination> {
    Some(Destination {
        name: DestinationName::new("inbox").ok()?,
        kind: DestinationKind::Inbox,
        retry: defaults.retry.clone(),
        breaker: defaults.breaker.clone(),
        concurrency: defaults.concurrency,
    })
}

/// Reads every `[destinations.NAME]`.
pub(super) fn read(
    sections: Vec<(&str, Section<'_>)>,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> BTreeMap<DestinationName, Arc<Destination>> {
    let mut destinations = BTreeMap::new();
    for (name, section) in sections {
        match DestinationName::new(name) {
            Err(error) => section.problem("", error),
            Ok(name) => {
                if let Some(destination) = one(name.clone(), section, defaults, trust, context) {
                    destinations.insert(name, Arc::new(destination));
                }
            }
        }
    }
    destinations
}

fn one(
    name: DestinationName,
    mut section: Section<'_>,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<Destination> {
    let kind = section.checked("kind", |word: &String| match word.as_str() {
        "webhook" | "inbox" => Ok(()),
        _ => Err("must be \"webhook\" or \"inbox\"".into()),
    });
    let concurrency = match section.has("concurrency") {
        true => section.checked("concurrency", |n| at_most(*n, CONCURRENCY_MAX)),
        false => section.maybe("concurrency").or(Some(defaults.concurrency)),
    };
    let mut retry = section.section("retry");
    let said = RawRetry::read(&mut retry);
    let retry = if retry.is_given() {
        let raw = said.over(&defaults.raw_retry).growing_as(&defaults.growing);
        let noted = |(key, what): InvalidSetting| section.problem(&format!("retry.{key}"), what);
        raw.policy().map_err(noted).ok()
    } else {
        Some(defaults.retry.clone())
    };
    let said = RawBreaker::read(&mut section.section("breaker"));
    let noted = |(key, what): InvalidSetting| section.problem(&format!("breaker.{key}"), what);
    let breaker = said.over(&defaults.raw_breaker).policy().map_err(noted).ok();
    // A kind that is not known is read as a webhook, so that the other mistakes of its table show too.
    let kind = match kind.as_deref() {
        Some("inbox") => Some(DestinationKind::Inbox),
        Some(_) => {
            let url = section.must::<String>("url");
            webhook(&mut section, url, defaults, trust, context)
                .map(|w| DestinationKind::Webhook(Box::new(w)))
        }
        None => {
            let url = section.maybe::<String>("url");
            webhook(&mut section, url, defaults, trust, context);
            None
        }
    };
    section.finish();
    Some(Destination {
        name,
        kind: kind?,
        retry: retry?,
        breaker: breaker?,
        concurrency: concurrency?,
    })
}

fn webhook(
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
    let secrets = match section.has("secrets") {
        true => secret::list(section, "secrets", context),
        false => {
            section.items("secrets");
            Some(Vec::new())
        }
    };
    for (index, secret) in secrets.iter().flatten().enumerate() {
        if signing == Some(Signing::Standard) && !is_standard(&secret.value) {
            let nearest = likely_key_form(KeyError::NotBase64, secret.value.expose());
            let what = format!(
                "is no Standard Webhooks secret, which is `whsec_` and base64; `weir secret generate` makes one, or say \
                 signing = \"sha256-header\"{}",
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
    let allow = Allow::read(section, context.development);
    reachable(section, "url", url.as_ref(), allow);
    let trust = super::trust::with_ca(trust, section, context);
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
            let what = "is set by the hub, because it frames, signs or routes the message; use another name";
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

fn timeout_ok(timeout: Duration) -> Result<(), String> {
    if timeout > TIMEOUT_MAX { Err("must be at most 5m".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::load::from_text;

    fn problems(text: &str) -> Vec<String> {
        let none = |_: &str| None;
        let read = from_text("weir.toml", text, Path::new(""), &none, false).map(|_| ());
        read.unwrap_err().problems.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn a_wrong_kind_hides_no_other_mistake_of_its_table() {
        let wrong = "url = \"ftp://x\"\nconcurrency = 0\ntimeout = \"9h\"\nsigning = \"none\"\nallow = [\"@all\"]\nspeed = 1\n\
                     headers = { host = \"x\" }\n[destinations.a.retry]\nmax_attempts = 0";
        let others =
            ["url", "concurrency", "timeout", "signing", "allow[0]", "speed", "headers.host"];
        for kind in ["kind = \"email\"", "kind = 3", ""] {
            let found = problems(&format!("[destinations.a]\n{kind}\n{wrong}"));
            for other in ["kind"].iter().chain(&others) {
                let path = format!("destinations.a.{other}");
                assert!(found.contains(&path), "{path} with {kind}: {found:?}");
            }
            assert!(found.iter().any(|path| path.starts_with("destinations.a.retry")), "{found:?}");
        }
        assert_eq!(problems("[destinations.a]\nkind = \"inbx\""), ["destinations.a.kind"]);
    }

    #[test]
    fn a_wrong_provider_hides_no_other_mistake_of_its_table() {
        let found = problems(
            "[sources.a]\nprovider = \"githib\"\nsecrets = [\"x\"]\nparams = { a = \"b\" }\nblock = [\"x\"]\n\
             max_silence = \"soon\"\nspeed = 1",
        );
        for key in ["provider", "secrets[0]", "max_silence", "speed"] {
            assert!(found.contains(&format!("sources.a.{key}")), "{key}: {found:?}");
        }
        assert!(!found.contains(&"sources.a.params".to_owned()), "{found:?}");
    }
}
