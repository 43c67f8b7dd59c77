//! The `webhook` kind: URL, signing, fixed headers, and the addresses it may have.
//!
//! `accept` has the statuses of success, `auth` the credentials that are presented, and
//! `connection` the client certificate and the proxy.

mod accept;
mod auth;
mod connection;

use std::time::Duration;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use weir_core::event::EventType;
use weir_core::reserved_headers::reserved_header;
use weir_core::sign::StandardWebhooksSigner;
use weir_core::verify::{KeyError, Secret, check_text_secret, check_whsec_secret, likely_key_form};

pub use accept::AcceptedStatuses;
pub use auth::{Authorization, OAuthClient, WebhookAuth};

use super::{DestinationDefaults, timeout_ok};
use crate::config::alert_style::{self, AlertStyle};
use crate::config::context::LoadContext;
use crate::config::tree::Section;
use crate::config::url::{endpoint, reachable};
use crate::config::{secret, secret_strength, trust};
use crate::guard::{AllowedNetworks, ForwardProxy};
use crate::tls::{ClientIdentity, TrustedRoots};

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
    /// The statuses of an accepted message.
    pub accept: AcceptedStatuses,
    /// True if bodies are compressed.
    pub gzip: bool,
    /// The credentials that are presented with each request.
    pub auth: Option<WebhookAuth>,
    /// The certificate that is shown to the endpoint.
    pub identity: Option<ClientIdentity>,
    /// The forward proxy to the endpoint.
    pub proxy: Option<ForwardProxy>,
    /// The type of the events that answers become.
    pub reply_as: Option<EventType>,
    /// The service that alerts are made for. None: they are sent as they are.
    pub alerts: Option<AlertStyle>,
}

impl Webhook {
    /// An endpoint without secrets and other settings.
    #[must_use]
    pub fn plain(
        url: http::Uri,
        timeout: Duration,
        allow: AllowedNetworks,
        trust: TrustedRoots,
    ) -> Self {
        Self {
            url,
            signing: Signing::Standard,
            secrets: Vec::new(),
            headers: Vec::new(),
            timeout,
            allow,
            trust,
            accept: AcceptedStatuses::default(),
            gzip: false,
            auth: None,
            identity: None,
            proxy: None,
            reply_as: None,
            alerts: None,
        }
    }

    /// Every secret in it, besides those in the URL.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = &[u8]> {
        let signing = self.secrets.iter().map(Secret::expose);
        let headers = self.headers.iter().map(|(_, value)| value.as_bytes());
        let presented = self.auth.iter().map(WebhookAuth::presented);
        let auth = self.auth.iter().flat_map(WebhookAuth::secrets).map(Secret::expose);
        let key = self.identity.iter().map(|identity| identity.key().expose());
        let proxy = self.proxy.iter().flat_map(|proxy| &proxy.authorization);
        let proxy = proxy.map(|(_, password)| password.expose());
        let routing = self.alerts.iter().filter_map(|alerts| alerts.routing_key.as_ref());
        let routing = routing.map(Secret::expose);
        signing.chain(headers).chain(presented).chain(auth).chain(key).chain(proxy).chain(routing)
    }
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
        if signing == Some(Signing::Standard) && is_asymmetric(&secret.value) {
            asymmetric(section, index, &secret.value);
            continue;
        }
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
    let trust = trust::with_ca(trust, section, context);
    let proxy = connection::proxy(section, context);
    if proxy.is_none() {
        reachable(section, "url", url.as_ref(), allow);
    }
    let accept = accept::read(section);
    let gzip = section.maybe("gzip").unwrap_or(false);
    let auth = auth::read(section, allow, context);
    let identity = connection::client_identity(section, context);
    let reply_as = section.maybe::<EventType>("reply_as");
    let alerts = alert_style::read(section, context);
    Some(Webhook {
        url: url?,
        signing: signing?,
        secrets: secrets?.into_iter().map(|secret| secret.value).collect(),
        headers,
        timeout: timeout?,
        allow,
        trust,
        accept,
        gzip,
        auth,
        identity,
        proxy,
        reply_as,
        alerts,
    })
}

/// True for a key of a key pair, as Standard Webhooks writes it.
fn is_asymmetric(secret: &Secret) -> bool {
    let text = secret.expose().trim_ascii();
    text.starts_with(b"whsk_") || text.starts_with(b"whpk_")
}

/// Notes a problem unless a secret is a private key that signs.
fn asymmetric(section: &Section<'_>, index: usize, secret: &Secret) {
    let key = format!("secrets[{index}]");
    if secret.expose().trim_ascii().starts_with(b"whpk_") {
        let what = "is the public half of a key pair, which the receiver needs; the hub signs with \
                    the private half, whsk_…";
        section.problem(&key, what);
    } else if StandardWebhooksSigner::new(std::slice::from_ref(secret)).is_err() {
        let what = "is not a private key: whsk_ and the base64 of an Ed25519 seed, or of the seed \
                    and the public half; `weir secret generate --scheme v1a` makes one";
        section.problem(&key, what);
    }
}

/// Reads `headers`: fixed headers of requests.
pub(in crate::config) fn headers(
    section: &mut Section<'_>,
    context: &LoadContext<'_>,
) -> Vec<(HeaderName, HeaderValue)> {
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

#[cfg(test)]
mod testing {
    //! Webhooks from text, for the tests of their parts.

    use std::path::Path;

    use super::Webhook;
    use crate::config::load::from_text;
    use crate::config::{Mode, TransportSettings};

    type Variables<'v> = &'v [(&'v str, &'v str)];

    fn destination(settings: &str) -> String {
        format!(
            "[destinations.ops]\nkind = \"webhook\"\nurl = \"https://ops.example.com/\"\n\
             {settings}\n"
        )
    }

    /// The paths of the problems below the destination.
    pub(super) fn problems_with(settings: &str, variables: Variables<'_>) -> Vec<String> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        };
        let text = destination(settings);
        let read = from_text("weir.toml", &text, Path::new(""), &variable, Mode::Production);
        let problems = read.map(|_| ()).unwrap_err().problems.into_iter();
        let below =
            |path: String| path.strip_prefix("destinations.ops.").unwrap_or(&path).to_owned();
        problems.map(|problem| below(problem.path)).collect()
    }

    pub(super) fn problems(settings: &str) -> Vec<String> {
        problems_with(settings, &[])
    }

    pub(super) fn webhook_with_variables(settings: &str, variables: Variables<'_>) -> Webhook {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        };
        let text = destination(settings);
        let read = from_text("weir.toml", &text, Path::new(""), &variable, Mode::Production);
        let (mut config, _) = read.unwrap();
        let ops = std::sync::Arc::into_inner(config.destinations.remove("ops").unwrap()).unwrap();
        let TransportSettings::Webhook(webhook) = ops.transport else { panic!("no webhook") };
        *webhook
    }

    pub(super) fn webhook_with(settings: &str) -> Webhook {
        webhook_with_variables(settings, &[])
    }

    #[test]
    fn keys_of_a_pair_sign_if_they_are_private() {
        let seed = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let secrets = "secrets = [{ env = \"K\" }]";
        let webhook = webhook_with_variables(secrets, &[("K", seed)]);
        assert_eq!(webhook.secrets[0].expose(), seed.as_bytes());
        for wrong in ["whsk_AAEC", "whsk_", "whpk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="] {
            assert_eq!(problems_with(secrets, &[("K", wrong)]), ["secrets[0]"], "{wrong}");
        }
    }
}
